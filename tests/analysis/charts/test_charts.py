"""The charts of a report together, and the files that are made of them."""

import dataclasses
import io
import itertools
from typing import Any
from xml.etree import ElementTree

import altair
import pandas as pd
import pytest
from PIL import Image

from mnv2_jax.analysis import charts, tables
from mnv2_jax.analysis.axes import View
from mnv2_jax.analysis.charts import make_charts, make_choices
from mnv2_jax.analysis.charts.accuracy import accuracy
from mnv2_jax.analysis.charts.chart import CONFIG, VEGA_LITE, Chart
from mnv2_jax.analysis.claims import equivalent, greater
from mnv2_jax.analysis.verdicts import decide
from mnv2_jax.schema import Column
from tests.analysis.charts.drawn import channel, curves_of, titles, words
from tests.analysis.synthetic import make_frame, make_transfers, stop

CLAIMS = (
    greater("linear", "Fig. 6a", "", "projection", "linear", "relu6"),
    equivalent("plateau", "section 3.3", "", "expansion", (6, 8), 0.01),
)
HOSTILE = '</text><script>alert(1)</script>"&$ {{}} var(--ink)'


def all_of(frame: pd.DataFrame, epochs: int = 2) -> dict[str, Chart]:
    return make_charts(frame, curves_of(frame, epochs), CLAIMS, decide(CLAIMS, frame))


def two_blocks(projections: tuple[str, ...] = ("linear",)) -> pd.DataFrame:
    one = make_frame(expansions=(2, 6), projections=projections, seeds=3)
    other = one.assign(block="fused", madds=one["madds"] * 3, test_accuracy=0.5)
    return pd.concat([one, other], ignore_index=True).assign(
        run_id=lambda frame: frame.index.astype(str)
    )


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(make_frame(expansions=(6,), seeds=2), id="one expansion"),
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
                [
                    make_frame(expansions=(1, 6), seeds=2).assign(**{"train.rate": rate})
                    for rate in (0.1, 0.2)
                ],
                ignore_index=True,
            ).assign(run_id=lambda frame: frame.index.astype(str)),
            id="an axis of another kind",
        ),
    ],
)
def test_pinned_and_widened_grids_are_valid_and_drawn(frame: pd.DataFrame) -> None:
    for chart in all_of(frame, epochs=1).values():
        altair.Chart.from_dict({**chart.spec, "config": CONFIG}, validate=True)
        svg = chart.svg()
        ElementTree.fromstring(svg)
        assert "var(--" not in svg
        for part in {row["part"] for row in chart.rows}:  # A layer draws it.
            assert f"datum.part === '{part}'" in str(chart.spec)
        assert "NaN" not in svg
        assert "undefined" not in svg


def test_specifications_are_of_the_version_that_altair_knows() -> None:
    assert altair.VEGALITE_VERSION.lstrip("v").startswith(f"{VEGA_LITE}.")


def test_what_has_nothing_to_show_is_left_out() -> None:
    frame = make_frame(expansions=(1, 6), seeds=2)
    names = ["paired_differences", "effects", "accuracy_over_expansion", "accuracy_over_madds"]
    names += ["accuracy_over_params", "heatmap", "interaction", "learning_curves", "paper_figure_6"]
    assert list(all_of(frame)) == names
    same = frame.assign(madds=1, params=1, projection="linear", shortcut="none")
    assert list(make_charts(same, curves_of(same).head(0), [], [])) == [names[2]]
    for index in frame.index:
        stop(frame, index)
    assert all_of(frame) == {}


def test_the_main_chart_is_over_what_varies_and_blocks_have_lines_of_their_own() -> None:
    blocks = two_blocks()
    first = all_of(blocks)["accuracy_over_expansion"]
    assert channel(first, "color")["scale"]["domain"] == ["inverted_residual", "fused"]
    at_six = blocks[(blocks["expansion"] == 6) & (blocks["shortcut"] == "none")]
    assert "accuracy_over_block" in all_of(at_six)
    four = all_of(two_blocks(("linear", "relu6")))
    for name in ("accuracy_over_expansion", "learning_curves"):
        assert len(titles(four[name])) == 4


def test_readers_choose_every_metric_axis_and_pair_of_axes() -> None:
    frame = make_frame(expansions=(1, 6), seeds=2)
    charts = all_of(frame)
    choices = make_choices(frame, charts)
    every = [*charts.values(), *choices.values()]
    main = [one.choice for one in every if one.figure == "accuracy_over_expansion"]
    metrics = ("Test accuracy", "Test loss", "Training accuracy", "Validation accuracy")
    axes = ("Expansion t", "Projection", "Shortcut")
    assert len(main) == 12
    assert {(one["Metric"], one["Axis"]) for one in main} == set(itertools.product(metrics, axes))
    assert main[0] == {"Metric": "Test accuracy", "Axis": "Expansion t"}
    pairs = [one.choice["Axes"] for one in every if one.figure == "interaction"]
    assert pairs[0] == "Projection and shortcut"
    assert set(pairs[1:]) == {"Projection and expansion", "Shortcut and expansion"}
    costs = [one.choice["Cost"] for one in every if one.figure == "accuracy_over_madds"]
    assert costs == ["Multiply-adds per image", "Parameters"]
    for one in choices.values():
        assert "</svg>" in one.svg()
    assert make_choices(frame, {}) == {}


def test_of_very_many_metrics_those_of_claims_can_be_chosen() -> None:
    frame = make_frame(expansions=(1, 6), seeds=2)
    many = [f"test_table/measure_{number}" for number in range(30)]
    wide = frame.assign(**dict.fromkeys(many, frame["test_accuracy"]))
    described = {
        name: Column(name, "number", "measure", f"Measure {name[-2:]}", "%") for name in many
    }
    wide.attrs["described"] = described
    choices = make_choices(wide, all_of(wide), [{"metric": many[-1]}])
    metrics = {one.choice["Metric"] for one in choices.values() if "Metric" in one.choice}
    assert len(metrics) == 16
    assert tables.describe(wide, many[-1]).label in metrics


def test_rows_name_runs_by_their_positions_whatever_the_index() -> None:
    frame = make_frame(expansions=(1, 6), seeds=2)
    late = frame.set_index(frame.index + 100)
    assert all_of(late)["accuracy_over_expansion"] == all_of(frame)["accuracy_over_expansion"]


def test_files_have_the_same_bytes_whatever_was_written_before() -> None:
    view = View("madds", "projection", ("shortcut",))
    one, other = (accuracy(make_frame(seeds=2), view) for _ in range(2))
    assert one is not None
    assert other is not None
    svg, picture = one.svg(), other.png()
    all_of(make_transfers())["learning_curves"].svg()
    assert (other.svg(), one.png()) == (svg, picture)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=1)
        assert image.width > 1000


def test_files_have_the_marks_of_the_whole_alone() -> None:
    frame = make_frame((1, 2, 4, 6, 8), ("linear",), ("none",), seeds=2)
    rates = [frame.assign(**{"train.rate": rate}) for rate in (0.1, 0.2)]
    frame = pd.concat(rates, ignore_index=True)
    averaged = accuracy(frame, View("expansion"))
    assert averaged is not None
    assert len(averaged.rows) == 3 * 5 * (1 + 2)
    own = [row for row in averaged.rows if "of" not in averaged.sets[row["set"]]]
    assert len(own) == 3 * 5
    assert dataclasses.replace(averaged, rows=own).svg() == averaged.svg()


def test_texts_of_others_are_texts() -> None:
    frame = make_frame(expansions=(6,), seeds=2)
    frame["projection"] = frame["projection"].map({"linear": HOSTILE, "relu6": "relu6"})
    claims = [greater(HOSTILE, HOSTILE, HOSTILE, "projection", HOSTILE, "relu6")]
    drawn = make_charts(frame, curves_of(frame), claims, decide(claims, frame))
    for chart in drawn.values():
        root = ElementTree.fromstring(chart.svg())
        assert not [one for one in root.iter() if one.tag.endswith("script")]
    assert "<script>alert(1)</script>" in words(drawn["paired_differences"])


def test_a_chart_that_cannot_be_drawn_is_told_and_left_out(monkeypatch, caplog):
    def fail(*_: Any) -> None:
        raise RuntimeError("no\nink")

    frame = make_frame(expansions=(1, 6), seeds=2)
    names = set(all_of(frame))
    monkeypatch.setattr(charts, "forest", fail)
    assert set(all_of(frame)) == names - {"paired_differences"}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["figure paired_differences: cannot be drawn: no ink"]


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pdf: expected a file that ends in \.svg or \.png"):
        Chart("", {}, []).save(tmp_path / "a.pdf")
