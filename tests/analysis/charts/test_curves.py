import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis import means
from mnv2_jax.analysis.charts.curves import learning_curves
from tests.analysis.charts.drawn import channel, curves_of, layers, note, titles, whole
from tests.analysis.synthetic import make_frame, make_sections, stop


def chart_of(frame, curves=None, epochs=2):
    chart = learning_curves(frame, curves_of(frame, epochs) if curves is None else curves)
    assert chart is not None
    return chart


def alone(seeds=2):
    return make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=seeds)


def test_curves_are_means_and_intervals_over_seeds():
    frame = make_frame((1, 2, 4, 6, 8), shortcuts=("none",), seeds=3)
    chart = chart_of(frame)
    for hue, projection in (("Linear", "linear"), ("ReLU6", "relu6")):
        per_seed = (
            100 * frame[frame["projection"] == projection].groupby("seed")["test_accuracy"].mean()
        )
        expected = means.t_interval(per_seed.to_numpy(), 0.95)
        (end,) = whole(chart, "mean", hue=hue, x=2)
        found = [end["y"], end["low"], end["high"], end["seeds"]]
        np.testing.assert_allclose(
            found, [expected.estimate, expected.low, expected.high, 3], atol=1e-3
        )
    assert note(chart) == "Bands are 95 % t intervals over seeds. Averaged over expansion."
    # For the filters: a curve of each expansion.
    parts = {row["set"] for row in chart.rows if "of" in chart.sets[row["set"]]}
    assert len(parts) == 10


def test_seeds_that_some_averaged_runs_lack_are_left_out():
    """Where seeds stop by themselves, better runs may have more of them than others."""
    frame = make_frame((1, 2, 4, 6, 8), shortcuts=("none",), seeds=3)
    stop(frame, 0)  # It was recorded: its seed is not left out for it.
    later = make_frame((6,), projections=("linear",), shortcuts=("none",), seeds=5)
    later = later[later["seed"] >= 3].assign(test_accuracy=1.0)
    both = pd.concat([frame, later.assign(run_id="b" + later["run_id"])], ignore_index=True)
    before, after = chart_of(frame), chart_of(both)
    fields = ("hue", "y", "low", "high", "seeds")
    ends, same = (
        [[row[name] for name in fields] for row in whole(chart, "mean", x=2)]
        for chart in (before, after)
    )
    assert ends == same
    assert "Means are of seeds that all averaged runs have." in note(after)
    assert "of seeds" not in note(before)


def test_training_accuracy_is_a_thin_line_of_the_same_colour():
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    chart = chart_of(frame, curves_of(frame, train_accuracy=0.99))
    thin = whole(chart, "mean", kind="training")
    assert [(row["hue"], row["x"], row["y"]) for row in thin] == [
        (hue, epoch, 99) for hue in ("Linear", "ReLU6") for epoch in (1, 2)
    ]
    assert {(row["low"], row["high"], row["marked"]) for row in thin} == {(None, None, False)}
    (drawn,) = (one for one in layers(chart) if "training" in str(one["transform"]))
    assert drawn["encoding"]["color"] == channel(chart, "color")
    assert "Thin lines: training images" in note(chart)
    # Not where some curves are of a version that did not measure it.
    old = curves_of(frame).assign(train_accuracy=[0.9, 0.9, *[np.nan] * 6])
    assert {row["kind"] for row in whole(chart_of(frame, old), "mean")} == {"band"}


def test_curves_end_where_the_first_of_their_runs_ends():
    frame = alone()
    curves = curves_of(frame, epochs=4)
    cut = curves[~((curves["run_id"] == frame["run_id"][0]) & (curves["epoch"] > 3))]
    chart = chart_of(frame, cut)
    assert [row["x"] for row in whole(chart, "mean")] == [1, 2, 3]


def test_long_curves_are_thinned_and_keep_their_ends():
    epochs = [row["x"] for row in whole(chart_of(alone(), epochs=500), "mean")]
    assert len(epochs) == 60
    assert (epochs[0], epochs[-1]) == (1, 500)


def test_wide_bands_of_two_seeds_do_not_flatten_curves():
    frame = alone().assign(test_accuracy=[0.1, 0.9])
    chart = chart_of(frame)
    # Means of 25 and 50 %; the bands of two seeds are many times as wide.
    assert [param["value"] for param in chart.spec["params"]] == [12.5, 62.5]
    assert max(row["high"] for row in whole(chart, "mean")) > 400


def test_phases_of_a_transfer_are_never_averaged():
    frame = make_sections()
    reached = {"pretraining": 0.99, "scratch": 0.9, "extraction": 0.5, "finetuning": 0.7}
    frame["test_accuracy"] = frame["transfer.phase"].map(reached)
    ends = {(row["panel"], row["y"]) for row in whole(chart_of(frame), "mean", x=2)}
    assert ends == {
        ("Pretraining (other classes)", 99),
        ("From scratch", 90),
        ("Feature extraction", 50),
        ("Fine-tuning", 70),
    }


def test_panels_and_colours_are_those_of_the_axes():
    frame = make_frame(expansions=(6,), seeds=2)
    blocks = [frame.assign(block=block, run_id=block + frame["run_id"]) for block in ("a", "b")]
    chart = chart_of(pd.concat(blocks, ignore_index=True))
    assert channel(chart, "color")["scale"]["domain"] == ["a", "b"]
    assert len(titles(chart)) == 4


@pytest.mark.parametrize("done", [False, True])
def test_without_a_curve_of_a_finished_run_there_is_no_chart(done):
    frame = alone()
    curves = curves_of(frame)
    if done:
        curves = curves.head(0)
    else:
        for index in frame.index:
            stop(frame, index)
    assert learning_curves(frame, curves) is None
