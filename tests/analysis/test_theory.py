"""Theorem 1 and Figure 1: the formula against scipy, simulations against enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnv2_jax.analysis import theory
from mnv2_jax.analysis.theory import COLLAPSED, Case


@given(st.integers(1, 20), st.integers(1, 120))
def test_the_prediction_is_a_binomial_tail(inputs, outputs):
    expected = stats.binom.cdf(inputs - 1, outputs, 0.5)
    assert Case(inputs, outputs).predicted == pytest.approx(expected, rel=1e-9)


def test_predictions_of_the_cases():
    of_two = [case.predicted for case in theory.CASES if case.inputs == 2]
    assert of_two == pytest.approx([0.75, 0.5, 0.1875, 4.8828e-4, 2.8871e-8], rel=1e-4)
    of_sixteen = [case.predicted for case in theory.CASES if case.inputs == 16]
    assert of_sixteen == pytest.approx([1 - 2**-16, 0.430025, 6.6416e-3, 2.0133e-12], rel=1e-4)


def test_the_formula_of_the_paper_is_of_what_is_not_collapsed():
    # N = sum over k to m - n of C(m, k), as Appendix A writes it.
    for case in theory.CASES:
        n, m = case.inputs, case.outputs
        recovered = sum(math.comb(m, k) for k in range(m - n + 1)) / 2**m
        assert 1 - recovered == pytest.approx(case.predicted, abs=1e-15)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (2, 2), (2, 5), (3, 6)])
def test_all_signs_of_rows_together_have_the_predicted_fraction(inputs, outputs):
    # By sign symmetry, the 2^m matrices DB of one B are equally likely: no sampling is needed.
    rng = np.random.default_rng(0)
    rows, x = rng.normal(size=(outputs, inputs)), rng.normal(size=inputs)
    signs = np.array([*itertools.product([1, -1], repeat=outputs)])
    every = signs[..., None] * rows
    recovered = theory.is_recoverable(every, every @ x > 0)
    assert 1 - recovered.mean() == Case(inputs, outputs).predicted


def test_recovery_needs_independent_rows_and_not_only_many():
    same = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    active = np.ones((2, 3), bool)
    other = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 7.0]])
    rows = np.stack([same, other])
    assert theory.is_recoverable(rows, active).tolist() == [False, True]
    assert (
        theory.is_recoverable(rows, np.array([[1, 1, 0], [0, 0, 1]], bool)).tolist() == [False] * 2
    )


@pytest.mark.parametrize(
    ("case", "chance"), [(Case(2, 5), 0.3), (Case(3, 8), 0.7), (Case(2, 3), 0.2)]
)
def test_importance_sampling_has_the_mean_of_plain_sampling(case, chance):
    plain, tilted = (
        np.array(
            [theory.collapsed(np.random.default_rng([s, 1]), case, 2000, c) for s in range(12)]
        )
        for c in (0.5, chance)
    )
    error = math.hypot(stats.sem(plain), stats.sem(tilted))
    assert abs(plain.mean() - tilted.mean()) < 4 * error
    assert abs(tilted.mean() - case.predicted) < 4 * stats.sem(tilted)


def test_rare_fractions_alone_are_tilted():
    plain = [case for case in theory.CASES if case.chance == 0.5]
    assert plain == [Case(2, 2), Case(2, 3), Case(2, 5), Case(16, 32)]
    assert all(0 < case.chance < 1 for case in theory.CASES)


def test_batches_and_counts(monkeypatch):
    done: list[int] = []
    cases = [Case(2, 3), Case(2, 15)]
    frame = theory.measure_collapse(2, 500, cases, done.append)
    assert done == [1, 2, 3, 4]
    assert frame["seed"].tolist() == [0, 1, 0, 1]
    pd.testing.assert_frame_equal(frame, theory.measure_collapse(2, 500, cases))
    monkeypatch.setattr(theory, "_NUMBERS_AT_ONCE", 600)
    assert theory.collapsed(np.random.default_rng(0), cases[0], 500) == pytest.approx(0.5, abs=0.1)


def test_claims_are_decided_with_margins_of_the_rarer_fraction():
    frame = theory.measure_collapse(6, 4000)
    rows = theory.theorem_1(frame)
    assert [row["verdict"] for row in rows].count("refuted") == 0
    assert {row["verdict"] for row in rows if row["inputs"] == 2} == {"supported"}
    for row in rows:
        assert row["margin"] == pytest.approx(0.05 * min(row["predicted"], 1 - row["predicted"]))
        assert row["joint_low"] < row["low"] < row["measured"] < row["high"] < row["joint_high"]
    # The measurement decides: a wrong one refutes the claim.
    rows = theory.theorem_1(frame.assign(**{COLLAPSED: 1.2 * frame[COLLAPSED]}))
    assert {row["verdict"] for row in rows} == {"refuted"}


def test_the_spiral():
    points = theory.spiral()
    assert points.shape == (1000, 2)
    radius = np.hypot(*points.T)
    np.testing.assert_allclose(radius, np.arange(1000) / 999)
    turns = np.unwrap(np.arctan2(points[1:, 1], points[1:, 0]))
    np.testing.assert_allclose(np.diff(turns), 0.0628)
    assert turns[-1] - turns[0] == pytest.approx(0.0628 * 998)


def test_reconstructions_by_hand():
    points = np.array([[1.0, 0.0], [-0.5, 2.0]])
    back = theory.reconstructed(np.random.default_rng(3), points, 4, samples=2)
    matrices = np.random.default_rng(3).normal(size=(2, 4, 2))
    for found, matrix in zip(back, matrices, strict=True):
        for row, point in zip(found, points, strict=True):
            hidden = np.maximum(matrix @ point, 0)
            np.testing.assert_allclose(row, np.linalg.lstsq(matrix, hidden, rcond=None)[0])


def test_errors_fall_with_dimensions_to_one_half_as_they_are():
    rows = pd.DataFrame(theory.spiral_errors(2, 40, (2, 30, 1000)))
    medians = rows.pivot_table(index="dimension", columns="reconstruction", values="median")
    assert medians.loc[1000, "as it is"] == pytest.approx(0.5, abs=0.02)
    assert medians.loc[1000, "best scale"] < 0.1 < medians.loc[30, "best scale"]
    assert medians.loc[30, "best scale"] < medians.loc[2, "best scale"] <= 1
    assert (rows["low"] <= rows["median"]).all()
    assert (rows["median"] <= rows["high"]).all()
    assert set(rows["samples"]) == {80}
