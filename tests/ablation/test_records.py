"""Records as they are written and as the analysis reads them."""

import csv
import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from configs import digits
from mnv2_jax import schema
from mnv2_jax.ablation import cohort, grid, records, sweep
from mnv2_jax.analysis.claims import greater
from mnv2_jax.analysis.tables import design_axes, read_results
from mnv2_jax.analysis.verdicts import check, decide

RATES = grid.product(
    grid.axis("train.learning_rate", (0.1, 0.2)),
    grid.axis("model.projection", ("linear", "relu6")),
    grid.axis("seed", range(3)),
)
CLAIM = greater("rate", "-", "A higher rate is better", "train.learning_rate", 0.2, 0.1)


@pytest.fixture
def cohorts(dots):
    return cohort.plan(grid.expand(digits.get_config(), RATES), lambda _: dots)


def rows_of(cohorts):
    """Rows as if all had been trained, a point better at the higher rate."""
    (only,) = cohorts
    for run in only.runs:
        rate = run.config.train.learning_rate
        yield {
            **records.describe(run, only),
            "train.learning_rate": rate,
            **{"status": "done", "lanes": 12, "device": "cpu", "seconds": 1.0},
            **dict.fromkeys(("train_accuracy", "validation_accuracy", "test_accuracy"), rate / 10),
            "test_loss": 0.5,
        }


def test_fields_that_vary_and_have_no_column_get_one(cohorts):
    assert records.other_axes(cohorts[0].runs) == ["train.learning_rate"]
    assert records.other_axes(cohorts[0].runs[:6]) == []


def test_the_table_carries_such_a_field_into_the_analysis(cohorts, tmp_path):
    records.write_table(tmp_path, list(rows_of(cohorts)))
    with (tmp_path / "results.csv").open() as file:
        assert next(csv.reader(file)) == [*schema.in_order(()), "train.learning_rate"]
    frame = read_results(tmp_path)
    # A measurement taken for an axis would leave every run without its pair.
    assert design_axes(frame) == [
        *("dataset", "block", "projection", "shortcut", "expansion", "width", "epochs"),
        "train.learning_rate",
    ]
    (decided,) = decide([CLAIM], frame)
    assert decided["pairs"] == 6
    assert decided["estimate"] == pytest.approx(0.01)


def test_the_table_is_in_the_order_of_the_grid(dots, tmp_path):
    shortcuts = ("none", "expansion", "bottleneck")
    points = grid.product(grid.axis("seed", range(2)), grid.axis("model.shortcut", shortcuts))
    parts = cohort.plan(grid.expand(digits.get_config(), points), lambda _: dots)
    assert len(parts) == 2  # Shortcuts between expansions are another program.
    for part in parts:
        for run in part.runs:
            records.write(tmp_path, run, {**records.describe(run, part), "status": "done"}, [], {})
    rows = records.rows(tmp_path, parts)
    assert [(row["seed"], row["shortcut"]) for row in rows] == [
        (seed, shortcut) for seed in range(2) for shortcut in shortcuts
    ]


def test_claims_are_checked_against_the_columns_to_come(cohorts):
    check([CLAIM], records.columns(cohorts[0].runs))
    with pytest.raises(ValueError, match=r"axis 'train\.learning_rate' is not a column"):
        check([CLAIM], schema.in_order(()))


def test_a_row_holds_what_a_result_has_of_measures(cohorts):
    @dataclasses.dataclass
    class Result:
        """As the training loop gives it."""

        diverged: bool = False
        seconds: float = 1.5
        restored_epoch: int | None = None
        measures: dict[str, float] = dataclasses.field(
            default_factory=lambda: {"test_accuracy": 0.5, "test_brier": 0.25}
        )

    trainer: Any = SimpleNamespace(layout=SimpleNamespace(devices=jax.devices()[:1]))
    result: Any = Result()
    row = sweep._row(cohorts[0], cohorts[0].runs[0], result, trainer, 2)
    assert (row["status"], row["lanes"], row["seconds"]) == ("done", 2, 1.5)
    assert (row["test_accuracy"], row["test_brier"]) == (0.5, 0.25)
