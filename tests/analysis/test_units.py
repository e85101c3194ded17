import dataclasses

import pytest

from mnv2_jax import schema
from mnv2_jax.analysis import units
from mnv2_jax.analysis.units import Measure, measure_of, measure_of_row
from mnv2_jax.metrics import METRICS, SPLITS


def of(column: str) -> Measure:
    return measure_of(schema.column(column))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", list(METRICS))
def test_columns_of_metrics_are_written_as_the_metric_says(split: str, name: str) -> None:
    metric = METRICS[name]
    found = of(metric.column(split))
    assert (found.label, found.unit, found.digits) == (metric.label, metric.unit, metric.digits)
    assert (found.sign > 0) == (metric.better == "higher")


def test_fractions_are_shown_in_per_cent_and_differ_in_points() -> None:
    accuracy = of("test_accuracy")
    assert accuracy.signed(-0.0131) == "-1.3"
    assert accuracy.size(0.01) == "1.0"
    assert accuracy.size(0.00653, more_digits=1) == "0.65"
    assert accuracy.value(0.873) == "87.3 %"
    assert (accuracy.of_differences, accuracy.in_sentences) == ("pt", "points")


def test_measures_of_side_tables_keep_their_labels_whatever_the_tables_name() -> None:
    assert of("test_bfloat16/accuracy").label == "Accuracy, test_bfloat16"
    assert of("test/accuracy").label == "Accuracy, test"


def test_what_is_no_fraction_is_shown_as_it_is_stored() -> None:
    loss = of("validation_loss")
    assert (loss.signed(0.0504), loss.value(1.25)) == ("+0.050", "1.250 nats")
    assert (loss.of_differences, loss.in_sentences) == ("nats", "nats")
    own = of("test_f1_score")
    assert own == Measure("f1 score")
    assert own.value(0.5) == "0.500"


def test_axes_of_differences_name_what_all_share() -> None:
    accuracies = [of("test_accuracy"), of("validation_accuracy")]
    assert units.of_differences(accuracies) == "Difference in accuracy (percentage points)"
    both = [*accuracies, of("test_top5_accuracy")]
    assert units.of_differences(both) == "Difference (percentage points)"
    assert units.of_differences([Measure("f1")]) == "Difference in f1"


def test_a_row_says_how_it_is_written_or_is_an_older_one() -> None:
    own = Measure("f1", "", 2, "higher")
    assert measure_of_row({"metric": "test_f1", "measure": dataclasses.asdict(own)}) == own
    assert measure_of_row({"metric": "test_loss"}) == of("test_loss")
