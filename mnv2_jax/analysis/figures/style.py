"""What the figures look like, and what axis values are called in them.

Colours are Okabe and Ito's, told apart by colour-blind readers; markers and dashes differ too, so
that a grey print reads as well.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mnv2_jax import schema
from mnv2_jax.analysis import records

PROJECTIONS = {
    **{"linear": "Linear", "relu6": "ReLU6", "relu": "ReLU", "leaky_relu": "Leaky ReLU"},
    **{"gelu": "GELU", "silu": "SiLU", "hard_swish": "Hard-swish"},
}
SHORTCUTS = {
    "bottleneck": "Shortcut between bottlenecks",
    "none": "No shortcut",
    "expansion": "Shortcut between expansions",
}
PHASES = {
    "pretraining": "Pretraining (other classes)",
    "scratch": "From scratch",
    "extraction": "Feature extraction",
    "finetuning": "Fine-tuning",
}
NORMS = {
    "inference": "BatchNorm in inference mode",
    "trained": "BatchNorm moves where trained",
    "all": "BatchNorm moves everywhere",
}
KNOWN: Mapping[str, Mapping[str, str]] = {
    "projection": PROJECTIONS,
    "shortcut": SHORTCUTS,
    "transfer.phase": PHASES,
    "transfer.norm": NORMS,
}
"""Columns whose values have an order and names of their own."""

_NUMBERS: Mapping[str, Mapping[float, str]] = {"transfer.images_per_class": {0: "all"}}
"""Columns some of whose numbers have names: these stand for more than any other number."""

INK, QUIET, RULE = "#222222", "#666666", "#888888"
_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
# What has no order of its own takes them in turn.
BLOCK_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": _BLUE, "marker": "o", "linestyle": "-"},
    {"color": _VERMILION, "marker": "s", "linestyle": (0, (5, 2))},
    {"color": _GREEN, "marker": "^", "linestyle": (0, (1, 1.5))},
    {"color": "#CC79A7", "marker": "D", "linestyle": "-."},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (8, 2, 2, 2))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 1))},
    {"color": INK, "marker": "X", "linestyle": (0, (1, 3))},
)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    # A claim's name is shown as it was written, dollar signs included.
    "text.parse_math": False,
    "svg.fonttype": "none",
}
_LONGEST = 36  # Letters of a value's name: longer ones would leave no room for what is drawn.


@contextlib.contextmanager
def drawing(identifiers: str | None = None) -> Iterator[None]:
    """Lets figures be drawn in this style, whatever the user's own settings of matplotlib are.

    Args:
      identifiers: what those of an SVG file are made from; by default chance.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": identifiers})
        yield


def in_order(column: str, present: Iterable[Any]) -> list[Any]:
    """Sorts the values of a column, each once: the order in which all that shows them does.

    Numbers go by size, those that have a name last; texts as `KNOWN` lists them, others last and
    by name.
    """
    rank = {value: index for index, value in enumerate(KNOWN.get(column, {}))}
    return sorted(
        set(present),
        key=lambda value: (bool(number_name(column, value)), rank.get(value, len(rank)), value),
    )


def axis_name(column: str) -> str:
    """What a column of results.csv is called in a figure."""
    label = schema.column(column).label
    if section := records.section(column):
        return f"{section.capitalize()}: {label[:1].lower()}{label[1:]}"
    return label


def value_name(column: str, value: Any) -> str:
    """What a value of `column` is called by itself."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return number_name(column, value) or f"{value:g}"
    name = KNOWN.get(column, {}).get(str(value), str(value)) or "not set"
    if len(name) <= _LONGEST:
        return name
    # Both ends tell: a block's file, and its class.
    return f"{name[: _LONGEST // 3]}…{name[-(2 * _LONGEST // 3) :]}"


def number_name(column: str, value: Any) -> str:
    """What a number of `column` is called that has a name; nothing for any other value."""
    return _NUMBERS.get(column, {}).get(value, "")


def short_name(column: str) -> str:
    """What a column is called beside its values."""
    return schema.column(column).short or axis_name(column)


def name_before(column: str) -> str:
    """What goes before a value of `column` where nothing beside it names the column."""
    return "" if column in (*KNOWN, "block", "dataset") else f"{short_name(column)} "


def full_name(column: str, value: Any) -> str:
    """What a value of `column` is called where nothing beside it names the column."""
    return name_before(column) + value_name(column, value)


def looks(column: str, values: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """A look for every value, in the order given.

    Numbers run through a colour map that darkens steadily, so that their order shows in grey too.
    Values that have a name of their own look the same whichever others are there. With more values
    than looks, colours, markers and dashes begin again at different places: no two are the same.
    """
    if not values:
        return {}
    count = max(len(values) - 1, 1)
    numeric = all(isinstance(value, float | int) for value in values) and len(values) > 1
    ranks = {value: rank for rank, value in enumerate(KNOWN.get(column, {}))}
    for value in values:
        ranks.setdefault(value, len(ranks))
    sequential = matplotlib.colormaps["viridis"]
    colours, markers, dashes = (
        [look[key] for look in BLOCK_LOOKS] for key in ("color", "marker", "linestyle")
    )
    return {
        value: {
            # The map's yellow end is too pale for white paper.
            "color": to_hex(sequential(0.82 * (1 - place / count)))
            if numeric
            else colours[ranks[value] % len(colours)],
            "marker": markers[(ranks[value] + ranks[value] // len(markers)) % len(markers)],
            "linestyle": dashes[(ranks[value] + 3 * (ranks[value] // len(dashes))) % len(dashes)],
        }
        for place, value in enumerate(values)
    }


def nothing_to_draw(reason: str) -> Figure:
    """Makes a figure that says why it is empty."""
    figure = Figure(figsize=(5.2, 1.2))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure
