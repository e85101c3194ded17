"""Questions about the mechanism: how much nonlinearity hurts, where, and whether a bias helps.

They are asked as those of `configs.questions`, which lists them. Appendix A of Sandler et al. 2018
(arXiv 1801.04381) says that ReLU loses information in few dimensions; these questions follow from
it, and the paper does not ask them.
"""

from collections.abc import Sequence

from configs.design import Design, Question
from mnv2_jax import arch, presets
from mnv2_jax.ablation.grid import axis, chain, product
from mnv2_jax.analysis.claims import Claim, contrast, equivalent, greater, monotone

SLOPES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Slopes beyond the bounds of ReLU6: 0 is ReLU6, 1 is linear."""

BIAS = 3.0
"""An initial bias that puts a normalised input in the middle of ReLU6's bounds, 0 and 6."""

_EXPANSIONS = axis("model.expansion", (2, 6))
_SHORTCUTS = axis("model.shortcut", ("bottleneck", "none"))
_RELU6 = {"model.projection": "relu6"}


def dose(design: Design) -> Question:
    """Ask how much nonlinearity at the projection it takes to cost accuracy, by its slope."""
    slopes = product(axis("model.projection", ("relu6",)), axis("model.projection_slope", SLOPES))
    relu = product(axis("model.projection", ("relu",)), axis("model.projection_slope", (0.0,)))
    points = product(_EXPANSIONS, chain(slopes, relu), _SHORTCUTS)
    claims: list[Claim] = [
        monotone(
            name="slope_helps",
            source="section 3.2, a dose-response curve",
            statement="Accuracy rises with the slope beyond ReLU6's bounds, and no step costs over "
            "half a point",
            axis="model.projection_slope",
            values=SLOPES,
            margin=0.005,
            where=_RELU6,
        ),
        contrast(
            name="half_by_a_tenth",
            source="this workbench",
            statement="A slope of 0.1 wins back more than half of what ReLU6 costs",
            weights=[
                (1.0, {"model.projection_slope": 0.1}),
                (-0.5, {"model.projection_slope": 0.0}),
                (-0.5, {"model.projection_slope": 1.0}),
            ],
            where=_RELU6,
        ),
        greater(
            name="upper_bound",
            source="section 3, ReLU6 for low precision",
            statement="The upper bound costs accuracy by itself: ReLU at the projection beats "
            "ReLU6",
            axis="model.projection",
            better="relu",
            worse="relu6",
            where={"model.projection_slope": 0.0},
            negligible=0.005,
        ),
    ]
    return Question(product(points, design.seed_axis), claims)


def place(design: Design) -> Question:
    """Ask in which blocks ReLU6 costs accuracy, and where shortcuts matter.

    ReLU6 is in one block only, or in all but one; then the same for shortcuts, of linear blocks. In
    these networks narrow bottlenecks are also the early ones.
    """
    model = design.config.model
    spec = presets.build(model.preset, width=model.width, depth=model.depth)
    numbers = list(range(1, len(spec.blocks) + 1))
    inputs = (spec.stem_channels, *(block.out_channels for block in spec.blocks))
    with_shortcut = [
        number
        for number, block in zip(numbers, spec.blocks, strict=True)
        if block.stride == 1 and block.out_channels == inputs[number - 1]
    ]
    projections = product(
        axis("model.projection", ("relu6",)),
        axis("model.projection_blocks", _places(numbers)),
        axis("model.shortcut_blocks", ("all",)),
        _SHORTCUTS,
    )
    shortcuts = product(
        axis("model.projection", ("linear",)),
        axis("model.projection_blocks", ("all",)),
        axis("model.shortcut_blocks", _places(with_shortcut)),
        axis("model.shortcut", ("bottleneck",)),
    )
    narrow, wide = _ends(spec, numbers)
    without_narrow, without_wide = map(_all_but, _ends(spec, with_shortcut))
    claims = [
        _against(
            "narrow_cost_more",
            "ReLU6 in one block alone costs more at the narrowest bottlenecks than at the widest",
            axis="model.projection_blocks",
            better=list(map(str, wide)),
            worse=list(map(str, narrow)),
            projection="relu6",
        ),
        _against(
            "narrow_save_more",
            "With ReLU6 in all others, one linear block gains more at the narrowest bottlenecks "
            "than at the widest",
            axis="model.projection_blocks",
            better=_all_but(narrow),
            worse=_all_but(wide),
            projection="relu6",
        ),
        _against(
            "narrow_shortcuts_matter_more",
            "To leave out one shortcut costs more at the narrowest bottlenecks than at the widest",
            axis="model.shortcut_blocks",
            better=without_wide,
            worse=without_narrow,
            projection="linear",
        ),
    ]
    return Question(product(chain(projections, shortcuts), design.seed_axis), claims)


def _places(numbers: Sequence[int]) -> tuple[str, ...]:
    """Return every block alone, and all others, between none and all of them."""
    return ("none", *map(str, numbers), *_all_but(numbers), "all")


def _all_but(numbers: Sequence[int]) -> list[str]:
    return [f"all but {number}" for number in numbers]


def _ends(spec: arch.NetworkSpec, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return those blocks that have the fewest channels, and those that have the most."""
    channels = {number: spec.blocks[number - 1].out_channels for number in numbers}
    least, most = (
        [number for number in numbers if channels[number] == end]
        for end in (min(channels.values()), max(channels.values()))
    )
    return least, most


def _against(
    name: str,
    statement: str,
    *,
    axis: str,
    better: Sequence[str],
    worse: Sequence[str],
    projection: str,
) -> Claim:
    weights = [
        *((1 / len(better), {axis: blocks}) for blocks in better),
        *((-1 / len(worse), {axis: blocks}) for blocks in worse),
    ]
    source = "Appendix A, carried to places"
    return contrast(name, source, statement, weights, {"model.projection": projection})


def intervention(design: Design) -> Question:
    """Ask whether a projection that starts in the middle of ReLU6's bounds loses less."""
    grid = product(
        _EXPANSIONS,
        axis("model.projection", ("linear", "relu6")),
        axis("model.projection_bias", (0.0, BIAS)),
        _SHORTCUTS,
        design.seed_axis,
    )

    def cell(projection: str, bias: float) -> dict[str, str | float]:
        return {"model.projection": projection, "model.projection_bias": bias}

    claims: list[Claim] = [
        contrast(
            name="half_by_bias",
            source="Appendix A, as an intervention",
            statement=f"An initial bias of {BIAS:g} wins back more than half of what ReLU6 costs",
            weights=[
                (1.0, cell("relu6", BIAS)),
                (-0.5, cell("relu6", 0.0)),
                (-0.5, cell("linear", 0.0)),
            ],
        ),
        greater(
            name="bias_helps_relu6",
            source="Appendix A, as an intervention",
            statement=f"With ReLU6, an initial bias of {BIAS:g} beats none",
            axis="model.projection_bias",
            better=BIAS,
            worse=0.0,
            where=_RELU6,
        ),
        equivalent(
            name="bias_alone",
            source="this workbench, a control",
            statement="With a linear projection the bias makes no difference, to within 1 point",
            axis="model.projection_bias",
            values=(0.0, BIAS),
            margin=0.01,
            where={"model.projection": "linear"},
        ),
    ]
    return Question(grid, claims)
