import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mnv2_jax.analysis.claims import equivalent, greater, interaction
from mnv2_jax.analysis.figures import plots
from mnv2_jax.analysis.figures.axes import View
from mnv2_jax.analysis.figures.plots import draw_accuracy, make_figures, png_bytes, svg_text
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.synthetic import RATE, make_frame, make_sections, make_transfers, stop

CLAIMS = (
    greater("linear", "Fig. 6a", "", "projection", "linear", "relu6"),
    equivalent("plateau", "section 3.3", "", "expansion", (6, 8), 0.01),
)


def curves_of(frame: pd.DataFrame, epochs: int = 2) -> pd.DataFrame:
    rows = [
        (run_id, float(epoch), accuracy * epoch / epochs)
        for run_id, accuracy in zip(frame["run_id"], frame["test_accuracy"], strict=True)
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "epoch", "validation_accuracy"])


def draw(frame: pd.DataFrame, epochs: int = 2) -> dict[str, Figure]:
    return make_figures(frame, curves_of(frame, epochs), CLAIMS, decide(CLAIMS, frame))


def all_stopped() -> pd.DataFrame:
    frame = make_frame(expansions=(1, 6), seeds=2)
    for index in frame.index:
        stop(frame, index)
    return frame


def words(svg: str) -> str:
    return " ".join("".join(ElementTree.fromstring(svg).itertext()).split())


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(make_frame(expansions=(6,)), id="one expansion"),
        pytest.param(
            make_frame(expansions=(1, 6), projections=("relu", "new"), shortcuts=("new",), seeds=2),
            id="unknown values",
        ),
        pytest.param(make_frame(expansions=(6,), projections=("linear",), seeds=1), id="one seed"),
        pytest.param(
            pd.concat(
                [
                    make_frame(expansions=(1, 6), seeds=2),
                    make_frame(expansions=(1, 6), seeds=2).assign(width=0.5, madds=30_000),
                ],
                ignore_index=True,
            ).assign(run_id=lambda frame: frame.index.astype(str)),
            id="two widths",
        ),
        pytest.param(
            pd.concat(
                [make_frame(seeds=2).assign(**{"train.rate": rate}) for rate in (0.1, 0.2)],
                ignore_index=True,
            ).assign(run_id=lambda frame: frame.index.astype(str)),
            id="an axis of another kind",
        ),
    ],
)
def test_pinned_and_widened_grids_are_drawn(frame: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in draw(frame, epochs=1).items():
            ElementTree.fromstring(svg_text(figure, name))


@pytest.mark.parametrize("frame", [all_stopped(), make_frame().head(0)], ids=["diverged", "none"])
def test_without_a_finished_run_every_figure_says_so(frame: pd.DataFrame) -> None:
    for name, figure in draw(frame).items():
        assert "finished run" in words(svg_text(figure, name))


def test_lines_show_means_over_seeds_of_finished_runs() -> None:
    frame = make_frame(expansions=(1, 6), shortcuts=("none",), seeds=3)
    frame.loc[0, "status"] = "diverged"  # linear, expansion 1, seed 0; its number is still there
    axis = draw(frame)["accuracy_over_expansion"].axes[0]
    linear, relu6 = axis.get_lines()
    done = frame[frame["status"] == "done"]
    means = 100 * done.groupby(["projection", "expansion"])["test_accuracy"].mean()
    np.testing.assert_allclose(np.asarray(linear.get_ydata()), means["linear"])
    np.testing.assert_allclose(np.asarray(relu6.get_ydata()), means["relu6"])
    # Points of linear: the stopped run is gone.
    assert np.shape(axis.collections[0].get_offsets()) == (5, 2)


def test_projections_differ_in_more_than_colour() -> None:
    frame = make_frame(projections=("linear", "relu6", "relu"), seeds=2)
    lines = draw(frame)["accuracy_over_expansion"].axes[0].get_lines()
    assert len({line.get_marker() for line in lines}) == 3
    assert len({line.get_color() for line in lines}) == 3
    # Matplotlib keeps the dashes of a custom pattern where no public method reads them.
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 3  # type: ignore[attr-defined]


def two_blocks(projections: tuple[str, ...] = ("linear",)) -> pd.DataFrame:
    one = make_frame(expansions=(2, 6), projections=projections, seeds=3)
    other = one.assign(block="fused", madds=one["madds"] * 3, test_accuracy=0.5)
    return pd.concat([one, other], ignore_index=True).assign(
        run_id=lambda frame: frame.index.astype(str)
    )


@pytest.mark.parametrize("name", ["accuracy_over_expansion", "accuracy_over_madds"])
def test_blocks_have_lines_of_their_own(name):
    figure = draw(two_blocks())[name]
    (legend,) = figure.legends
    entries = [text.get_text() for text in legend.get_texts() if text.get_text() != "Pareto front"]
    assert entries == ["fused", "inverted_residual"]
    assert legend.get_title().get_text() == "Block"
    # Two panels, of the shortcut; in each a line per block that does not mix them.
    for axis in figure.axes:
        fused, inverted = (line for line in axis.lines if line.get_label() in entries)
        np.testing.assert_allclose(np.asarray(fused.get_ydata(), float), [50, 50])
        assert min(np.asarray(inverted.get_ydata(), float)) > 80


def test_projections_divide_the_panels_of_blocks():
    figure = draw(two_blocks(("linear", "relu6")))["accuracy_over_expansion"]
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [
        "Shortcut between bottlenecks, Linear",
        "Shortcut between bottlenecks, ReLU6",
        "No shortcut, Linear",
        "No shortcut, ReLU6",
    ]


def test_learning_curves_name_the_block():
    learning = draw(two_blocks(("linear", "relu6")))["learning_curves"]
    assert [line.get_label() for line in learning.axes[0].lines] == ["fused", "inverted_residual"]
    assert len(learning.axes) == 4


def test_differences_are_those_of_the_claims_along_the_main_axis():
    frame = make_frame(expansions=(1, 6), seeds=3)
    claims = (
        greater("linear", "6a", "Linear wins", "model.projection", "linear", "relu6"),
        interaction(
            *("more", "6", "Linear wins more without", "model.projection", "linear", "relu6"),
            *("model.shortcut", "none", "bottleneck"),
        ),
        greater("six", "4", "Six wins", "model.expansion", 6, 1),
    )
    figure = make_figures(frame, curves_of(frame), claims, decide(claims, frame))[
        "paired_differences"
    ]
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    # The third claim compares the main axis itself: there is nothing for it to run along.
    assert titles == ["Claims", "Linear wins", "Linear wins more without"]
    rows = [[label.get_text() for label in axis.get_yticklabels()] for axis in figure.axes]
    assert rows == [["linear", "more", "six"], *[["Expansion 1", "Expansion 6"]] * 2]
    lines = (line for line in figure.axes[1].lines if line.get_marker() == "o")
    shown = [np.ravel(line.get_xdata())[0] for line in lines]
    means = frame.groupby(["expansion", "projection"])["test_accuracy"].mean().unstack()
    np.testing.assert_allclose(shown, 100 * (means["linear"] - means["relu6"]))


def test_what_is_averaged_over_is_said() -> None:
    frame = make_frame(expansions=(1, 6), seeds=2)
    widths = [frame.assign(width=width) for width in (0.35, 0.5, 0.75)]
    frame = pd.concat(widths, ignore_index=True)
    figures = draw(frame.assign(run_id=frame.index.astype(str)))
    main = words(svg_text(figures["accuracy_over_expansion"], "main"))
    assert "Averaged over width multiplier." in main
    assert "Averaged" not in words(svg_text(figures["accuracy_over_madds"], "madds"))


def test_the_main_figure_is_over_what_varies() -> None:
    blocks = two_blocks()
    at_six = blocks[(blocks["expansion"] == 6) & (blocks["shortcut"] == "none")]
    name, figure = next(iter(draw(at_six).items()))
    assert name == "accuracy_over_block"
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["fused", "inverted_residual"]


def test_learning_curves_end_where_the_first_of_their_runs_ends() -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=2)
    curves = curves_of(frame, epochs=4)
    cut = curves[~((curves["run_id"] == frame["run_id"][0]) & (curves["epoch"] > 3))]
    figure = make_figures(frame, cut, [], [])["learning_curves"]
    assert list(np.asarray(figure.axes[0].lines[0].get_xdata())) == [1, 2, 3]
    assert figure.get_supxlabel() == "Bands are 95 % t intervals over seeds."


def test_a_figure_gives_the_same_bytes_whatever_was_written_before() -> None:
    view = View("madds", "projection", ("shortcut",))
    one, other = (draw_accuracy(make_frame(seeds=2), view, "test_accuracy") for _ in range(2))
    svg = svg_text(one, "name")
    picture = png_bytes(other)
    assert picture.startswith(b"\x89PNG")
    assert png_bytes(one) == picture
    assert svg_text(other, "name") == svg


def test_accuracy_over_a_cost_that_all_share_is_left_out() -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=2)
    rates = [frame.assign(**{"train.rate": rate}) for rate in (0.1, 0.2)]
    frame = pd.concat(rates, ignore_index=True).assign(run_id=["a", "b", "c", "d"])
    names = {"accuracy_over_train.rate", "paired_differences", "learning_curves"}
    assert set(draw(frame)) == names
    frame.loc[0, "params"] += 1
    assert set(draw(frame)) == {*names, "accuracy_over_params"}


def percents_of(figure: Figure) -> list[float]:
    """All points of seeds."""
    offsets = [artist.get_offsets() for axis in figure.axes for artist in axis.collections]
    return [float(y) for points in offsets for _, y in np.asarray(points).reshape(-1, 2)]


def easy_bases() -> pd.DataFrame:
    """A transfer whose pretraining alone reaches 100 %."""
    frame = make_transfers()
    bases = frame["transfer.phase"] == "pretraining"
    return frame.assign(test_accuracy=frame["test_accuracy"].where(~bases, 1.0))


@pytest.mark.parametrize("x", ["projection", "madds"])
def test_pretraining_is_left_out_where_the_phase_is_not_shown(x: str) -> None:
    without = draw_accuracy(easy_bases(), View(x), "test_accuracy")
    assert max(percents_of(without)) < 100
    assert "Pretraining, on other classes, is left out." in words(svg_text(without, "x"))
    with_phase = draw_accuracy(easy_bases(), View(x, "transfer.phase"), "test_accuracy")
    assert max(percents_of(with_phase)) == 100
    told = words(svg_text(with_phase, "x"))
    assert "is left out" not in told
    assert "Pretraining (other classes)" in told


def test_a_front_is_of_runs_that_can_be_compared() -> None:
    view = View("madds", "projection", ("transfer.phase",))
    figure = draw_accuracy(easy_bases(), view, "test_accuracy")
    fronts = {
        axis.get_title(loc="left"): [
            np.asarray(line.get_ydata(), float).max()
            for line in axis.lines
            if line.get_label() == "Pareto front"
        ]
        for axis in figure.axes
    }
    assert fronts.pop("Pretraining (other classes)") == []
    assert all(len(heights) == 1 and heights[0] < 100 for heights in fronts.values())


def test_a_front_names_networks_without_the_cells_of_others() -> None:
    frame = make_sections()
    frame.loc[frame["transfer.phase"] == "scratch", ["madds", "test_accuracy"]] = [10, 0.99]
    figure = draw_accuracy(frame, View("madds", "transfer.phase"), "test_accuracy")
    texts = words(svg_text(figure, "x"))
    assert "from scratch" in texts
    assert "nan" not in texts


def test_runs_without_a_section_are_not_drawn_over_it() -> None:
    frame = make_sections()
    figure = draw_accuracy(frame, View("transfer.phase", RATE), "test_accuracy")
    told = words(svg_text(figure, "x"))
    assert "Runs without extraction: learning rate are left out." in told
    assert "not set" not in told
    assert "From scratch" not in told
    figures = make_figures(frame, curves_of(frame), [], [])
    assert "Extraction: learning rate" in words(
        svg_text(draw_accuracy(frame, View(RATE, "transfer.phase"), "test_accuracy"), "x")
    )
    assert "Pretraining (other classes)" in words(svg_text(figures["learning_curves"], "x"))


IMAGES = "transfer.images_per_class"


def rising_with_images() -> pd.DataFrame:
    """Fine-tuning on 5, 10 and all images of a class, the better the more there are."""
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    frame["transfer.phase"] = "finetuning"
    parts = [(0, 0.9), (5, 0.7), (10, 0.8)]
    runs = [frame.assign(**{IMAGES: count, "test_accuracy": mean}) for count, mean in parts]
    return pd.concat(runs, ignore_index=True)


def test_all_images_of_a_class_are_called_all_and_lie_behind_every_number() -> None:
    view = View(IMAGES, "transfer.phase")
    (axis,) = draw_accuracy(rising_with_images(), view, "test_accuracy").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["5", "10", "all"]
    places = axis.get_xticks().tolist()
    assert places == sorted(places)
    (line,) = axis.lines
    assert line.get_linestyle() != "None"
    assert np.asarray(line.get_xdata()).tolist() == places
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [70, 80, 90])


def test_differences_along_images_end_with_all() -> None:
    claim = greater("linear", "", "Linear is better.", "projection", "linear", "relu6")
    frame = rising_with_images()
    figure = make_figures(frame, curves_of(frame), [claim], decide([claim], frame))[
        "paired_differences"
    ]
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert [label.rpartition(" ")[2] for label in labels] == ["5", "10", "all"]


def test_curves_keep_to_what_an_accuracy_can_be() -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=2)
    ordinary = make_figures(frame, curves_of(frame), [], [])["learning_curves"]
    assert ordinary.axes[0].get_ylim()[0] > 0
    curves = curves_of(frame.assign(test_accuracy=[0.1, 0.9]))
    (axis,) = make_figures(frame, curves, [], [])["learning_curves"].axes
    assert axis.get_ylim() == (-2, 102)
    assert axis.dataLim.y1 > 400


def test_the_users_settings_of_matplotlib_change_nothing():
    frame = make_frame(expansions=(1, 6), seeds=2)
    expected = svg_text(draw(frame)["learning_curves"], "a")
    user: dict[Any, Any] = {"text.usetex": True, "lines.dashed_pattern": (1, 1), "font.size": 30}
    with matplotlib.rc_context({**user, "savefig.bbox": "tight", "axes.facecolor": "red"}):
        assert svg_text(draw(frame)["learning_curves"], "a") == expected
        assert matplotlib.rcParams["text.usetex"]


def test_a_figure_that_cannot_be_drawn_is_told_and_left_out(monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no\nLaTeX")

    frame = make_frame(expansions=(1, 6), seeds=2)
    names = set(draw(frame))
    monkeypatch.setattr(plots, "forest", fail)
    assert set(draw(frame)) == names - {"paired_differences"}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["figure paired_differences: cannot be drawn: no LaTeX"]
