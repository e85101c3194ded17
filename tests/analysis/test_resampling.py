import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis.resampling import bootstrap_interval, sign_flip_p, smallest_sign_flip_p

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
