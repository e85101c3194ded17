"""Notes on decided claims that several kinds share."""

from collections.abc import Mapping
from typing import Any

from mnv2_jax.analysis import units
from mnv2_jax.analysis.decisions import INCONCLUSIVE


def on_difference(row: Mapping[str, Any]) -> list[str]:
    """Return a note on an inconclusive difference: which one the design would have found."""
    if row["verdict"] != INCONCLUSIVE or row["detectable"] is None:
        return []
    if row["ci_low"] is not None and not row["ci_low"] <= 0 <= row["ci_high"]:
        return []  # This difference was found; another one of the claim is unclear.
    finds = f"find a difference of {_amount(row)}"
    return [_on_power(row, finds, "one as small as estimated")]


def on_margin(row: Mapping[str, Any]) -> list[str]:
    """Return a note on an inconclusive margin: which one the design would have confirmed."""
    if row["verdict"] != INCONCLUSIVE or row["detectable"] is None:
        return []
    confirms = f"confirm a margin of {_amount(row)}, were there no difference,"
    margin = units.measure_of_row(row).size(row["margin"])
    return [_on_power(row, confirms, f"a margin of {margin}")]


def _amount(row: Mapping[str, Any]) -> str:
    measure = units.measure_of_row(row)
    return units.with_unit(measure.size(row["detectable"], more_digits=1), measure.in_sentences)


def _on_power(row: Mapping[str, Any], detects: str, wanted: str) -> str:
    needed = row["seeds_needed"]
    fixed = "as many seeds, fixed beforehand," if row.get("anytime") else "this design"
    return (
        f"By the scatter of its seeds, {fixed} would {detects} 8 times in 10"
        f"{f'; {wanted} takes {needed:,} seeds' if needed else ''}."
    )
