"""What charts draw, for tests to look at."""

import math
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from mnv2_jax.analysis.charts.chart import Chart, views_of


def whole(chart: Chart, part: str, **fields: Any) -> list[dict[str, Any]]:
    """The rows of a part that are drawn while all runs are chosen, and have these fields."""
    return [
        dict(row)
        for row in chart.rows
        if row["part"] == part
        and ("set" not in row or "of" not in chart.sets[row["set"]])
        and all(row[name] == value for name, value in fields.items())
    ]


def layers(chart: Chart) -> Iterator[dict[str, Any]]:
    for view in views_of(chart.spec):
        yield from view["layer"]


def channel(chart: Chart, name: str) -> dict[str, Any]:
    """The encoding of the markers of means."""
    return [one["encoding"] for one in layers(chart) if "tooltip" in one["encoding"]][-1][name]


def titles(chart: Chart) -> list[str]:
    return chart.spec["facet"]["sort"] if "facet" in chart.spec else []


def note(chart: Chart) -> str:
    return " ".join(chart.notes).replace("\N{NO-BREAK SPACE}", " ")


def words(chart: Chart) -> str:
    """The texts of the SVG."""
    return " ".join(" ".join(ElementTree.fromstring(chart.svg()).itertext()).split())


def curves_of(
    frame: pd.DataFrame, epochs: int = 2, train_accuracy: float = math.nan
) -> pd.DataFrame:
    rows = [
        (run_id, float(epoch), accuracy * epoch / epochs, train_accuracy)
        for run_id, accuracy in zip(frame["run_id"], frame["test_accuracy"], strict=True)
        for epoch in range(1, epochs + 1)
    ]
    names = ["run_id", "epoch", "validation_accuracy", "train_accuracy"]
    return pd.DataFrame(rows, columns=names)
