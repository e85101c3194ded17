"""Draws what the training steps came to: beside peers, and over numbers of lanes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from experiments.benchmarks.rows import OURS, Row
from mnv2_jax.analysis.figures.style import BLOCK_LOOKS, INK, drawing, nothing_to_draw

_LANES = re.compile(rf"{OURS}, (\d+) lanes?")


def draw(rows: Sequence[Row]) -> Figure:
    """Draws the rows of `experiments.benchmarks.step`, the absent ones left out.

    On the left how many times as fast ours is, at the number of lanes where it is fastest. On the
    right images per second over lanes, for the workload with the most numbers of lanes.
    """
    present = [row for row in rows if row.value is not None]
    if not present:
        return nothing_to_draw("No contender to draw.")
    names = sorted({row.contender for row in present if not row.contender.startswith(OURS)})
    looks = dict(zip(names, BLOCK_LOOKS, strict=False))
    with drawing():
        figure = Figure(figsize=(10.4, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _beside_peers(left, present, looks)
        _over_lanes(right, present, looks)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _beside_peers(axes: Axes, rows: Sequence[Row], looks: dict[str, dict[str, Any]]) -> None:
    workloads = list(dict.fromkeys(row.benchmark for row in rows))
    for name, look in looks.items():
        of_name = [row for row in rows if row.contender == name]
        axes.plot(
            np.array([row.ratio for row in of_name], float),
            [workloads.index(row.benchmark) for row in of_name],
            label=name,
            **look | {"linestyle": "none", "markersize": 7},
        )
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(workloads)), [_in_two_lines(name) for name in workloads])
    axes.set_ylim(len(workloads) - 0.5, -0.5)
    axes.set_title("Ours is … times as fast as")
    axes.set_xlabel("ratio of images per second")


def _over_lanes(axes: Axes, rows: Sequence[Row], looks: dict[str, dict[str, Any]]) -> None:
    lanes: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        count = _LANES.fullmatch(row.contender)
        if count and row.value is not None:
            lanes.setdefault(row.benchmark, []).append((int(count[1]), row.value))
    workload = max(lanes, key=lambda name: len(lanes[name]))
    counts, rates = zip(*sorted(lanes[workload]), strict=True)
    axes.plot(counts, rates, color=INK, marker="o", label=OURS)
    for row in rows:
        if row.benchmark == workload and row.contender in looks and row.value is not None:
            axes.axhline(row.value, color=looks[row.contender]["color"], linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_title(workload.partition(" px")[0].rpartition(", ")[0])
    axes.set_ylabel("images per second, all together")
    axes.set_xlabel("networks trained together (lanes)")


def _in_two_lines(workload: str) -> str:
    """A workload's name, broken after its first comma."""
    return workload.replace(", ", "\n", 1)
