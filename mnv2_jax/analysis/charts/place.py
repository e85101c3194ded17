"""Cost of a nonlinear projection, and gain of a shortcut, over the block that has it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis import stats, units
from mnv2_jax.analysis.axes import finished
from mnv2_jax.analysis.charts.chart import AXIS, Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows, layers_of
from mnv2_jax.analysis.charts.panels import WIDE, panelled
from mnv2_jax.analysis.charts.scales import places
from mnv2_jax.analysis.means import t_interval
from mnv2_jax.analysis.names import value_name
from mnv2_jax.analysis.stats import Contrast
from mnv2_jax.analysis.tables import describe

_AXES = {
    "model.projection_blocks": ("projection", "Cost of {}", "shortcut"),
    "model.shortcut_blocks": ("shortcut", "Gain of a {}", "projection"),
}
"""By axis: the column of what a block has, what is drawn of it, and the column of its panels."""

_ALONE, _OTHERS = "This block alone, against none", "All blocks, against all but it"


def place(frame: pd.DataFrame, metric: str = "test_accuracy") -> Chart | None:
    """Chart differences of a measure over the block that a grid varies; None without such runs.

    Each block is compared twice: alone with none of them, and all of them with all others.
    """
    done = finished(frame, metric)
    shown = units.measure_of(describe(frame, metric))
    rows, titles, numbers = Rows(), dict[str, None](), {0}
    for title, number, side, differences in _differences(done, metric):
        means = shown.factor * shown.sign * stats.seed_means(differences)
        mean = t_interval(means, 0.95)
        titles[title] = None
        numbers.add(number)
        at = number + (0.12 if side == _OTHERS else -0.12)
        own = {"panel": title, "hue": side, "line": side, "kind": "bar", "at": str(number)}
        ends = {"low": mean.low, "high": mean.high, "seeds": len(means)}
        rows.add("mean", x=at, y=mean.estimate, **own, **ends)
    if not titles:
        return None
    hues = Hues("sides", [_ALONE, _OTHERS], titled=False)
    limits = _ends(rows.rows)
    x = _blocks(done, max(numbers))
    zero = {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": AXIS},
        "encoding": {"y": {"datum": 0, "type": "quantitative"}},
    }
    layers = [zero, *layers_of(x, hues, units.of_differences([shown]), shown.digits, limits)]
    own_ends = [_ends([row for row in rows.rows if row["panel"] == title]) for title in titles]
    spec = panelled(layers, list(titles), hues, limits, limits, own_ends, WIDE)
    return Chart("Where it matters, block by block", spec, rows.rows, notes=rows.bands())


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the ends of y, with room for whole intervals: that of a block may be the widest."""
    values = [row[name] for row in rows for name in ("y", "low", "high") if row[name] is not None]
    room = 0.05 * (max(values) - min(values)) or 1.0
    return [min(values) - room, max(values) + room]


def _differences(done: pd.DataFrame, metric: str) -> Iterator[tuple[str, int, str, pd.DataFrame]]:
    """Yield panel, block, comparison and paired differences; above 0, the block matters."""
    for axis, (of, words, by) in _AXES.items():
        if axis not in done:
            continue
        others = [other for other in _AXES if other != axis and other in done]
        runs = done[(done[others] == "all").all(axis=1)]
        texts = (text.removeprefix("all but ") for text in runs[axis].unique())
        numbers = sorted({int(text) for text in texts if text.isdecimal()})
        for (has, panel), part in runs.groupby([of, by], sort=False):
            name = value_name(of, has) if of == "projection" else value_name(of, has).lower()
            title = f"{words.format(name)}: {value_name(by, panel).lower()}"
            for number in numbers:
                sides = {_ALONE: ("none", str(number)), _OTHERS: (f"all but {number}", "all")}
                for side, (without, with_it) in sides.items():
                    pair = (with_it, without) if of == "shortcut" else (without, with_it)
                    found = stats.paired_differences(part, Contrast(axis, *pair), metric)
                    if found["difference"].notna().any():
                        yield title, number, side, found


def _blocks(done: pd.DataFrame, count: int) -> dict[str, object]:
    """Return the channel `x` of blocks, with the channels after each if all networks have these."""
    channels = done["bottlenecks"].unique().tolist() if "bottlenecks" in done else []
    widths = str(channels[0]).split() if len(channels) == 1 else []
    known = len(widths) >= count
    names = [
        f"{number} ({widths[number - 1]})" if known else f"{number}"
        for number in range(1, count + 1)
    ]
    scale = places(["", *names], grid=False)
    scale["scale"]["domain"] = [0.5, count + 0.5]
    title = "Block (channels after it)" if known else "Block"
    return {"field": "x", "type": "quantitative", "title": title, **scale}
