"""Means with standard errors: by hand, by SciPy, and by simulation with images as a sample."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.means import holm, over_seeds, over_seeds_and_images, t_interval

quick = settings(max_examples=10, deadline=None)
EXPERIMENTS = 2_000  # standard error of a share of 95 %: 0.5 %


def compared(values: Sequence[float] | np.ndarray) -> Comparison:
    return Comparison(np.array(values, float), len(values), 0)


def test_t_interval_by_hand() -> None:
    # Standard error 1/sqrt(3), t(0.975, 2 degrees of freedom) = 4.302653.
    interval = t_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert interval.estimate == 2
    assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert interval.high == pytest.approx(2 + 2.484138, abs=1e-6)


def test_tost_p_by_hand() -> None:
    # t = 3e-3 / (1e-3 / sqrt(3)) = sqrt(27); with 2 degrees of freedom the tail has a closed form.
    p = compared([1e-3, 2e-3, 3e-3]).p_within(5e-3)
    assert p == pytest.approx(0.5 * (1 - np.sqrt(27 / 29)))


@quick
@given(st.lists(st.floats(-0.03, 0.03), min_size=2, max_size=8))
def test_tost_rejects_exactly_when_the_90_percent_interval_is_inside(values: list[float]) -> None:
    interval = t_interval(np.array(values), 0.90)
    edge = min(abs(abs(interval.low) - 0.01), abs(abs(interval.high) - 0.01))
    if edge > 1e-9:
        inside = max(-interval.low, interval.high) < 0.01
        assert (compared(values).p_within(0.01) < 0.05) == inside


@quick
@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda v: np.ptp(v) > 1e-3),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_t_interval_and_one_sided_p_are_scipys(values: list[float], confidence: float) -> None:
    test = scipy.stats.ttest_1samp(values, popmean=0.1, alternative="greater")
    assert compared(values).p_above(0.1) == pytest.approx(test.pvalue)
    wanted = scipy.stats.ttest_1samp(values, popmean=0).confidence_interval(confidence)
    interval = t_interval(np.array(values), confidence)
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high))


def test_holm_by_hand() -> None:
    # In order: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04, the last raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    # One that could not be tested counts: 3 x 0.02, 2 x 0.04.
    adjusted = holm([0.02, np.nan, 0.04])
    assert adjusted[::2] == pytest.approx([0.06, 0.08])
    assert np.isnan(adjusted[1])


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float], level: float) -> None:
    # Step by step: the smallest p against level / m, the next against level / (m - 1), ...
    left, rejected = list(range(len(p_values))), set()
    while left:
        smallest = min(left, key=lambda i: p_values[i])
        if p_values[smallest] * len(left) > level:
            break
        rejected.add(smallest)
        left.remove(smallest)
    adjusted = holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p <= level} == rejected
    # Closed testing: p of the union of all that are in an intersection, by Bonferroni.
    for i, p in enumerate(adjusted):
        every = range(len(p_values))
        sets = (s for n in every for s in itertools.combinations(every, n + 1) if i in s)
        closed = max(min(1, len(s) * min(p_values[j] for j in s)) for s in sets)
        assert p == pytest.approx(closed)


def test_fewer_than_two_seeds_give_no_interval_and_no_p() -> None:
    for values in (np.array([]), np.array([0.5])):
        interval = t_interval(values, 0.95)
        assert np.isnan([interval.low, interval.high]).all()
        assert np.isnan(compared(values).p_within(0.01))
    assert t_interval(np.array([0.5]), 0.95).estimate == 0.5


def test_without_variance_seeds_count_by_their_signs() -> None:
    """Six that agree do so by chance in 3 % of repetitions, as if each threw a coin."""
    interval = t_interval(np.full(6, 0.25), 0.95)
    assert (interval.estimate, interval.low, interval.high) == (0.25, 0.25, 0.25)
    assert compared([0.25] * 6).p_within(0.3) == 2**-6
    assert compared([0.25] * 6).p_within(0.2) == 1
    few = t_interval(np.full(5, 0.25), 0.95)
    assert few.estimate == 0.25
    assert np.isnan([few.low, few.high]).all()


def test_seeds_and_images_by_hand() -> None:
    # Mean squares of a table without interaction: seeds 4 x 2 = 8, images 2 x 5/3, residual 0.
    table = np.array([[1.0], [3.0]]) + np.array([[0.0, 1.0, 2.0, 3.0]])
    found = over_seeds_and_images(table)
    assert found.estimate == 3.5
    of_seeds, of_images = 8.0, 2 * 5 / 3
    assert found.error == pytest.approx(np.sqrt((of_seeds + of_images) / 8))
    assert found.df == pytest.approx((of_seeds + of_images) ** 2 / (of_seeds**2 + of_images**2 / 3))
    assert found.of_images == pytest.approx(of_images / (of_seeds + of_images))


@quick
@given(st.integers(2, 6), st.integers(2, 30), st.integers(0, 99))
def test_images_never_make_the_error_smaller(seeds: int, images: int, draw: int) -> None:
    table = np.random.default_rng(draw).normal(size=(seeds, images))
    found, alone = over_seeds_and_images(table), over_seeds(table.mean(axis=1))
    assert found.estimate == pytest.approx(alone.estimate)
    assert found.error >= alone.error * (1 - 1e-12)
    assert (found.of_images == 0) == (found.error == pytest.approx(alone.error))
    assert found.df > 0


def test_images_that_do_not_differ_leave_the_interval_over_seeds() -> None:
    by_seed = np.array([0.1, 0.3, 0.2])
    table = np.repeat(by_seed[:, None], 50, axis=1)
    both, alone = over_seeds_and_images(table), over_seeds(by_seed)
    assert (both.error, both.df) == pytest.approx((alone.error, alone.df))
    assert over_seeds_and_images(table[:, :1]) == over_seeds(by_seed)
    assert np.isnan(over_seeds_and_images(table[:1]).error)


def differences(rng: np.random.Generator, of_seeds: float, of_images: float) -> np.ndarray:
    """Return differences of hits, -1, 0 or 1: eight seeds, 500 images, true mean 0.04.

    Images differ in how far the two networks' chances of a hit lie apart, and seeds as well.
    """
    by_image = of_images * rng.standard_normal((1, 500))
    by_seed = of_seeds * rng.standard_normal((8, 1))
    gap = np.clip(0.04 + by_image + by_seed, -0.9, 0.9)
    draw = rng.random((8, 500))
    gain, loss = 0.05 + np.maximum(gap, 0), 0.05 + np.maximum(-gap, 0)
    return (draw < gain).astype(float) - (draw > 1 - loss)


@pytest.mark.parametrize("of_images", [0.05, 0.15])
@pytest.mark.parametrize("of_seeds", [0.0, 0.003, 0.01])
def test_the_interval_over_seeds_and_images_covers(of_seeds: float, of_images: float) -> None:
    rng = np.random.default_rng(int(1_000 * (of_seeds + of_images)))
    truth, covered, alone = 0.04, [], []
    for _ in range(EXPERIMENTS):
        table = differences(rng, of_seeds, of_images)
        both = over_seeds_and_images(table).interval(0.95)
        covered.append(both.low <= truth <= both.high)
        seeds = over_seeds(table.mean(axis=1)).interval(0.95)
        alone.append(seeds.low <= truth <= seeds.high)
    print(f"seeds {of_seeds:g}, images {of_images:g}: {np.mean(covered):.1%}, ", end="")
    print(f"over seeds alone {np.mean(alone):.1%}")
    assert np.mean(covered) >= 0.935
    assert np.mean(covered) > np.mean(alone)
