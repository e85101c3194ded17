"""Notes on decided claims: sentences on what their numbers do not show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.coverage import Unpaired
from mnv2_jax.analysis.decisions import (
    INCONCLUSIVE,
    LEVEL,
    NEGLIGIBLE,
    REFUTED,
    SUPPORTED,
    Decision,
)
from mnv2_jax.analysis.resampling import smallest_sign_flip_p
from mnv2_jax.side_tables import is_of_side_table


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
    notes = [*_on_diverged(row), *_on_missing(row, decision, absent, unpaired)]
    if row["seeds"] < 2:
        return notes
    on_numbers = (*_on_p_value(row, family), *_on_images(row), *_on_order(decision))
    return [*notes, *on_numbers, *claim.remarks(row, decision)]


def on_left_out(row: Mapping[str, Any], count: int) -> list[str]:
    """Return a note on a verdict in whose folder other claims were stated that are gone."""
    if row["verdict"] not in (SUPPORTED, REFUTED, NEGLIGIBLE):
        return []
    more = "1 more claim was" if count == 1 else f"{count} more claims were"
    return [
        f"{more} stated in this folder and {'is' if count == 1 else 'are'} not in the config, or "
        f"otherwise: the correction for all claims does not count {'it' if count == 1 else 'them'}."
    ]


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


def _on_p_value(row: Mapping[str, Any], family: int) -> Iterator[str]:
    p_value, p_holm, flipped = row["p_value"], row["p_holm"], row["sign_flip_p"]
    if row["verdict"] == INCONCLUSIVE and p_value is not None and p_value < LEVEL <= p_holm:
        kind = " for e values" if row["anytime"] else ""
        near = row["p_negligible"] == p_value
        what = "p that the difference is negligible" if near else "p"
        yield (
            f"By itself {what} is {p_value:.3f}; by Holm's correction{kind} over {family} claims "
            f"it is {p_holm:.3f}."
        )
    if row["verdict"] in (SUPPORTED, REFUTED) and flipped is not None and flipped >= LEVEL:
        seeds, least = row["seeds"], smallest_sign_flip_p(row["seeds"])
        floor = f", and {seeds} seeds cannot give less than {least:g}" if least >= LEVEL else ""
        yield f"p of the sign-flip test, which assumes no distribution, is {flipped:.3f}{floor}."


def _on_images(row: Mapping[str, Any]) -> Iterator[str]:
    share, count = row["of_images"], row["test_images"]
    if row["verdict"] != INCONCLUSIVE or share is None or share <= 0.5:
        return
    comes = f"comes from the {count:,} test images" if count else "is for images that seeds share"
    yield (
        f"{100 * share:.0f} % of the variance {comes}: more images would make the interval "
        "narrower, more seeds hardly."
    )


def _on_order(decision: Decision) -> Iterator[str]:
    if any(one.one_order for one in decision.comparisons):
        yield (
            "All seeds take the training images in the same order (data.order=shared): the "
            "interval says nothing of other orders."
        )


def _on_diverged(row: Mapping[str, Any]) -> Iterator[str]:
    if count := row["at_chance"]:
        runs = "1 run that diverged counts" if count == 1 else f"{count} runs that diverged count"
        yield f"{runs} by chance: with what a network has that guesses."
