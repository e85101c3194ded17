"""Questions for any data set: each has a grid, and claims that its runs decide.

  python -m experiments.ablate --config=configs/digits.py:expansion
  python -m experiments.ablate --config=configs/cifar10.py:shortcut
  python -m experiments.ablate --config=configs/imagenet.py:slim,linear_bottleneck

A new question is a function of a `Design`, here or in a file beside this one, and its line in
`QUESTIONS`. Claims are written before the runs. Sources are sections of Sandler et al. 2018, arXiv
1801.04381, unless they name another.
"""

from collections.abc import Callable, Mapping, Sequence

from configs.design import Design, Question
from configs.nonlinearity import dose, intervention, place
from configs.precision import precision
from mnv2_jax import arch
from mnv2_jax.ablation.equal_cost import width_of_equal_madds
from mnv2_jax.ablation.grid import Point, axis, product, where, zipped
from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.nn.blocks import BLOCKS

BASELINE = "inverted_residual"
"""The block that others are compared with."""

LINEAR = greater(
    name="linear_bottleneck",
    source="section 6.4, Figure 6a",
    statement="A linear projection beats ReLU6, with shortcuts",
    axis="model.projection",
    better="linear",
    worse="relu6",
    where={"model.shortcut": "bottleneck"},
)
SHORTCUT = greater(
    name="shortcut",
    source="section 6.4, Figure 6b",
    statement="Shortcuts between bottlenecks beat none",
    axis="model.shortcut",
    better="bottleneck",
    worse="none",
)
BETWEEN_BOTTLENECKS = greater(
    name="between_bottlenecks",
    source="section 6.4, Figure 6b",
    statement="Shortcuts between bottlenecks beat those between expansions",
    axis="model.shortcut",
    better="bottleneck",
    worse="expansion",
)


def linear_bottleneck(design: Design) -> Question:
    """Ask whether ReLU6 at the projection costs accuracy (Figure 6a)."""
    projections = axis("model.projection", ("linear", "relu6"))
    return Question(product(projections, design.seed_axis), [LINEAR])


def shortcut(design: Design) -> Question:
    """Compare shortcuts between bottlenecks, between expansions, and none (Figure 6b)."""
    shortcuts = axis("model.shortcut", ("bottleneck", "expansion", "none"))
    between_expansions = greater(
        name="between_expansions",
        source="section 6.4, Figure 6b",
        statement="Shortcuts between expansions beat none",
        axis="model.shortcut",
        better="expansion",
        worse="none",
    )
    claims: list[Claim] = [SHORTCUT, BETWEEN_BOTTLENECKS, between_expansions]
    return Question(product(shortcuts, design.seed_axis), claims)


def expansion(design: Design) -> Question:
    """Ask how much expansion is best, and whether small networks prefer less of it (section 4)."""
    small, large = design.widths
    most = design.expansions[-1]
    high = _high(design.expansions)
    middle = high[0]
    claims: list[Claim] = [
        interaction(
            name="small_prefer_less",
            source="section 4",
            statement=f"From expansion {middle:g} to {most:g} a network of width {large:g} gains "
            f"more than one of width {small:g}",
            axis="model.expansion",
            better=most,
            worse=middle,
            by="model.width",
            more=large,
            less=small,
        ),
        monotone(
            name="more_is_better",
            source="section 3.3",
            statement="Accuracy rises with expansion, and no step costs over half a point",
            axis="model.expansion",
            values=design.expansions,
            margin=0.005,
            where={"model.width": large},
        ),
        _plateau(high, {"model.width": large}),
    ]
    grid = product(
        axis("model.width", design.widths),
        axis("model.expansion", design.expansions),
        design.seed_axis,
    )
    return Question(grid, claims)


def factorial(design: Design) -> Question:
    """Ask about expansion x projection x shortcut at once (sections 3.2, 3.3 and 6.4)."""
    grid = product(
        axis("model.expansion", design.expansions),
        axis("model.projection", ("linear", "relu6")),
        axis("model.shortcut", design.shortcuts),
        design.seed_axis,
    )
    least, most = design.expansions[0], design.expansions[-1]
    claims: list[Claim] = [
        LINEAR,
        SHORTCUT,
        *([BETWEEN_BOTTLENECKS] if "expansion" in design.shortcuts else []),
        interaction(
            name="relu6_without_shortcuts",
            source="section 3.2, carried further",
            statement="ReLU6 costs more where no shortcut passes it by",
            axis="model.projection",
            better="linear",
            worse="relu6",
            by="model.shortcut",
            more="none",
            less="bottleneck",
        ),
        interaction(
            name="relu6_at_low_expansion",
            source="section 3.2, carried further",
            statement=f"ReLU6 costs more at expansion {least:g} than at {most:g}",
            axis="model.projection",
            better="linear",
            worse="relu6",
            by="model.expansion",
            more=least,
            less=most,
            where={"model.shortcut": "bottleneck"},
        ),
        _plateau(
            _high(design.expansions), {"model.projection": "linear", "model.shortcut": "bottleneck"}
        ),
    ]
    return Question(grid, claims)


def projection_placement(design: Design) -> Question:
    """Compare ReLU6 before the shortcut is added and after it; section 6.4 does not say which."""
    points = product(
        axis("model.projection", ("linear", "relu6")),
        axis("model.projection_placement", ("before", "after")),
    )
    grid = product(where(points, _not_linear_after), design.seed_axis)
    claims: list[Claim] = [
        greater(
            name="linear_against_before",
            source="section 6.4, Figure 6a",
            statement="A linear projection beats ReLU6 before the addition",
            axis="model.projection",
            better="linear",
            worse="relu6",
            where={"model.projection_placement": "before"},
        ),
        greater(
            name="after_against_before",
            source="this workbench",
            statement="ReLU6 after the addition beats ReLU6 before it",
            axis="model.projection_placement",
            better="after",
            worse="before",
            where={"model.projection": "relu6"},
        ),
    ]
    return Question(grid, claims)


def _not_linear_after(point: Point) -> bool:
    """Leave out duplicates: a linear projection is the same in both places."""
    return (point["model.projection"], point["model.projection_placement"]) != ("linear", "after")


def activation(design: Design) -> Question:
    """Compare activations of the expanded tensors (section 3)."""
    claims: list[Claim] = [
        equivalent(
            name="relu6_or_relu",
            source="section 3, ReLU6 for low precision",
            statement="ReLU6 and ReLU are nearly identical, to within 1 point",
            axis="model.activation",
            values=("relu6", "relu"),
            margin=0.01,
        ),
        *(
            greater(
                name=f"{better}_beats_relu6",
                source=source,
                statement=f"{better} beats ReLU6",
                axis="model.activation",
                better=better,
                worse="relu6",
            )
            for better, source in (
                ("hard_swish", "Howard et al. 2019, arXiv 1905.02244, section 5.2"),
                ("silu", "Ramachandran et al. 2017, arXiv 1710.05941, section 5.3"),
            )
        ),
    ]
    return Question(product(axis("model.activation", arch.ACTIVATIONS), design.seed_axis), claims)


def blocks(design: Design, names: tuple[str, ...] = tuple(BLOCKS)) -> Question:
    """Compare blocks at equal multiply-adds: all of `BLOCKS`, or those named.

    Widths are chosen for equal cost, up to the rounding of channels. The results have the costs.
    """
    model = design.config.model
    knobs = {knob: model[knob] for knob in arch.KNOBS if knob != "block"}
    others = [name for name in names if name != BASELINE]
    widths = [
        width_of_equal_madds(model.preset, design.config.data.resolution, name, BASELINE, **knobs)
        for name in others
    ]
    claims: list[Claim] = [
        greater(
            name=other,
            source="this workbench",
            statement=f"{other} beats the inverted residual at equal multiply-adds",
            axis="model.block",
            better=other,
            worse=BASELINE,
            covarying=("model.width",),
        )
        for other in others
    ]
    points = zipped(axis("model.block", (BASELINE, *others)), axis("model.width", (1.0, *widths)))
    return Question(product(points, design.seed_axis), claims)


QUESTIONS: dict[str, Callable[[Design], Question]] = {
    "linear_bottleneck": linear_bottleneck,
    "shortcut": shortcut,
    "expansion": expansion,
    "factorial": factorial,
    "projection_placement": projection_placement,
    "activation": activation,
    "blocks": blocks,
    "dose": dose,
    "place": place,
    "intervention": intervention,
    "precision": precision,
}


def ask(name: str, design: Design) -> Question:
    """Return a question by its name.

    Raises:
      ValueError: there is no such question.
    """
    if name not in QUESTIONS:
        raise ValueError(
            f"config: {name!r} after the colon: expected one of {', '.join(QUESTIONS)}"
        )
    return QUESTIONS[name](design)


def split(argument: str) -> tuple[str, str]:
    """Split an argument such as "slim,shortcut" into the config's own part and the question."""
    own, _, last = argument.rpartition(",")
    return (own, last) if last in QUESTIONS else (argument, "")


def _high(expansions: Sequence[float]) -> Sequence[float]:
    """Return the expansions that the paper calls nearly identical: from 5, and the last two."""
    return [t for t in expansions[:-2] if t >= 5] + [*expansions[-2:]]


def _plateau(values: Sequence[float], where: Mapping[str, Scalar]) -> Claim:
    return equivalent(
        name="expansion_plateau",
        source="section 4",
        statement=f"Expansions {values[0]:g} to {values[-1]:g} are nearly identical, "
        "to within 1 point",
        axis="model.expansion",
        values=values,
        # The curves in Figure 6 lie 0.5 to 1.5 points apart.
        margin=0.01,
        where=where,
    )
