"""Notes on decided claims: sentences on what their numbers do not show."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.coverage import Unpaired
from mnv2_jax.analysis.decisions import Decision
from mnv2_jax.analysis.resampling import smallest_sign_flip_p
from mnv2_jax.side_tables import is_of_side_table

_LEVEL = 0.05
_ENOUGH_SEEDS = 6  # The least with which the sign-flip test can give less than 0.05.


def write(
    claim: Claim,
    row: Mapping[str, Any],
    decision: Decision,
    family: int,
    absent: Sequence[str],
    unpaired: Sequence[Unpaired],
) -> list[str]:
    """Return the notes on a decided claim.

    Args:
      claim: of any kind.
      row: as `verdicts.decide` returns it, without notes.
      decision: that the row was made from.
      family: number of claims.
      absent: see `coverage.absent`.
      unpaired: see `coverage.unpaired`.
    """
    notes = [*_on_missing(row, decision, absent, unpaired)]
    if row["seeds"] < 2:
        return notes
    return [*notes, *_on_p_value(row, decision, family), *claim.remarks(row, decision)]


def on_ruined(count: int, of: int) -> str:
    """Return a sentence on the runs that training ruined; "" if there are none."""
    if not count:
        return ""
    return (
        f"Training ruined {count} of {of} {'run' if of == 1 else 'runs'}: the loss on the training "
        "images ended far above that of the trained network that it started from. What is kept and "
        "measured of such a run is the network of its best epoch by validation accuracy; its "
        "learning rate is too high, or train.clip is missing."
    )


def on_ruined_pairs(count: int, of: int) -> str:
    """Return a note on a claim some of whose runs training ruined."""
    return (
        f"Training ruined {count} of the {of} runs that are compared: they count with the network "
        "of their best epoch by validation accuracy, which may be the one that they started from."
    )


def is_doubted(row: Mapping[str, Any]) -> bool:
    """Return whether the interval decides a claim but p, after Holm's correction, would not."""
    if row["p_holm"] is None:
        return False
    return bool(row["verdict"] in shown(row)["p_for"] and row["p_holm"] >= _LEVEL)


def _on_missing(
    row: Mapping[str, Any],
    decision: Decision,
    absent: Sequence[str],
    unpaired: Sequence[Unpaired],
) -> Iterator[str]:
    counted, total = shown(row)["counted"], row["pairs"] + row["dropped"]
    alone = sum(one.alone for one in decision.comparisons)
    if row["dropped"] > alone:
        unlisted = "" if counted == "runs" else " is not among the results or"
        unmeasured = " or is not in the side table" if is_of_side_table(row["metric"]) else ""
        left_out = _left_out(row["dropped"] - alone, total, counted)
        yield f"{left_out}{unlisted} did not finish{unmeasured}."
    if alone and not unpaired:  # Else no two runs are a pair, and a number would say nothing.
        yield f"{_left_out(alone, total, counted)} is not among the results, whatever the seed."
    if absent:
        yield f"No run has {' or '.join(absent)}."
    elif unpaired:
        yield f"Of the results, {'; '.join(map(str, unpaired))}: none of them are pairs."
    elif row["seeds"] == 0:
        nothing = "pair of runs" if counted == "pairs" else counted.removesuffix("s")
        yield f"No {nothing} finished{' for some of the values' if row['pairs'] else ''}."
    if row["seeds"] == 1:
        yield "One seed gives no interval."


def _left_out(count: int, total: int, counted: str) -> str:
    one = count == 1
    left_out = f"{count} of {total} {counted} {'is' if one else 'are'} left out"
    if counted == "runs":
        return f"{left_out}: {'it' if one else 'they'}"
    return f"{left_out}: a run of {'it' if one else 'each'}"


def _on_p_value(row: Mapping[str, Any], decision: Decision, family: int) -> Iterator[str]:
    seeds, least = row["seeds"], smallest_sign_flip_p(row["seeds"])
    if decision.flips_signs and seeds < _ENOUGH_SEEDS:
        yield f"With {seeds} seeds the sign-flip test cannot give less than {least:g}."
    if not is_doubted(row):
        return
    if family == 1:
        yield f"The interval decides, though p is {row['p_value']:.3f}."
        return
    reached = decision.flips_signs and math.isclose(row["p_value"], least)
    floor = f"; {seeds} seeds give {least:.3f} at best before it" if reached else ""
    yield f"By Holm's correction over {family} claims p is {row['p_holm']:.3f}{floor}."
