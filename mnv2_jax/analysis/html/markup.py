"""Text and HTML that several parts of the report share."""

from html import escape

from mnv2_jax.analysis.units import Measure, with_unit
from mnv2_jax.schema import Column


def region(label: str, table: str, css: str = "scroll") -> str:
    """Return a table in a region that scrolls sideways."""
    # It takes the focus, so that the keyboard can scroll it.
    return (
        f'<div class="{css}" tabindex="0" role="region" aria-label="{escape(label)}">\n'
        f"{table}\n</div>"
    )


def signed(measure: Measure, difference: float) -> str:
    """Return a difference with its sign and without its unit."""
    return measure.signed(difference).replace("-", "−")


def difference(measure: Measure, difference: float) -> str:
    """Return a difference with its sign and its unit, which percentage points lack."""
    unit = "" if measure.is_fraction else measure.unit
    return with_unit(signed(measure, difference), unit)


def count(number: int, noun: str, several: str = "") -> str:
    """Return a number with its noun: `1 run`, `5,000 runs`."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def label_of(column: Column) -> str:
    """Return the label of a side table's measure without the table's name."""
    return column.label.removesuffix(f", {column.name.partition('/')[0]}")
