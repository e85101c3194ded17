from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.analysis.means import t_interval
from mnv2_jax.analysis.stats import Contrast, Scalar, paired_differences, seed_means
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
    terms = [((worse, 1), (better, -1)) for (better, _), (worse, _) in forth["terms"]]
    opposite = forth.assign(difference=-forth["difference"], terms=terms)
    pd.testing.assert_frame_equal(opposite, back)


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
