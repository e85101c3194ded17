"""Finished runs count as long as code and data are the same."""

import dataclasses

import jax
import pytest

from configs import digits
from mnv2_jax.ablation import cohort, finished, grid, records

FOUR = grid.product(grid.axis("model.projection", ("linear", "relu6")), grid.axis("seed", range(2)))
OTHER = "0123456789ab"


@pytest.fixture
def only(dots):
    """A cohort of four runs, of a data set that is known by what it holds."""
    data = dataclasses.replace(dots, fingerprint="a1b2c3d4e5f6")
    (planned,) = cohort.plan(grid.expand(digits.get_config(), FOUR), lambda _: data)
    return planned


def record(workdir, run, status="done", **environment):
    environment = {"libraries": {"jax": jax.__version__}, **environment}
    records.write(workdir, run, {"status": status}, [], environment)


def test_what_is_left_to_train(only, tmp_path):
    assert finished.remaining(tmp_path, [only]) == [only]
    record(tmp_path, only.runs[0])
    record(tmp_path, only.runs[2], status="diverged")
    (left,) = finished.remaining(tmp_path, [only])
    assert left.runs == (only.runs[1], only.runs[3])
    assert left.finished == (only.runs[0], only.runs[2])
    for run in left.runs:
        record(tmp_path, run)
    assert finished.remaining(tmp_path, [only]) == []


def test_records_of_the_same_code_and_images_count(only, tmp_path):
    finished.check_same(tmp_path, [only])
    record(tmp_path, only.runs[0], network=only.network_fingerprint, data=only.dataset.fingerprint)
    record(tmp_path, only.runs[1])  # Old records tell nothing.
    # What jax writes down of a network differs from version to version.
    record(tmp_path, only.runs[2], network=OTHER, libraries={"jax": "0.1"})
    finished.check_same(tmp_path, [only])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"network": OTHER}, "by other code of block 'inverted_residual'; expected another work"),
        ({"data": OTHER}, "on other images, when 'dots' held something else, or its photographs"),
    ],
)
def test_records_of_other_code_or_images_are_refused(only, tmp_path, environment, message):
    for run in only.runs[:2]:
        record(tmp_path, run, **environment)
    with pytest.raises(ValueError, match=rf"2 runs there \(.*\) were trained {message}"):
        finished.check_same(tmp_path, [only])
    finished.check_same(tmp_path, [dataclasses.replace(only, runs=only.runs[2:])])
