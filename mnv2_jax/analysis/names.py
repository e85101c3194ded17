"""The names of axes and of their values."""

from collections.abc import Mapping
from typing import Any

from mnv2_jax import schema
from mnv2_jax.analysis import tables

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
"""Columns whose values have names, by value; they look the same in all charts."""

_NUMBERS: Mapping[str, Mapping[float, str]] = {"transfer.images_per_class": {0: "all"}}
"""Columns some of whose numbers have names."""

_LONGEST = 36  # Letters of a value's name; more would leave no room for the chart.


def axis_name(column: str) -> str:
    """Return the name of a column of results.csv in a figure."""
    label = schema.column(column).label
    if section := tables.section(column):
        return f"{section.capitalize()}: {label[:1].lower()}{label[1:]}"
    return label


def lower_name(column: str) -> str:
    """Return the name of a column in a sentence."""
    return axis_name(column).lower().removesuffix(" t")


def value_name(column: str, value: Any) -> str:
    """Return the name of a value of `column`."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return number_name(column, value) or f"{value:g}"
    name = KNOWN.get(column, {}).get(str(value), str(value)) or "not set"
    if len(name) <= _LONGEST:
        return name
    # Both ends identify it: a block's file, and its class.
    return f"{name[: _LONGEST // 3]}…{name[-(2 * _LONGEST // 3) :]}"


def number_name(column: str, value: Any) -> str:
    """Return the name of a number of `column`; "" for any value that has none."""
    return _NUMBERS.get(column, {}).get(value, "")


def short_name(column: str) -> str:
    """Return the name of a column beside its values."""
    return schema.column(column).short or axis_name(column)


def name_before(column: str) -> str:
    """Return the text before a value of `column` where nothing beside it names the column."""
    return "" if column in (*KNOWN, "block", "dataset") else f"{short_name(column)} "


def full_name(column: str, value: Any) -> str:
    """Return the name of a value of `column` where nothing beside it names the column."""
    return name_before(column) + value_name(column, value)
