"""Evidence at any number of seeds: its formulas, and what it promises over simulated experiments.

An experiment looks at its seeds after each step, and stops at the first verdict. Of 20,000, a share
of 5 % has a standard error of 0.15 %: false verdicts may err by three of them.
"""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis import anytime, means, stats, tables
from mnv2_jax.analysis.stats import Contrast
from tests import commands

EXPERIMENTS = 20_000
MINIMUM, BUDGET = 6, 24
ALPHA = 0.05
MOST = ALPHA + 3 * (ALPHA * (1 - ALPHA) / EXPERIMENTS) ** 0.5

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def with_t(n: int, t: float) -> np.ndarray:
    """Return n values whose t statistic against 0 is t."""
    values = np.arange(n) - (n - 1) / 2
    return values / (values.std(ddof=1) / np.sqrt(n)) + t


@pytest.mark.parametrize(("n", "t"), [(4, 7.2), (6, 4.7), (8, 4.2), (16, 3.7), (24, 3.6)])
def test_the_t_that_decides_at_5_percent(n, t):
    assert anytime.e_value(with_t(n, t - 0.06)) < 20 < anytime.e_value(with_t(n, t + 0.06))
    half = anytime.interval(with_t(n, 0)).high  # In standard errors, of which each is 1.
    assert half == pytest.approx(t, abs=0.05)


@pytest.mark.parametrize(("n", "t"), [(2, 3.0), (4, 0.0), (4, -5.0), (6, 4.7), (24, 3.6)])
def test_e_is_the_bayes_factor_of_a_t_statistic(n, t):
    """The standardized effect is normal of variance G; t given the effect is a noncentral t."""

    def joint(effect: float) -> float:
        likelihood = scipy.stats.nct.pdf(t, n - 1, np.sqrt(n) * effect)
        return float(likelihood * scipy.stats.norm.pdf(effect, scale=np.sqrt(anytime.G)))

    ends = 6 * np.sqrt(anytime.G)
    marginal, _ = scipy.integrate.quad(joint, -ends, ends, points=[0, t / np.sqrt(n)], limit=200)
    wanted = marginal / scipy.stats.t.pdf(t, n - 1)
    assert anytime.e_value(with_t(n, t)) == pytest.approx(wanted, rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-100, 100), min_size=1, max_size=30),
    st.integers(-200, 200),
    st.sampled_from([0.05, 0.1, 0.01]),
    st.sampled_from([0.0, 0.02, 3.0]),
)
@example([3] * 6, 3, 0.05, 0.0)
@example([3] * 6, 4, 0.05, 0.0)
@example([3] * 3, 4, 0.05, 0.0)  # No scatter at all, but three values are too few.
def test_the_interval_has_the_means_that_e_does_not_exclude(numbers, bound, alpha, common):
    values, bound = np.array(numbers) / 1000, bound / 1000
    interval = anytime.interval(values, alpha, common)
    e = anytime.e_value(values, bound, common)
    # Comparisons with NaN are false: without an interval, nothing lies outside.
    outside = bound < interval.low or bound > interval.high
    assert outside == (e >= 1 / alpha)
    assert np.isnan(interval.low) == np.isnan(interval.high)
    assert interval.estimate == pytest.approx(np.mean(values))


def test_values_without_scatter_are_evidence_of_their_number():
    assert anytime.e_value(np.full(6, 0.3 - 0.2), bound=0.1) == 1  # 0.3 - 0.2 < 0.1 by rounding.
    assert [anytime.e_value(np.full(n, 0.1)) for n in (1, 2, 3, 6)] == [1, 2, 4, 32]
    assert anytime.e_value(np.linspace(0.1, 0.1001, 500)) > 1e300  # It fits into a float.
    assert anytime.e_value(np.full(6, 0.1), common=np.inf) == 1
    assert np.isnan(anytime.interval(np.full(6, 0.1), common=np.inf).low)
    assert np.isnan(anytime.interval(np.array([])).estimate)


def test_p_above_and_p_of_two_sides():
    values = with_t(8, 5.0)
    p = anytime.p_two_sided(values)
    assert p == 1 / anytime.e_value(values) < 0.05
    assert (anytime.p_above(values, 0.0), anytime.p_above(-values, 0.0)) == (p, 1.0)
    assert anytime.p_above(values, float(values.mean()) - 0.1) == 1  # Weak evidence is none.
    assert np.isnan([anytime.p_above(values[:1], 0.0), anytime.p_two_sided(values[:1])]).all()


def test_adjusted_by_hand():
    # Of e values 100, 40 and 2: 142 / 3 for the first, 42 / 2 for the second.
    assert anytime.adjusted([0.01, 0.5, 0.025]) == pytest.approx([3 / 142, 0.5, 2 / 42])
    assert anytime.adjusted([0.05] * 3) == pytest.approx([0.05] * 3)  # Holm's is 0.15.
    assert anytime.adjusted([0.01, 1.0]) == pytest.approx([0.02, 1.0])
    assert anytime.adjusted([0.01, float("nan")]) == pytest.approx([0.02, np.nan], nan_ok=True)
    assert anytime.adjusted([0.0, 0.04]) == pytest.approx([0.0, 0.04])
    assert anytime.adjusted([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-6, 1), max_size=7))
def test_adjusted_lies_between_p_and_holm(p_values):
    for p, ours, holm in zip(
        p_values, anytime.adjusted(p_values), means.holm(p_values), strict=True
    ):
        assert p * (1 - 1e-9) <= ours <= holm * (1 + 1e-9)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 1, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Mean 0, variance 1, skewness 1."""
    return rng.gamma(4, 0.5, shape) - 2


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One difference in twenty lies twelve standard deviations below; the mean is 0."""
    collapsed = rng.random(shape) < 0.05
    return rng.normal(0, 1, shape) - 12 * (collapsed - 0.05)


def residuals(folder: str) -> Draw:
    """Resample differences between projections of committed runs, minus their mean in each cell."""
    frame = tables.read_results(commands.ROOT / "experiments" / "results" / folder)
    contrast = Contrast("projection", "linear", "relu6")
    pairs = stats.paired_differences(frame, contrast, "test_accuracy").dropna(subset="difference")
    cell = [name for name in pairs if name not in ("seed", *stats.OF_PAIRS)]
    means = pairs.groupby(cell, dropna=False)["difference"].transform("mean")
    pool = (pairs["difference"] - means).to_numpy()
    assert len(pool) >= 36
    return lambda rng, shape: rng.choice(pool, shape)


DRAWS: dict[str, Draw] = {
    "normal": normal,
    "skewness 1": skewed,
    **{
        f"residuals of {name}": residuals(name)
        for name in ("cifar10_smoke_factorial", "digits", "digits_factorial", "digits_shift")
    },
    "residuals of transfer": residuals("transfer"),
}


def e_values(draws: np.ndarray, step: int, minimum: int = MINIMUM) -> np.ndarray:
    """Return e values against 0 of `(..., seeds)` at each look, `(..., looks)`."""
    n = np.arange(1, draws.shape[-1] + 1)
    mean = np.cumsum(draws, axis=-1) / n
    variance = np.cumsum(draws**2, axis=-1) / n - mean**2
    looks = range(minimum, BUDGET + 1, step)
    of_looks = [anytime.log_e(mean[..., n - 1], variance[..., n - 1], n) for n in looks]
    return np.exp(np.stack(of_looks, axis=-1))


def test_e_values_of_the_simulation_are_those_of_the_module():
    draws = normal(np.random.default_rng(0), (3, BUDGET))
    wanted = [[anytime.e_value(one[:n]) for n in range(MINIMUM, BUDGET + 1, 2)] for one in draws]
    assert e_values(draws, step=2) == pytest.approx(np.array(wanted))


@pytest.mark.parametrize("name", DRAWS)
def test_false_verdicts_under_continuous_looks(name):
    draws = DRAWS[name](np.random.default_rng(1), (EXPERIMENTS, BUDGET))
    shares = {step: (e_values(draws, step) >= 1 / ALPHA).any(axis=-1).mean() for step in (1, 2)}
    print(f"\nfalse verdicts, {name}: step 1 {shares[1]:.1%}, step 2 {shares[2]:.1%}")
    assert 0.003 < shares[2] <= shares[1] <= MOST


def test_t_intervals_do_not_allow_looks():
    """Why there are e values."""
    draws = normal(np.random.default_rng(1), (500, BUDGET))
    looks = range(MINIMUM, BUDGET + 1, 2)
    intervals = [[means.t_interval(one[:n], 0.95) for n in looks] for one in draws]
    outside = [any(i.low > 0 or i.high < 0 for i in of_one) for of_one in intervals]
    print(f"\nfalse verdicts of t intervals: {np.mean(outside):.1%}")
    assert np.mean(outside) > 0.1


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0])
def test_false_verdicts_under_looks_at_the_same_images(ratio):
    """Images shift the difference of all seeds by `ratio` standard deviations between seeds."""
    rng = np.random.default_rng(4)
    draws = normal(rng, (EXPERIMENTS, BUDGET)) + ratio * normal(rng, (EXPERIMENTS, 1))
    found = {True: np.zeros(EXPERIMENTS, bool), False: np.zeros(EXPERIMENTS, bool)}
    for n in range(MINIMUM, BUDGET + 1):
        seeds = draws[:, :n]
        # Of images there are many, so that their variance is known.
        common = ratio**2 / seeds.var(axis=1, ddof=1)
        moments = seeds.mean(axis=1), seeds.var(axis=1), n
        found[True] |= anytime.log_e(*moments, common) >= np.log(1 / ALPHA)
        found[False] |= anytime.log_e(*moments) >= np.log(1 / ALPHA)
    counted, not_counted = found[True].mean(), found[False].mean()
    print(f"\nfalse verdicts, images {ratio} sd: {counted:.2%}; not counted {not_counted:.1%}")
    assert counted <= MOST / 2
    assert not_counted > (0.02 if ratio < 0.3 else 0.08)


@pytest.mark.parametrize(("minimum", "wanted"), [(MINIMUM, 0.186), (12, 0.160)])
def test_what_no_minimum_cures(minimum, wanted):
    """A rare collapse to one side is not in the first seeds, so that they seem to agree."""
    draws = collapsing(np.random.default_rng(1), (EXPERIMENTS, BUDGET))
    share = (e_values(draws, 2, minimum) >= 1 / ALPHA).any(axis=-1).mean()
    print(f"\nfalse verdicts where one in twenty collapses, minimum {minimum}: {share:.1%}")
    assert share == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_six_true_nulls_together(correlation):
    rng = np.random.default_rng(2)
    shared, own = normal(rng, (EXPERIMENTS, 1, BUDGET)), normal(rng, (EXPERIMENTS, 6, BUDGET))
    draws = correlation**0.5 * shared + (1 - correlation) ** 0.5 * own
    e = np.moveaxis(e_values(draws, step=1), 1, -1)  # (experiments, looks, claims)
    # No adjusted e value is larger than the largest one.
    possible = np.argwhere(e.max(axis=-1) >= 1 / ALPHA)
    wrong = {
        experiment
        for experiment, look in possible
        if min(anytime.adjusted([anytime.p_of(one) for one in e[experiment, look]])) <= ALPHA
    }
    share = len(wrong) / EXPERIMENTS
    print(f"\nany of six false, correlation {correlation}: {share:.1%}")
    assert 0.01 < share <= MOST


@pytest.mark.parametrize(
    ("effect", "power", "seeds"), [(0.87, 0.79, 16.4), (1.2, 0.985, 11.5), (3.3, 1, 6)]
)
def test_power_and_mean_number_of_seeds(effect, power, seeds):
    draws = normal(np.random.default_rng(3), (EXPERIMENTS, BUDGET)) + effect
    decided = e_values(draws, step=2) >= 1 / ALPHA
    found = decided.any(axis=-1)
    trained = np.where(found, MINIMUM + 2 * decided.argmax(axis=-1), BUDGET)
    print(f"\neffect {effect} sd: found {found.mean():.1%}, {trained.mean():.1f} seeds on average")
    assert found.mean() == pytest.approx(power, abs=0.01)
    assert trained.mean() == pytest.approx(seeds, abs=0.15)
