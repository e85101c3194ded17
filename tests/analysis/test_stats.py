import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis.stats import (
    Contrast,
    Scalar,
    exceeds_p,
    holm,
    paired_differences,
    seed_means,
    t_interval,
    tost_p,
)
from tests.analysis.synthetic import make_frame, stop

SMALL = make_frame(expansions=(1, 6), seeds=3)  # 24 runs, 12 pairs of projections
accuracies = st.lists(
    st.floats(0, 1, allow_subnormal=False), min_size=len(SMALL), max_size=len(SMALL)
)
quick = settings(max_examples=10, deadline=None)


def pairs_of(
    frame: pd.DataFrame,
    better: Scalar = "linear",
    worse: Scalar = "relu6",
    where: Mapping[str, Scalar] | None = None,
) -> pd.DataFrame:
    contrast = Contrast("projection", better, worse, where or {})
    return paired_differences(frame, contrast, "test_accuracy")


def test_t_interval_by_hand() -> None:
    # Standard error 1/sqrt(3), t(0.975, 2 degrees of freedom) = 4.302653.
    interval = t_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert interval.estimate == 2
    assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert interval.high == pytest.approx(2 + 2.484138, abs=1e-6)


def test_tost_p_by_hand() -> None:
    # t = 3e-3 / (1e-3 / sqrt(3)) = sqrt(27); with 2 degrees of freedom the tail has a closed form.
    p = tost_p(np.array([1e-3, 2e-3, 3e-3]), margin=5e-3)
    assert p == pytest.approx(0.5 * (1 - np.sqrt(27 / 29)))


@quick
@given(st.lists(st.floats(-0.03, 0.03), min_size=2, max_size=8))
def test_tost_rejects_exactly_when_the_90_percent_interval_is_inside(values: list[float]) -> None:
    interval = t_interval(np.array(values), 0.90)
    edge = min(abs(abs(interval.low) - 0.01), abs(abs(interval.high) - 0.01))
    if edge > 1e-9:
        inside = max(-interval.low, interval.high) < 0.01
        assert (tost_p(np.array(values), 0.01) < 0.05) == inside


@quick
@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda v: np.ptp(v) > 1e-3),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_t_interval_and_one_sided_p_are_scipys(values: list[float], confidence: float) -> None:
    test = scipy.stats.ttest_1samp(values, popmean=0.1, alternative="greater")
    assert exceeds_p(np.array(values), 0.1) == pytest.approx(test.pvalue)
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
        assert np.isnan(tost_p(values, 0.01))
    assert t_interval(np.array([0.5]), 0.95).estimate == 0.5


def test_without_variance_the_interval_is_a_point() -> None:
    interval = t_interval(np.array([0.25, 0.25, 0.25]), 0.95)
    assert (interval.estimate, interval.low, interval.high) == (0.25, 0.25, 0.25)
    assert tost_p(np.array([0.25, 0.25]), 0.3) == 0
    assert tost_p(np.array([0.25, 0.25]), 0.2) == 1


def test_more_expansions_are_not_more_repetitions() -> None:
    def width(frame: pd.DataFrame) -> float:
        frame["test_accuracy"] = np.where(
            frame["projection"] == "linear", 0.9 + 0.01 * frame["seed"], 0.8
        )
        interval = t_interval(seed_means(pairs_of(frame)), 0.95)
        return interval.high - interval.low

    assert width(make_frame()) == pytest.approx(width(make_frame(expansions=(6,))))


def test_pairs_agree_in_everything_else() -> None:
    frame = make_frame()
    # A number that says which run it is: the difference then says which run was taken off.
    frame["test_accuracy"] = (
        frame["expansion"] * 1e-2 + frame["seed"] * 1e-3 + (frame["shortcut"] == "none") * 1e-4
    ) + (frame["projection"] == "linear") * 0.5
    pairs = pairs_of(frame)
    assert len(pairs) == 72
    np.testing.assert_allclose(pairs["difference"], 0.5)
    one = pairs_of(frame, where={"expansion": 6, "shortcut": "none"})
    assert len(one) == 6
    assert set(one["expansion"]) == {6.0}


@quick
@given(accuracies)
def test_differences_are_antisymmetric(values: list[float]) -> None:
    frame = SMALL.assign(test_accuracy=values)
    forth, back = pairs_of(frame), pairs_of(frame, "relu6", "linear")
    pd.testing.assert_frame_equal(forth.assign(difference=-forth["difference"]), back)


@quick
@given(accuracies, st.permutations(range(len(SMALL))))
def test_row_order_does_not_matter(values: list[float], order: list[int]) -> None:
    frame = SMALL.assign(test_accuracy=values)
    pd.testing.assert_frame_equal(pairs_of(frame), pairs_of(frame.iloc[order]))


@quick
@given(
    st.sets(st.integers(0, len(SMALL) - 1), max_size=5), st.sampled_from(["diverged", "failed", ""])
)
def test_a_run_that_did_not_finish_drops_its_own_pair_only(stopped: set[int], how: str) -> None:
    frame = SMALL.copy()
    for index in stopped if how else ():
        stop(frame, index, how)
    if not how:
        frame = frame.drop(index=list(stopped))
    before, after = pairs_of(SMALL), pairs_of(frame)
    axes = ["seed", "expansion", "shortcut"]
    hit = {tuple(row) for row in SMALL.loc[sorted(stopped), axes].itertuples(index=False)}
    whole = before.set_index(axes)["difference"].drop(list(hit))
    left = after.dropna(subset="difference").set_index(axes)["difference"]
    pd.testing.assert_series_equal(left, whole)


def test_a_pair_needs_two_runs_that_are_done_and_have_a_number() -> None:
    frame = SMALL.copy()
    frame.loc[0, "test_accuracy"] = np.inf
    frame.loc[1, "status"] = "diverged"  # its last accuracy is still there
    pairs = pairs_of(frame.drop(index=2))
    assert (len(pairs), pairs["difference"].isna().sum()) == (12, 3)


def test_a_seed_that_lost_pairs_averages_those_left() -> None:
    frame = SMALL.copy()
    lost = frame.index[(frame["seed"] == 0) & (frame["expansion"] == 1)]
    for index in lost:
        stop(frame, index)
    at_6 = seed_means(pairs_of(SMALL, where={"expansion": 6}))
    means = seed_means(pairs_of(frame))
    assert len(means) == 3
    assert means[0] == pytest.approx(at_6[0])
    np.testing.assert_allclose(means[1:], seed_means(pairs_of(SMALL))[1:])


def test_a_value_that_was_never_run_gives_no_pairs() -> None:
    pairs = pairs_of(SMALL, "linear", "relu")
    assert pairs.empty
    assert len(seed_means(pairs)) == 0


def test_wrong_columns_are_named() -> None:
    for axis in ("projektion", "test_loss", "seed"):
        with pytest.raises(ValueError, match=f"axis '{axis}'"):
            paired_differences(SMALL, Contrast(axis, 0, 1), "test_accuracy")
    with pytest.raises(ValueError, match="where names 'depth'"):
        pairs_of(SMALL, where={"depth": 3})
    with pytest.raises(ValueError, match="metric 'seconds' is no metric of these results"):
        paired_differences(SMALL, Contrast("projection", "linear", "relu6"), "seconds")
    with pytest.raises(ValueError, match=r"lack the columns \['status'\]"):
        pairs_of(SMALL.drop(columns="status"))


def test_a_column_of_its_own_tells_runs_apart() -> None:
    frame = pd.concat([SMALL.assign(decay=decay) for decay in (0.0, 0.1)], ignore_index=True)
    assert len(pairs_of(frame)) == 24
    assert len(pairs_of(frame, where={"decay": 0.1})) == 12


def test_runs_that_cannot_be_told_apart_are_an_error() -> None:
    with pytest.raises(ValueError, match="pairs are ambiguous"):
        pairs_of(pd.concat([SMALL, SMALL], ignore_index=True))
