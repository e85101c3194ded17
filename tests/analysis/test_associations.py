import numpy as np
import pytest
from scipy import stats

from mnv2_jax.analysis.associations import associations
from tests.analysis.synthetic import make_frame, stop


def test_within_cells_what_their_means_explain_is_left_out():
    frame = make_frame(expansions=(2, 6), seeds=6)
    cell = frame.groupby(["projection", "shortcut", "expansion"])
    frame["t/cell"] = cell["test_accuracy"].transform("mean")
    frame["t/luck"] = frame["test_accuracy"] - frame["t/cell"]
    of_cell, luck = associations(frame, ["t/cell", "t/luck"], "test_accuracy")
    assert of_cell.rank_correlation.estimate > 0.8
    assert np.isnan(of_cell.within.estimate)
    assert luck.within.estimate == pytest.approx(1)
    assert luck.rank_correlation.estimate < 0.8


def test_measures_are_associated_with_accuracy_by_rank_over_runs():
    frame = make_frame(expansions=(2, 6), seeds=4)
    frame["t/up"] = frame["test_accuracy"] ** 3
    frame["t/noise"] = np.random.default_rng(0).integers(0, 5, len(frame)).astype(float)
    frame["t/same"] = 1.0
    frame.loc[frame["projection"] == "relu6", "t/noise"] = np.nan
    stop(frame, 0)
    names = ["t/up", "t/noise", "t/same"]
    up, noise = associations(frame, names, "test_accuracy")
    assert (up.measure.name, up.runs, up.seeds) == ("t/up", len(frame) - 1, 4)
    assert tuple(vars(up.rank_correlation).values()) == pytest.approx((1, 1, 1))
    half = frame[(frame["projection"] == "linear") & (frame.index > 0)]
    expected = stats.spearmanr(half["t/noise"], half["test_accuracy"]).statistic
    assert noise.rank_correlation.estimate == pytest.approx(expected)
    assert noise.rank_correlation.low <= expected <= noise.rank_correlation.high
    assert noise.runs == len(half)
