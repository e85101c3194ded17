import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from mnv2_jax.analysis.decisions import Comparison, decide_equivalent
from mnv2_jax.analysis.means import t_interval
from mnv2_jax.analysis.power import (
    MOST_SEEDS,
    design,
    detectable_difference,
    detectable_margin,
    difference_power,
    effect_size,
    seeds_needed,
    seeds_needed_within,
)

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

    # One margin: the share is an integral over the scatter that the seeds may show.
    t, margin = scipy.stats.t.ppf(0.95, df), detectable_margin(np.eye(1), seeds)
    sd = scipy.stats.chi(df, scale=1 / np.sqrt(df))
    most = margin * np.sqrt(seeds)
    share, _ = integrate.quad(
        lambda s: (2 * scipy.stats.norm.cdf(most - t * s) - 1) * sd.pdf(s), 0, most / t
    )
    assert share == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 6, 20])
def test_what_is_detectable_is_found_in_80_percent_of_simulations(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(0, 0.4, (SIMULATIONS, seeds))
    shift = detectable_difference(0.4, seeds)
    found = [t_interval(draw, 0.95).low > -shift for draw in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("seeds", [6, 20])
def test_a_margin_is_confirmed_for_all_pairs_of_values_together(seeds: int) -> None:
    """Three values differ by noise alone; each of three pairs has to be confirmed."""
    rng = np.random.default_rng(seeds)
    spread = np.array([0.2, 0.3, 0.4])
    pairs = np.array([[1, -1, 0], [1, 0, -1], [0, 1, -1]])
    margin = detectable_margin(pairs @ np.diag(spread**2) @ pairs.T, seeds)
    draws = np.einsum("rsv,pv->rps", spread * rng.normal(size=(1_500, seeds, 3)), pairs)
    decisions = [
        decide_equivalent([Comparison(one, 0, 0) for one in repetition], margin)
        for repetition in draws
    ]
    confirmed = np.mean([one.verdict == "supported" for one in decisions])
    assert confirmed == pytest.approx(0.8, abs=0.03)


def test_draws_of_one_pool_are_as_uncertain_as_their_scatter() -> None:
    values, overlap = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.3]), 0.5
    one = Comparison(values, pairs=6, dropped=0, overlap=overlap)
    found = design(one)["detectable"]
    sd = float(values.std(ddof=1))
    assert found == pytest.approx(2 * detectable_difference(sd, 6))  # 1 / 6 + 0.5 = 4 / 6.


def test_more_seeds_do_not_help_against_the_scatter_of_images() -> None:
    few, many = (detectable_difference(1, seeds, images=0.04) for seeds in (8, 10_000))
    assert few > detectable_difference(1, 8)
    # 2.80 standard errors of images, which is what is left.
    assert many == pytest.approx(2.8016 * 0.2, rel=1e-2)
    assert seeds_needed(1, 0.5, images=0.04) is None
    assert seeds_needed_within(np.eye(1), 0.5, images=0.04) is None


@quick
@given(st.floats(0.05, 20), st.floats(0.01, 10), st.sampled_from([0.5, 0.8, 0.95]))
def test_seeds_needed_is_the_inverse_of_what_is_detectable(
    effect: float, sd: float, power: float
) -> None:
    seeds = seeds_needed(sd, effect * sd, power)
    assert seeds is not None
    assert detectable_difference(sd, seeds, power) <= effect * sd * (1 + 1e-6)
    if seeds > 2:
        assert detectable_difference(sd, seeds - 1, power) > effect * sd * (1 - 1e-6)
    covariance, margin = np.array([[sd**2]]), max(effect, 0.2) * sd
    seeds = seeds_needed_within(covariance, margin, power)
    assert seeds is not None
    assert detectable_margin(covariance, seeds, power) <= margin
    if seeds > 2:
        assert detectable_margin(covariance, seeds - 1, power) > margin


def test_seeds_beyond_a_million_and_none_for_no_difference() -> None:
    assert seeds_needed(1, 0) is None
    assert seeds_needed(1, 0.002) is None
    assert seeds_needed_within(np.eye(1), 1e-5) is None
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
            seeds_needed(sd, 0.01)
    with pytest.raises(ValueError, match="seeds 1; must be 2 or more"):
        detectable_margin(np.eye(1), 1)
