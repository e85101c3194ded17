import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis.resampling import (
    bootstrap_interval,
    rank_correlation,
    sign_flip_p,
    smallest_sign_flip_p,
)

quick = settings(max_examples=10, deadline=None)


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only +++ and --- are as extreme
        ([1, 2, -1], 6 / 8),  # sums 4, 2, 2, 0 and their negatives, against 2
        ([0.1, 0.2, 0.3, 0.1, 0.2, 0.3], 2 / 64),
        ([-0.1, -0.2, -0.3, -0.1, -0.2, -0.3], 2 / 64),
        ([0.1, 0.2, -0.3], 1),  # sums to zero but for rounding
        ([0, 0], 1),
    ],
)
def test_sign_flip_p_by_hand(values: list[float], p: float) -> None:
    assert sign_flip_p(np.array(values)) == p


def test_sign_flip_p_of_many_seeds_is_sampled_and_repeatable() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, 20)
    # The normal approximation: the sum under random signs has variance sum(values**2).
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    approximation = 2 * (1 - 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))))
    assert sign_flip_p(values) == pytest.approx(approximation, abs=0.01)
    assert sign_flip_p(values) == sign_flip_p(values)
    assert 0 < sign_flip_p(np.ones(30)) < 0.001


@quick
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8).filter(any))
def test_sign_flip_p_is_scipys_permutation_test(values: list[int]) -> None:
    test = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    # scipy doubles the smaller tail; the null is symmetric, so that is the same.
    assert sign_flip_p(np.array(values)) == pytest.approx(test.pvalue)


def test_the_smallest_p_that_seeds_can_reach() -> None:
    for seeds in range(2, 10):
        assert sign_flip_p(np.linspace(1, 2, seeds)) == smallest_sign_flip_p(seeds)
    assert smallest_sign_flip_p(6) < 0.05 < smallest_sign_flip_p(5)


def test_sign_flip_p_needs_two_seeds() -> None:
    assert np.isnan([sign_flip_p(np.array([])), sign_flip_p(np.array([0.5]))]).all()


@quick
@given(st.integers(2, 20), st.sampled_from([0.9, 0.95]))
def test_the_bootstrap_is_scipys(seeds: int, confidence: float) -> None:
    values = np.random.default_rng(seeds).exponential(0.01, seeds)
    ours = bootstrap_interval(values, confidence)
    mean, scale = np.mean(values), np.ptp(values)
    # In the same units: rounding decides whether a resample's mean is below or at that of all.
    wanted = scipy.stats.bootstrap(
        ((values - mean) / scale,), np.mean, confidence_level=confidence, rng=0
    ).confidence_interval
    assert ours.estimate == mean
    assert ours.low == pytest.approx(mean + scale * wanted.low, rel=1e-9)
    assert ours.high == pytest.approx(mean + scale * wanted.high, rel=1e-9)
    assert bootstrap_interval(values, confidence) == ours


@pytest.mark.filterwarnings("error")
@quick
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.3, -0.2, 1e-9]), min_size=2, max_size=7),
    st.sampled_from([1.0, 1e-300, 1e300]),
)
def test_the_bootstrap_stays_within_the_seeds(values: list[float], unit: float) -> None:
    seeds = np.array(values) * unit
    interval = bootstrap_interval(seeds, 0.95)
    slack = 1e-12 * np.max(np.abs(seeds))
    assert min(seeds) - slack <= interval.low <= interval.estimate + slack
    assert interval.estimate - slack <= interval.high <= max(seeds) + slack


def test_the_bootstrap_of_next_to_nothing() -> None:
    assert np.isnan(bootstrap_interval(np.array([]), 0.95).estimate)
    one = bootstrap_interval(np.array([0.5]), 0.95)
    assert (one.estimate, np.isnan(one.low), np.isnan(one.high)) == (0.5, True, True)
    for equal in ([0.1, 0.1, 0.1], [0.0, 0.0], [0.1, 0.1 + 1e-17]):
        point = bootstrap_interval(np.array(equal), 0.95)
        assert point.low == point.estimate == point.high == pytest.approx(equal[0])


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_rank_correlation_is_that_of_scipy_with_ties_too(number, runs):
    generator = np.random.default_rng(number)
    x, y = generator.integers(0, 4, runs).astype(float), generator.normal(size=runs)
    found = rank_correlation(x, y, np.zeros(runs), 0.95)
    if np.ptp(x) == 0:
        assert np.isnan(found.estimate)
    else:
        assert found.estimate == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert np.isnan([found.low, found.high]).all()  # Of one seed.


def test_the_interval_of_a_rank_correlation_is_of_seeds_and_not_of_runs():
    generator = np.random.default_rng(0)
    seeds = np.arange(12)
    x, y = generator.normal(size=(2, 12))
    once = rank_correlation(x, x + y, seeds, 0.95)
    # Eight runs of each seed that say the same are no more evidence.
    again = rank_correlation(np.tile(x, 8), np.tile(x + y, 8), np.tile(seeds, 8), 0.95)
    assert once.low < once.estimate < once.high
    assert tuple(vars(again).values()) == pytest.approx(tuple(vars(once).values()), abs=1e-9)


@pytest.mark.slow
def test_the_interval_of_a_rank_correlation_covers_as_often_as_it_is_said_to():
    """Of 20 seeds with three runs each, whose ranks correlate by 0.48."""
    generator = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's, of normal numbers that correlate by 0.5.
    hits = 0
    for _ in range(40):
        x, noise = generator.normal(size=(2, 60))
        y = 0.5 * x + np.sqrt(0.75) * noise
        found = rank_correlation(x, y, np.repeat(np.arange(20), 3), 0.95)
        hits += found.low <= truth <= found.high
    assert hits >= 34
