import re

import numpy as np
import pytest

from configs import digits
from mnv2_jax.ablation import cohort, grid, records
from mnv2_jax.train.recipes import RECIPES


@pytest.fixture(autouse=True)
def small(tiny):
    """Networks that are traced quickly."""


def plan(dots, *axes, **changes):
    config = digits.get_config()
    config.model.preset = "tiny"
    for path, value in changes.items():
        section, field = path.split("__") if "__" in path else ("", path)
        (config[section] if section else config)[field] = value
    return cohort.plan(grid.expand(config, grid.product(*axes)), lambda _: dots)


def test_the_default_grid_is_six_cohorts_of_24_lanes(dots):
    cohorts = cohort.plan(grid.expand(digits.get_config(), digits.get_grid()), lambda _: dots)
    assert [len(part.runs) for part in cohorts] == [24] * 6
    expansions = [part.runs[0].config.model.expansion for part in cohorts]
    assert expansions == [1, 2, 4, 6, 8, 10]
    assert all(
        run.config.model.expansion == expansion
        for part, expansion in zip(cohorts, expansions, strict=True)
        for run in part.runs
    )


# What runs start from is tested with the phases of transfer learning.
@pytest.mark.parametrize("path", [path for path in cohort.LANE_FIELDS if path != "transfer.start"])
def test_lane_fields_share_a_program(dots, path):
    values = {
        "seed": (0, 1),
        "data.order": ("own", "shared"),
        "model.projection": ("linear", "relu6", "relu", "leaky_relu"),
        "model.projection_slope": (0.0, 0.1, 1.0),
        "model.projection_blocks": ("all", "none", "1", "all but 1"),
        "model.projection_bias": (0.0, 3.0),
        "model.shortcut": ("bottleneck", "none"),
        "model.shortcut_weight": (0.0, 0.5, 1.0),
        "model.shortcut_blocks": ("all", "none", "1", "all but 1"),
        "train.learning_rate": (0.1, 0.2),
        "train.weight_decay": (0.0, 1e-3),
        "train.label_smoothing": (0.0, 0.1),
    }[path]
    changes: dict[str, int | str] = {"seed": 3 if path == "data.order" else 0}
    if path.startswith("model.projection_"):
        changes["model__projection"] = "relu6"
    (only,) = plan(dots, grid.axis(path, values), **changes)
    assert len(only.runs) == len(values)
    lanes = [str(run.values) for run in only.runs]
    assert len(set(lanes)) == len(values)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("model.expansion", (1, 6)),
        ("model.width", (0.5, 1.0)),
        ("model.kernel_size", (3, 5)),
        ("model.depth", (1.0, 2.0)),
        ("model.activation", ("relu6", "relu", "silu", "hard_swish")),
        ("model.spatial_conv", ("depthwise", "standard")),
        ("model.squeeze_excite", (False, True)),
        ("model.conventions", ("default", "slim", "keras", "torchvision")),
        ("model.block", ("inverted_residual", "sandglass", "fused")),
        ("model.shortcut", ("bottleneck", "expansion")),
        ("train.epochs", (1, 2)),
        ("augment.shift", (0, 1)),
        ("train.compute_dtype", ("float32", "bfloat16")),
        ("train.ema", (0.0, 0.9)),
        ("train.grad_accum_steps", (1, 2)),
        ("train.weight_decay_mask", ("kernels", "all")),
        ("parallel", ("lanes", "batch")),
    ],
)
def test_what_changes_the_program_makes_a_cohort(dots, path, values):
    assert len(plan(dots, grid.axis(path, values), train__batch_size=16)) == len(values)


def test_two_texts_of_the_same_blocks_are_refused(dots):
    places = grid.axis("model.projection_blocks", ("1-3", "1", "all"))
    same = r"^grid: model\.projection_blocks: its values '1-3' and 'all' are the same blocks; exp"
    with pytest.raises(ValueError, match=same):
        plan(dots, places, model__projection="relu6")


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("model.projection_blocks", {"model__projection": "gelu"}),
        ("model.shortcut_blocks", {"model__shortcut": "expansion"}),
    ],
)
def test_places_of_what_is_no_lane_value_are_other_programs(dots, path, change):
    places = ("all", "2", "all but 2")
    cohorts = plan(dots, grid.axis(path, places), **change)
    assert len({part.network_fingerprint for part in cohorts}) == len(cohorts) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model__expansion": 0.0},
            r"config.model.expansion=0.0: expected a number above 0",
        ),
        ({"model__expansion": -1.0}, r"config.model.expansion=-1.0: expected a number"),
        (
            {"model__projection": "tanh"},
            r"config.model.projection='tanh': expected FILE.py:FUNCTION or one of linear, relu6",
        ),
        (
            {"model__projection_slope": 2.0},
            r"config.model.projection_slope=2.0: expected a number from 0 to 1",
        ),
        (
            {"model__projection": "gelu", "model__projection_slope": 0.5},
            r"config.model.projection_slope=0.5: expected 0 with projection 'gelu'",
        ),
        (
            {"model__projection_blocks": "4"},
            r"config.model.projection_blocks='4': expected all, none, or numbers of the 3 blocks",
        ),
        (
            {"model__shortcut_weight": -1.0},
            r"config.model.shortcut_weight=-1.0: expected a number from 0 to 1",
        ),
        (
            {"model__projection_bias": float("nan")},
            r"config.model.projection_bias=nan: expected a finite number",
        ),
        ({"model__shortcut": "up"}, r"config.model.shortcut='up': expected one of bottleneck"),
        (
            {"model__block": "lego"},
            r"config.model.block='lego': expected FILE.py:CLASS or",
        ),
        ({"model__preset": "v9"}, r"config.model.preset='v9': expected one of mobilenet_v2"),
        ({"model__depth": 0.0}, r"config.model.depth=0.0: expected a number above 0"),
        ({"model__conventions": "v9"}, r"config.model.conventions='v9': expected one of default"),
        (
            {"model__spatial_conv": "v9"},
            r"config.model.spatial_conv='v9': expected one of depthwise",
        ),
        ({"model__width": 0.0}, r"config.model.width=0.0: expected a number above 0"),
        ({"train__epochs": 0}, r"config.train.epochs=0: expected a whole number"),
        ({"train__batch_size": 65}, r"config.train.batch_size=65: expected at most 64"),
        ({"train__learning_rate": 0.0}, r"config.train.learning_rate=0.0: expected a number above"),
        ({"train__weight_decay": -1.0}, r"config.train.weight_decay=-1.0: expected a number, 0"),
        ({"train__label_smoothing": 1.0}, r"config.train.label_smoothing=1.0: expected 0 or more"),
        ({"data__mode": "disk"}, r"config.data.mode='disk': expected one of auto"),
        (
            {"data__split": "per_run"},
            r"config.data.split='per_run': expected one of fixed, per_seed",
        ),
        ({"data__order": "any"}, r"config.data.order='any': expected one of own"),
        ({"data__scaling": "none"}, r"config.data.scaling='none': expected one of symmetric"),
        ({"data__resolution": 0}, r"config.data.resolution=0: expected 1 or more"),
        ({"data__crop_fraction": 1.5}, r"config.data.crop_fraction=1.5: expected above 0"),
        ({"augment__shift": -1}, r"config.augment.shift=-1: expected"),
        ({"augment__hue": 0.1}, r"config.augment.hue=0.1: expected 0"),
        (
            {"augment__crop_area": 0.5, "data__mode": "resident"},
            r"config.data.mode='resident': expected 'streaming'",
        ),
        ({"seed": -1}, r"config.seed=-1: expected a whole number from 0"),
        ({"data__resolution": 10**6}, "config.data.resolution=1000000: expected at most 8,192"),
        ({"train__epochs": 10**23}, "config.train.epochs=1.*: expected at most 1,000,000"),
        ({"train__batch_size": 10**12}, "config.train.batch_size=1.*: expected at most 65,536"),
        (
            {"train__evaluation_batch_size": 10**12},
            "config.train.evaluation_batch_size=1.*: expected at most 65,536",
        ),
    ],
)
def test_a_wrong_value_is_refused_before_anything_trains(dots, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        plan(dots, grid.axis("model.kernel_size", (3,)), **change)


def test_an_absurd_value_of_an_axis_is_refused_before_it_is_computed_with(dots):
    with pytest.raises(ValueError, match=r"^config.model.kernel_size=1001: expected at most 31$"):
        plan(dots, grid.axis("model.kernel_size", (1001,)))


PLACEMENTS = grid.axis("model.projection_placement", ("before", "after"))
PROJECTIONS = grid.axis("model.projection", ("linear", "relu6"))


@pytest.mark.parametrize(
    ("axes", "changes", "knob", "block", "pair"),
    [
        (
            [PROJECTIONS],
            {"model__block": "separable"},
            "projection",
            "separable",
            "linear and relu6",
        ),
        (
            [grid.axis("model.expansion", (2, 6))],
            {"model__block": "standard"},
            "expansion",
            "standard",
            "2 and 6",
        ),
        ([PLACEMENTS], {}, "projection_placement", "inverted_residual", "before and after"),
        (
            [grid.axis("model.shortcut", ("bottleneck", "none", "expansion"))],
            {"model__block": "bottleneck"},
            "shortcut",
            "bottleneck",
            "none and expansion",
        ),
        (
            [PROJECTIONS, grid.axis("model.block", ("inverted_residual", "standard"))],
            {},
            "projection",
            "standard",
            "linear and relu6",
        ),
    ],
)
def test_an_axis_that_changes_nothing_is_refused(dots, axes, changes, knob, block, pair):
    expected = (
        f"^grid: model.{knob}: with block {block!r} its values {pair} are the same network; "
        f"expected "
    )
    how = f"one of them, such as --config.model.{knob}={pair.split()[0]}, .* reads '{knob}'$"
    if knob == "shortcut":
        how = "a grid without one of them, or a block that adds .* `self.add_expanded"
    with pytest.raises(ValueError, match=expected + how):
        plan(dots, *axes, **changes)


def test_an_axis_need_not_matter_everywhere(dots):
    # Where a linear projection is placed makes no difference, where ReLU6 is placed does.
    assert len(plan(dots, PROJECTIONS, PLACEMENTS)) == 2


def test_a_network_is_known_by_what_it_computes(dots):
    def networks(*axes, **changes):
        return [part.network_fingerprint for part in plan(dots, *axes, **changes)]

    first, second = networks(grid.axis("model.expansion", (2, 6)))
    assert first != second
    # Lanes apart: whatever runs are in a cohort, its network is the same.
    assert networks(PROJECTIONS, model__expansion=2.0) == [first]
    assert networks(model__projection="relu6", model__shortcut="none") == [second]
    assert networks(model__block="fused") != [second]


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_takes_a_published_recipe(dots, name):
    config = digits.get_config()
    config.train.update(RECIPES[name])
    config.train.batch_size = 32
    (only,) = cohort.plan([config], lambda _: dots)
    recipe = only.program.recipe
    assert recipe.optimizer == RECIPES[name]["optimizer"]
    assert only.runs[0].values.weight_decay == np.float32(RECIPES[name]["weight_decay"])


@pytest.mark.parametrize("path", ["model.projection_placement", "train.momentum", "seed"])
def test_a_missing_field_is_named(dots, path):
    config = digits.get_config()
    section, _, field = path.rpartition(".")
    del (config[section] if section else config)[field]
    with pytest.raises(ValueError, match=f"^config.{path}: the config lacks it; expected every"):
        cohort.plan([config], lambda _: dots)


@pytest.mark.parametrize(
    ("path", "hint"),
    [("train.epocs", "did you mean config.train.epochs?"), ("x", "expected those of configs/")],
)
def test_an_unknown_field_is_named(dots, path, hint):
    config = digits.get_config()
    section, _, field = path.rpartition(".")
    (config[section] if section else config)[field] = 3
    with pytest.raises(ValueError, match=f"^config.{path}: no such field; {re.escape(hint)}"):
        cohort.plan([config], lambda _: dots)


def test_runs_of_other_splits_are_of_other_cohorts(dots):
    cohorts = plan(
        dots,
        grid.axis("data.split", ("fixed", "per_seed")),
        PROJECTIONS,
        grid.axis("seed", (0, 1)),
        train__batch_size=16,
    )
    assert [str(part).partition(", ")[2] for part in cohorts] == [
        "split fixed",
        "split per_seed, seed 0",
        "split per_seed, seed 1",
    ]
    assert [[run.config.seed for run in part.runs] for part in cohorts] == [
        [0, 1, 0, 1],
        [0, 0],
        [1, 1],
    ]
    assert len({part.id for part in cohorts}) == 3
    fixed, *drawn = (part.dataset for part in cohorts)
    assert fixed is dots
    assert [own.fixed for own in drawn] == [dots, dots]
    tests = [frozenset(own.places["test"].tolist()) for own in drawn]
    assert len(set(tests)) == 2
    (run,) = plan(dots, grid.axis("seed", (1,)), data__split="per_seed", train__batch_size=16)
    assert run.id == cohorts[2].id
    assert run.dataset.places["test"].tolist() == drawn[1].places["test"].tolist()
    rows = records.planned(cohorts)
    assert [row["data.split"] for row in rows] == ["fixed"] * 4 + ["per_seed"] * 4


def test_cohorts_are_told_apart_by_their_labels(dots):
    def labels(*axes):
        return [str(part) for part in plan(dots, *axes, train__batch_size=16)]

    assert labels(PROJECTIONS) == ["inverted_residual"]
    assert labels(grid.axis("model.expansion", (1, 6)), PROJECTIONS) == [
        "inverted_residual, expansion 1",
        "inverted_residual, expansion 6",
    ]
    blocks = grid.axis("model.block", ("inverted_residual", "fused"))
    kernels = grid.axis("model.kernel_size", (3, 5))
    assert labels(blocks, kernels)[3] == "fused, kernel_size 5"
    shortcuts = grid.axis("model.shortcut", ("bottleneck", "none", "expansion"))
    assert labels(shortcuts) == ["inverted_residual", "inverted_residual, shortcut expansion"]
