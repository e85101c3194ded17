"""Rows of a benchmark, as a table and as CSV."""

import csv
import functools
import importlib.metadata
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from experiments.benchmarks.timing import Timing, fastest_of_each_name
from mnv2_jax.train import environment

OURS = "ours"
"""The beginning of our contenders' names."""

PEERS = ("torch",)


class Row(NamedTuple):
    """One contender in one benchmark.

    Attributes:
      benchmark: what was timed.
      contender: its name.
      how: lanes, threads, memory layout; or the reason for its absence.
      unit: of the value.
      value: the median; None if the contender is absent.
      ratio: see `RATIO` of the benchmark's group.
      samples: how many measurements the median is taken of.
    """

    benchmark: str
    contender: str
    how: str
    unit: str
    value: float | None = None
    ratio: float | None = None
    samples: int = 0


def compare(
    benchmark: str, unit: str, timings: Sequence[Timing], absent: Mapping[str, str]
) -> list[Row]:
    """Return a row per name: its fastest contender, and how many times as fast our fastest one is.

    Args:
      benchmark: what was timed.
      unit: "ms" for the time per unit of work, else work per second.
      timings: of all contenders.
      absent: reasons by the names of absent contenders.
    """
    best = fastest_of_each_name(timings)
    reference = max(timing.rate for timing in best if timing.contender.name.startswith(OURS))
    rows = []
    for timing in best:
        name, how = timing.contender.name, timing.contender.how
        tried = sum(other.contender.name == name for other in timings)
        if tried > 1:
            how += f" (the fastest of {tried} ways)"
        value = 1e3 / timing.rate if unit == "ms" else timing.rate
        rows.append(Row(benchmark, name, how, unit, value, reference / timing.rate, timing.samples))
    return rows + [Row(benchmark, name, reason, unit) for name, reason in absent.items()]


def table(title: str, ratio: str, rows: Sequence[Row]) -> Table:
    """Return the rows of a group as a table."""
    result = Table(title=title, title_justify="left", box=None)
    for heading in ("benchmark", "contender", "how"):
        result.add_column(heading, overflow="fold")
    result.add_column("unit")
    for heading in ("value", ratio):
        result.add_column(heading, justify="right")
    previous = ""
    for row in rows:
        shown = "" if row.benchmark == previous else row.benchmark
        previous = row.benchmark
        cells = _rounded(row.value), _rounded(row.ratio)
        result.add_row(shown, row.contender, row.how, row.unit, *cells)
    return result


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV, each with machine, versions and commit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Row._fields, *_where()], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row._asdict() | _where() for row in rows)
    return text.getvalue()


@functools.cache
def _where() -> dict[str, object]:
    """Return device, processor, versions ("" for a peer that is not installed) and commit."""
    made = environment.describe("")
    libraries = {name: made["libraries"][name] for name in ("jax", "jaxlib")}
    peers = {name: _version(name) for name in PEERS}
    return {
        **{name: made[name] for name in ("device", "processor")},
        **libraries,
        **peers,
        **{name: made[name] for name in ("commit", "dirty")},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _rounded(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"
