"""Pieces of HTML that several parts of the report share."""

from html import escape

from mnv2_jax.analysis.units import Measure, with_unit


def region(label: str, table: str, css: str = "scroll") -> str:
    """Wrap a table that may be wider than the page."""
    # A region that scrolls must take the focus, or the keyboard cannot scroll it.
    return (
        f'<div class="{css}" tabindex="0" role="region" aria-label="{escape(label)}">\n'
        f"{table}\n</div>"
    )


def signed(measure: Measure, difference: float) -> str:
    """Write a difference with its sign and without its unit."""
    return measure.signed(difference).replace("-", "−")


def difference(measure: Measure, difference: float) -> str:
    """Write a difference with its sign and its unit, but for percentage points."""
    unit = "" if measure.is_fraction else measure.unit
    return with_unit(signed(measure, difference), unit)


def count(number: int, noun: str) -> str:
    """Write how many there are, such as `1 run` or `5,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
