"""Pieces of HTML that several parts of the report share."""

from html import escape


def region(label: str, table: str, css: str = "scroll") -> str:
    """Wraps a table that may be wider than the page."""
    # A region that scrolls must take the focus, or the keyboard cannot scroll it.
    return (
        f'<div class="{css}" tabindex="0" role="region" aria-label="{escape(label)}">\n'
        f"{table}\n</div>"
    )


def points(difference: float) -> str:
    """Writes a difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """Writes how many there are, such as `1 run` or `5,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
