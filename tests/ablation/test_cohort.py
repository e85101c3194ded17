import pytest

from configs import digits
from mnv2_jax.ablation import cohort, grid


def plan(dots, *axes, **changes):
    config = digits.get_config()
    for path, value in changes.items():
        section, field = path.split("__") if "__" in path else ("", path)
        (config[section] if section else config)[field] = value
    return cohort.plan(grid.expand(config, grid.product(*axes)), dots)


def test_the_default_grid_is_six_cohorts_of_24_lanes(dots):
    cohorts = cohort.plan(grid.expand(digits.get_config(), digits.get_grid()), dots)
    assert [len(part.runs) for part in cohorts] == [24] * 6
    expansions = [part.runs[0].config.model.expansion for part in cohorts]
    assert expansions == [1, 2, 4, 6, 8, 10]
    assert all(
        run.config.model.expansion == expansion
        for part, expansion in zip(cohorts, expansions, strict=True)
        for run in part.runs
    )


@pytest.mark.parametrize("path", list(cohort.LANE_FIELDS))
def test_lane_fields_share_a_program(dots, path):
    values = {
        "seed": (0, 1),
        "model.projection": ("linear", "relu6", "relu"),
        "model.shortcut": ("bottleneck", "none"),
        "train.learning_rate": (0.1, 0.2),
        "train.weight_decay": (0.0, 1e-3),
        "train.label_smoothing": (0.0, 0.1),
    }[path]
    (only,) = plan(dots, grid.axis(path, values))
    assert len(only.runs) == len(values)
    lanes = [str(run.values) for run in only.runs]
    assert len(set(lanes)) == len(values)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("model.expansion", (1, 6)),
        ("model.width", (0.5, 1.0)),
        ("model.kernel_size", (3, 5)),
        ("model.shortcut", ("bottleneck", "expansion")),
        ("train.epochs", (1, 2)),
        ("train.shift", (0, 1)),
    ],
)
def test_what_changes_the_program_makes_a_cohort(dots, path, values):
    assert len(plan(dots, grid.axis(path, values), train__batch_size=16)) == len(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model__expansion": 0.0},
            r"config.model.expansion=0.0: expected a number above 0",
        ),
        ({"model__expansion": -1.0}, r"config.model.expansion=-1.0: expected a number"),
        ({"model__projection": "tanh"}, r"config.model.projection='tanh': expected one of linear"),
        ({"model__shortcut": "up"}, r"config.model.shortcut='up': expected one of bottleneck"),
        (
            {"model__block": "lego"},
            r"config.model.block='lego': expected FILE.py:CLASS or",
        ),
        ({"model__preset": "v9"}, r"config.model.preset='v9': expected one of mobilenet_v2"),
        ({"model__width": 0.0}, r"config.model.width=0.0: expected a number above 0"),
        ({"train__epochs": 0}, r"config.train.epochs=0: expected a whole number"),
        ({"train__batch_size": 65}, r"config.train.batch_size=65: expected at most 64"),
        ({"train__learning_rate": 0.0}, r"config.train.learning_rate=0.0: expected a number above"),
        ({"train__weight_decay": -1.0}, r"config.train.weight_decay=-1.0: expected a number, 0"),
        ({"train__label_smoothing": 1.0}, r"config.train.label_smoothing=1.0: expected 0 or more"),
        ({"seed": -1}, r"config.seed=-1: expected a whole number from 0"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_trains(dots, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        plan(dots, grid.axis("model.kernel_size", (3,)), **change)
