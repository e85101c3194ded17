"""What the figures look like, and what axis values are called in them.

Colours are Okabe and Ito's, told apart by colour-blind readers; markers and dashes differ too, so
that a grey print reads as well.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

PROJECTIONS = {"linear": "Linear", "relu6": "ReLU6", "relu": "ReLU"}
SHORTCUTS = {
    "bottleneck": "Shortcut between bottlenecks",
    "none": "No shortcut",
    "expansion": "Shortcut between expansions",
}

INK = "#222222"
_BLUE, _VERMILION, _GREEN = "#0072B2", "#D55E00", "#009E73"
PROJECTION_LOOKS: dict[str, dict[str, Any]] = {
    "linear": {"color": _BLUE, "marker": "o", "linestyle": "-"},
    "relu6": {"color": _VERMILION, "marker": "s", "linestyle": (0, (5, 2))},
    "relu": {"color": _GREEN, "marker": "^", "linestyle": (0, (1, 1.5))},
}
# Blocks have no order of their own: the first one drawn gets the first look.
BLOCK_LOOKS: tuple[dict[str, Any], ...] = (
    *PROJECTION_LOOKS.values(),
    {"color": "#CC79A7", "marker": "D", "linestyle": "-."},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (8, 2, 2, 2))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 1))},
    {"color": INK, "marker": "X", "linestyle": (0, (1, 3))},
)
SHORTCUT_DASHES = {"bottleneck": "-", "none": (0, (5, 2)), "expansion": (0, (1, 1.5))}
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


def in_order(present: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """Sorts axis values as `known` lists them, unknown ones last and by name."""
    rank = {value: index for index, value in enumerate(known)}
    return sorted(set(present), key=lambda value: (rank.get(value, len(rank)), value))


def looks(blocks: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A look for every block; after the last one the looks begin again."""
    return dict(zip(sorted(set(blocks)), itertools.cycle(BLOCK_LOOKS), strict=False))


def nothing_to_draw(reason: str) -> Figure:
    """Makes a figure that says why it is empty."""
    figure = Figure(figsize=(5.2, 1.2))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure
