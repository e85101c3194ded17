"""The chart of memory and time in pieces: its rows, and that it can be drawn."""

from xml.etree import ElementTree

import altair
import pytest

from mnv2_jax.analysis.charts.chart import CONFIG
from mnv2_jax.analysis.charts.memory import memory_chart

ROWS = [
    {"cut": "whole", "temporary_bytes": 4000, "reordered_bytes": 3000, "time": 1.0},
    {"cut": "channels:2", "temporary_bytes": 1500, "reordered_bytes": None, "time": 1.2},
]


@pytest.fixture
def chart():
    return memory_chart(ROWS, 0.5, 1.5)


def test_rows_are_peaks_in_kb_times_and_bounds(chart):
    by_part: dict[str, list[object]] = {}
    for row in chart.rows:
        by_part.setdefault(row["part"], []).append((row.get("cut"), row["y"]))
    assert by_part == {
        "peak": [("whole", 4.0), ("channels:2", 1.5), ("whole", 3.0)],
        "time": [("whole", 1.0), ("channels:2", 1.2)],
        "target": [(None, 2.0)],
        "limit": [(None, 1.5)],
    }


def test_it_can_be_drawn(chart):
    altair.Chart.from_dict({**chart.spec, "config": CONFIG}, validate=True)
    svg = chart.svg()
    ElementTree.fromstring(svg)
    assert "undefined" not in svg
    assert "channels:2" in svg
