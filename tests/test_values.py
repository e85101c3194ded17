"""One rule for equal values, from axes that arithmetic made to the claims about them."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import digits
from mnv2_jax import values
from mnv2_jax.ablation import cohort, grid, records
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import equivalent, greater, monotone
from mnv2_jax.analysis.stated import identity
from mnv2_jax.analysis.verdicts import decide, undecidable

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(singles)
def test_the_canonical_value_is_the_same_float32_and_stays(number):
    written = values.canonical(number)
    assert np.float32(written) == np.float32(number)
    assert values.canonical(written) == written
    # As results.csv and messages write it, nine digits.
    assert values.canonical(float(values.text(number))) == written


@given(st.floats(allow_nan=False, min_value=-1e38, max_value=1e38), st.floats(-1e38, 1e38))
def test_values_are_equal_where_float32_cannot_tell_them_apart(one, other):
    same = np.float32(one) == np.float32(other)
    assert (values.canonical(one) == values.canonical(other)) == same


@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_stay_exact(number):
    assert values.canonical(number) == number


def test_scalars_of_numpy_are_taken_for_pythons():
    found = [values.canonical(kind(3)) for kind in (np.int64, np.uint8, np.float32, np.float64)]
    assert found == [3, 3, 3.0, 3.0]
    assert [type(value) for value in found] == [int, int, float, float]
    assert values.canonical(np.float32(0.1)) == 0.1
    assert values.canonical(np.bool_(True)) is True
    assert values.canonical("linear") == "linear"
    assert values.canonical(None) is None


def planned(points, config=None):
    return records.planned(cohort.plan(grid.expand(config or digits.get_config(), points)))


def test_claims_name_the_values_that_arange_and_linspace_made():
    widths = [float(width) for width in np.arange(0.5, 1.3, 0.1)]
    assert 0.8 not in widths
    runs = planned(product(axis("model.width", widths), axis("seed", range(6))))
    claim = monotone("w", "mine", "Wider is better", axis="model.width", values=(0.5, 0.8, 1.1))
    assert undecidable([claim], runs) == []
    frame = pd.DataFrame(runs).assign(
        status="done", test_accuracy=[0.5 + 0.1 * run["width"] for run in runs]
    )
    (decided,) = decide([claim], frame)
    assert (decided["pairs"], decided["dropped"]) == (18, 0)
    assert decided["verdict"] == "supported"


def test_two_values_that_are_equal_are_one_value_twice():
    both = axis("train.label_smoothing", (0.1 + 0.2, 0.3))
    with pytest.raises(ValueError, match=r"label_smoothing': 0\.3\} appears twice"):
        grid.expand(digits.get_config(), both)
    with pytest.raises(ValueError, match=r"better and worse are both 0\.3"):
        greater("ls", "mine", "Twice", "train.label_smoothing", better=0.1 + 0.2, worse=0.3)
    with pytest.raises(ValueError, match="all different"):
        equivalent("ls", "mine", "Twice", "model.width", (0.1 + 0.2, 0.3), 0.01)


def test_numbers_of_numpy_make_the_same_runs_and_claims():
    def runs(seeds, rates):
        points = product(axis("seed", seeds), axis("train.learning_rate", rates))
        return [grid.run_id(run) for run in grid.expand(digits.get_config(), points)]

    assert runs(np.arange(2), np.array((0.1, 0.2), np.float32)) == runs(range(2), (0.1, 0.2))
    rates: list[Any] = [np.float32(0.2), np.float64(0.1)]
    one = greater("r", "mine", "s", "train.learning_rate", *rates)
    other = greater("r", "mine", "s", "train.learning_rate", 0.2, 0.1)
    assert identity(one) == identity(other)
    json.dumps(one.better)


def test_a_number_that_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"config\.train\.learning_rate=1e\+39: expected"):
        grid.expand(digits.get_config(), axis("train.learning_rate", (1e39,)))
    config = digits.get_config()
    config.train.weight_decay = 1e39
    with pytest.raises(ValueError, match="weight_decay=1e\\+39: expected a finite number"):
        grid.run_id(config)


def test_ids_do_not_depend_on_the_rule():
    (config,) = grid.expand(digits.get_config(), axis("train.learning_rate", (0.1 + 0.2,)))
    assert config.train.learning_rate == 0.1 + 0.2
