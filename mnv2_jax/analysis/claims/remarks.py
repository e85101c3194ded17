"""Sentences on decided claims that several kinds share."""

from collections.abc import Mapping
from typing import Any

from mnv2_jax.analysis import units
from mnv2_jax.analysis.decisions import INCONCLUSIVE, REFUTED, Decision


def on_difference(row: Mapping[str, Any]) -> list[str]:
    """Say of an inconclusive difference which one the design would have found."""
    if row["verdict"] != INCONCLUSIVE or row["detectable"] is None:
        return []
    if not row["ci_low"] <= 0 <= row["ci_high"]:
        return []  # The difference was found; what is unclear is another.
    seen = f"find a difference of {_amount(row, row['detectable'])}"
    return [_on_power(row, seen, "one as small as estimated")]


def on_margin(row: Mapping[str, Any]) -> list[str]:
    """Say of an inconclusive claim about a margin which one the design would have confirmed."""
    if row["verdict"] != INCONCLUSIVE or row["detectable"] is None:
        return []
    seen = f"confirm a margin of {_amount(row, row['detectable'])}, were there no difference,"
    margin = units.measure_of_row(row).size(row["margin"])
    return [_on_power(row, seen, f"a margin of {margin}")]


def on_narrow(row: Mapping[str, Any], decision: Decision, outside: bool) -> list[str]:
    """Say of an interval that lies outside that it is too narrow to refute one of several."""
    if row["verdict"] == REFUTED or not outside:
        return []
    return [
        f"The interval of {100 * decision.refuting:.1f} %, which one of {len(decision.every)} "
        "comparisons needs to refute the claim, does not lie outside."
    ]


def _amount(row: Mapping[str, Any], difference: float) -> str:
    measure = units.measure_of_row(row)
    return units.with_unit(measure.size(difference, more_digits=1), measure.in_sentences)


def _on_power(row: Mapping[str, Any], seen: str, wanted: str) -> str:
    needed = row["seeds_needed"]
    return (
        f"By the scatter of its seeds, this design would {seen} 8 times in 10"
        f"{f'; {wanted} takes {needed:,} seeds' if needed else ''}."
    )
