import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from mnv2_jax.analysis.power import (
    MOST_SEEDS,
    detectable_difference,
    detectable_margin,
    difference_power,
    effect_size,
    margin_power,
    seeds_needed,
    seeds_needed_within,
)
from mnv2_jax.analysis.stats import t_interval, tost_p

quick = settings(max_examples=25, deadline=None)
SIMULATIONS = 4_000  # standard error of a share of 80 %: 0.6 %


@pytest.mark.parametrize(
    ("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1, 10), (2, 5), (1e300, 2)]
)
def test_seeds_needed_are_those_of_the_tables(effect: float, seeds: int) -> None:
    # The first three are the textbooks' for a small, a medium and a large effect: paired t test,
    # two-sided, level 0.05, power 0.8.
    assert seeds_needed(1, effect) == seeds_needed(3, -3 * effect) == seeds


@pytest.mark.parametrize("seeds", [2, 3, 6, 20])
def test_power_is_that_of_scipys_distributions(seeds: int) -> None:
    df = seeds - 1
    t = scipy.stats.t.ppf(0.975, df)
    wanted = scipy.stats.nct.sf(t, df, 1.2 * np.sqrt(seeds))
    assert difference_power(0.5, seeds, 0.6) == pytest.approx(wanted)

    t, margin = scipy.stats.t.ppf(0.95, df), detectable_margin(1, seeds)
    sd = scipy.stats.chi(df, scale=1 / np.sqrt(df))
    most = margin * np.sqrt(seeds)
    wanted, _ = integrate.quad(
        lambda s: (2 * scipy.stats.norm.cdf(most - t * s) - 1) * sd.pdf(s), 0, most / t
    )
    assert margin_power(1, seeds, margin) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("seeds", [3, 6, 20])
def test_what_is_detectable_is_found_in_80_percent_of_simulations(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(0, 0.4, (SIMULATIONS, seeds))
    shift = detectable_difference(0.4, seeds)
    found = [t_interval(draw, 0.95).low > -shift for draw in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
    margin = detectable_margin(0.4, seeds)
    assert np.mean([tost_p(draw, margin) < 0.05 for draw in draws]) == pytest.approx(0.8, abs=0.02)


@quick
@given(st.floats(0.05, 20), st.floats(0.01, 10), st.sampled_from([0.5, 0.8, 0.95]))
def test_seeds_needed_is_the_inverse_of_what_is_detectable(
    effect: float, sd: float, power: float
) -> None:
    for needed, detectable in (
        (seeds_needed, detectable_difference),
        (seeds_needed_within, detectable_margin),
    ):
        seeds = needed(sd, effect * sd, power)
        assert seeds is not None
        assert detectable(sd, seeds, power) <= effect * sd * (1 + 1e-6)
        if seeds > 2:
            assert detectable(sd, seeds - 1, power) > effect * sd * (1 - 1e-6)


def test_seeds_beyond_a_million_and_none_for_no_difference() -> None:
    assert seeds_needed(1, 0) is None
    assert seeds_needed(1, 0.002) is None
    assert seeds_needed_within(1, 1e-5) is None
    least = seeds_needed(1, 0.003)
    assert least is not None
    # The normal approximation: ((1.960 + 0.842) / effect)^2.
    assert least == pytest.approx((2.8016 / 0.003) ** 2, rel=1e-3)
    assert least < MOST_SEEDS


def test_effect_size_by_hand() -> None:
    # Mean 2, sd 1; with 2 degrees of freedom Gamma(1) / (sqrt(1) Gamma(1/2)) = 1 / sqrt(pi).
    assert effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / np.sqrt(np.pi))
    assert effect_size(-np.array([1.0, 2.0, 3.0])) == pytest.approx(-2 / np.sqrt(np.pi))


def test_effect_size_is_unbiased() -> None:
    draws = np.random.default_rng(0).normal(0.8, 1, (SIMULATIONS, 6))
    assert np.mean([effect_size(draw) for draw in draws]) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("values", [[], [1], [1, 2], [0.1, 0.1, 0.1], [0, 0, 0]])
def test_effect_size_where_there_is_none(values: list[float]) -> None:
    assert np.isnan(effect_size(np.array(values, float)))


def test_wrong_designs_are_refused() -> None:
    for sd in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="must be a standard deviation above 0"):
            detectable_difference(sd, 6)
        with pytest.raises(ValueError, match="must be a standard deviation above 0"):
            seeds_needed_within(sd, 0.01)
    with pytest.raises(ValueError, match="seeds 1; must be 2 or more"):
        detectable_margin(1, 1)
