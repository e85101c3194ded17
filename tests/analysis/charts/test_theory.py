"""Charts of the paper's Figures 1 and 7: their rows, and that they can be drawn."""

from xml.etree import ElementTree

import altair
import numpy as np
import pytest

from mnv2_jax.analysis import figure_7, theory
from mnv2_jax.analysis.charts.chart import CONFIG
from mnv2_jax.analysis.charts.theory import (
    errors_chart,
    initial_chart,
    positive_chart,
    spiral_chart,
)
from tests.analysis.charts.drawn import words

FRACTIONS = {f"block_{number:02}": np.full((1, 2, 2), number / 20) for number in range(2, 6)}
ROWS = figure_7.rows_of(FRACTIONS, figure_7.BATCH)
TABLE = figure_7.over_seeds([*ROWS, *(row | {"seed": 1, "minimum": 0.05} for row in ROWS)])
ERRORS = list(theory.spiral_errors(2, 5, (2, 3, 30)))


@pytest.fixture(params=["spiral", "errors", "initial", "trained"])
def chart(request):
    points = theory.spiral()
    make = {
        "spiral": lambda: spiral_chart({"Input": points, "dim = 2": np.abs(points)}),
        "errors": lambda: errors_chart(ERRORS),
        "initial": lambda: initial_chart(TABLE, "A title", 1 / 6, ["A note."]),
        "trained": lambda: positive_chart(TABLE, "A title", 1 / 6, ["A note."]),
    }
    return make[request.param]()


def test_every_chart_can_be_drawn(chart):
    altair.Chart.from_dict({**chart.spec, "config": CONFIG}, validate=True)
    svg = chart.svg()
    ElementTree.fromstring(svg)
    assert "var(--" not in svg
    assert "NaN" not in svg
    assert "undefined" not in svg
    assert chart.png().startswith(b"\x89PNG")


def test_parts_of_the_spiral_join():
    points = theory.spiral()
    rows = spiral_chart({"Input": points}).rows
    by_part = [[row["number"] for row in rows if row["part"] == part] for part in range(8)]
    assert [numbers[0] for numbers in by_part[1:]] == [numbers[-1] for numbers in by_part[:-1]]
    assert sorted({row["number"] for row in rows}) == list(range(1000))
    assert (rows[0]["x"], rows[-1]["y"]) == (points[0, 0], points[-1, 1])


def test_errors_are_medians_with_bands():
    chart = errors_chart(ERRORS)
    assert len(chart.rows) == len(ERRORS)
    for row, error in zip(chart.rows, ERRORS, strict=True):
        assert (row["x"], row["y"]) == (error["dimension"], error["median"])
        assert (row["low"], row["high"]) == (error["low"], error["high"])
    assert {"As it is", "Best scale"} <= {row["hue"] for row in chart.rows}
    assert "medians of 10 random T" in words(chart)


def test_positive_fractions_are_in_per_cent_beside_the_papers():
    chart = positive_chart(TABLE, "A title", 1 / 6, [])
    own = [row for row in chart.rows if row.get("hue") == "Minimum, ours"]
    assert [row["x"] for row in own] == [1, 2, 3, 4]
    assert [row["y"] for row in own] == pytest.approx([7.5, 10, 12.5, 15])
    assert [row["low"] for row in own] == pytest.approx([5] * 4)
    theirs = [row["y"] for row in chart.rows if row.get("hue") == "Minimum, the paper's"]
    assert theirs == pytest.approx([100 * value for value in figure_7.TRAINED["minimum"]])
    assert "1/t = 16.7 %" in words(chart)


def test_ranges_of_the_paper_at_random_weights():
    chart = initial_chart(TABLE, "A title", 1 / 6, [])
    ranges = {row["hue"]: (row["low"], row["high"]) for row in chart.rows if row["part"] == "range"}
    assert ranges == {"Average, ours": (46, 53), "Minimum, ours": (33, 48)}
