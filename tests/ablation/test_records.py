"""Records as they are written and as the analysis reads them."""

import csv
import dataclasses

import jax
import pytest

from configs import digits
from mnv2_jax.ablation import cohort, grid, records, sweep
from mnv2_jax.analysis.claims import check, decide, greater
from mnv2_jax.analysis.records import design_axes, read_results

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
        assert next(csv.reader(file)) == [*records.COLUMNS, "train.learning_rate"]
    frame = read_results(tmp_path)
    # A measurement taken for an axis would leave every run without its pair.
    assert design_axes(frame) == [
        *("dataset", "block", "projection", "shortcut", "expansion", "width", "epochs"),
        "train.learning_rate",
    ]
    (decided,) = decide([CLAIM], frame)
    assert decided["pairs"] == 6
    assert decided["estimate"] == pytest.approx(0.01)


def test_claims_are_checked_against_the_columns_to_come(cohorts):
    check([CLAIM], records.columns(cohorts[0].runs))
    with pytest.raises(ValueError, match=r"axis 'train\.learning_rate' is not a column"):
        check([CLAIM], records.COLUMNS)


@pytest.mark.parametrize(
    ("environment", "other"),
    [
        ({"network": None}, False),
        ({"network": "0123456789ab"}, True),
        # What jax writes down differs from version to version, and old records have nothing.
        ({"network": "0123456789ab", "libraries": {"jax": "0.1"}}, False),
        ({}, False),
    ],
)
def test_a_record_of_other_code_is_known(cohorts, tmp_path, environment, other):
    (only,) = cohorts
    run = only.runs[0]
    if environment.get("network", "") is None:
        environment = {"network": only.network}
    libraries = {"libraries": {"jax": jax.__version__}}
    records.write(tmp_path, run, {"status": "done"}, [], libraries | environment)
    assert records.made_by_other_code(tmp_path, run, only) is other


def test_no_record_is_of_no_other_code(cohorts, tmp_path):
    (only,) = cohorts
    assert not records.made_by_other_code(tmp_path, only.runs[0], only)


def test_a_sweep_over_records_of_other_images_is_refused(cohorts, tmp_path):
    (only,) = cohorts
    prepared = dataclasses.replace(only, dataset=dataclasses.replace(only.dataset, fingerprint="a"))
    for run, environment in zip(only.runs, ({"data": "b"}, {"data": "a"}, {}), strict=False):
        records.write(tmp_path, run, {"status": "done"}, [], environment)
    message = r"1 runs there \(.*\) were trained on other images, when 'dots' held something else"
    with pytest.raises(ValueError, match=message):
        sweep.check_finished(tmp_path, [prepared])
    sweep.check_finished(tmp_path, [dataclasses.replace(prepared, runs=only.runs[1:])])


def test_a_sweep_over_records_of_other_code_is_refused(cohorts, tmp_path):
    (only,) = cohorts
    for run in only.runs[:2]:
        environment = {"libraries": {"jax": jax.__version__}, "network": "0123456789ab"}
        records.write(tmp_path, run, {"status": "done"}, [], environment)
    message = r"2 runs there \(.*\) were trained by other code of block 'inverted_residual'"
    with pytest.raises(ValueError, match=message):
        sweep.check_finished(tmp_path, cohorts)
    sweep.check_finished(tmp_path, [dataclasses.replace(only, runs=only.runs[2:])])
