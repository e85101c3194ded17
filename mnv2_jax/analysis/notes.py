"""Sentences that go with a decided claim: what its numbers cannot say by themselves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnv2_jax.analysis.decisions import INCONCLUSIVE, REFUTED, SUPPORTED, Comparison, Decision
from mnv2_jax.analysis.gaps import Unpaired
from mnv2_jax.analysis.resampling import smallest_sign_flip_p

_LEVEL = 0.05
_ENOUGH_SEEDS = 6  # from which on the sign-flip test can give less than 0.05


def write(
    row: Mapping[str, Any],
    decision: Decision,
    family: int,
    absent: Sequence[str],
    unpaired: Sequence[Unpaired],
) -> list[str]:
    """Writes what there is to say about a decided claim.

    Args:
      row: all of it but the notes, as `verdicts.decide` returns it.
      decision: what it was made from.
      family: how many claims there are.
      absent: values that the claim speaks of and no run has; see `gaps.absent`.
      unpaired: what it compares without that runs are pairs; see `gaps.unpaired`.
    """
    notes = [*_what_is_missing(row, decision, absent, unpaired)]
    if row["seeds"] < 2:
        return notes
    return [*notes, *_p_value(row, family), *_several(row, decision), *_power(row)]


def on_ruined(count: int, of: int) -> str:
    """Says that training ruined so many runs of so many, and what stands for them; else nothing."""
    if not count:
        return ""
    return (
        f"Training ruined {count} of {of} {'run' if of == 1 else 'runs'}: the loss on the training "
        "images ended far above that of the trained network that it started from. What is kept and "
        "measured of such a run is the network of its best epoch by validation accuracy; its "
        "learning rate is too high, or train.clip is missing."
    )


def on_ruined_pairs(count: int, of: int) -> str:
    """Says of a claim that training ruined so many of the runs that it compares."""
    return (
        f"Training ruined {count} of the {of} runs that are compared: they count with the network "
        "of their best epoch by validation accuracy, which may be the one that they started from."
    )


def is_doubted(row: Mapping[str, Any]) -> bool:
    """Whether the interval decides a claim where p, after Holm's correction, does not."""
    # Of claims that say several things p is about support only.
    about_p = row["kind"] in ("greater", "interaction") or row["verdict"] == SUPPORTED
    return bool(about_p and row["verdict"] in (SUPPORTED, REFUTED) and row["p_holm"] >= _LEVEL)


def _what_is_missing(
    row: Mapping[str, Any],
    decision: Decision,
    absent: Sequence[str],
    unpaired: Sequence[Unpaired],
) -> Iterator[str]:
    every = row["pairs"] + row["dropped"]
    alone = sum(one.alone for one in decision.every)
    if row["dropped"] > alone:
        left_out = _left_out(row["dropped"] - alone, every)
        yield f"{left_out} is not among the results or did not finish."
    # Where no two runs are a pair, how many are none says nothing.
    if alone and not unpaired:
        yield f"{_left_out(alone, every)} is not among the results, whatever the seed."
    if absent:
        yield f"No run has {' or '.join(absent)}."
    elif unpaired:
        yield f"Of the results, {'; '.join(map(str, unpaired))}: none of them are pairs."
    elif row["seeds"] == 0:
        yield f"No pair of runs finished{' for some of the values' if row['pairs'] else ''}."
    if row["seeds"] == 1:
        yield "One seed gives no interval."


def _left_out(count: int, every: int) -> str:
    one = count == 1
    return (
        f"{count} of {every} pairs {'is' if one else 'are'} left out: "
        f"a run of {'it' if one else 'each'}"
    )


def _p_value(row: Mapping[str, Any], family: int) -> Iterator[str]:
    if row["kind"] != "equivalent" and row["seeds"] < _ENOUGH_SEEDS:
        least = smallest_sign_flip_p(row["seeds"])
        yield f"With {row['seeds']} seeds the sign-flip test cannot give less than {least:g}."
    if is_doubted(row):
        if family > 1:
            least = smallest_sign_flip_p(row["seeds"])
            floor = f"; {row['seeds']} seeds give {least:.3f} at best before it"
            reached = row["kind"] != "equivalent" and math.isclose(row["p_value"], least)
            yield (
                f"By Holm's correction over {family} claims p is {row['p_holm']:.3f}"
                f"{floor if reached else ''}."
            )
        else:
            yield f"The interval decides, though p is {row['p_value']:.3f}."


def _several(row: Mapping[str, Any], decision: Decision) -> Iterator[str]:
    if decision.weakest is not None and row["verdict"] != SUPPORTED:
        yield f"Furthest from a rise: {_change(decision.weakest)}."
    margin = row["margin"] if row["kind"] == "equivalent" else 0
    above = row["kind"] == "equivalent" and row["ci_low"] > margin
    if row["verdict"] != REFUTED and (above or row["ci_high"] < -margin):
        yield (
            f"The interval of {100 * decision.refuting:.1f} %, which one of {len(decision.every)} "
            "comparisons needs to refute the claim, does not lie outside."
        )


def _change(one: Comparison) -> str:
    interval = one.interval(0.90)
    numbers = [100 * value for value in (interval.estimate, interval.low, interval.high)]
    return "{}, {:+.1f} [{:+.1f}, {:+.1f}] points (90 %)".format(one.name, *numbers)


def _power(row: Mapping[str, Any]) -> Iterator[str]:
    if row["verdict"] != INCONCLUSIVE or row["detectable"] is None:
        return
    if row["kind"] == "equivalent":
        seen = "would confirm a margin of {:.2f} points, were there no difference,"
        wanted = f"a margin of {100 * row['margin']:.1f}"
    elif row["ci_low"] <= 0 <= row["ci_high"]:
        seen = "would find a difference of {:.2f} points"
        wanted = "one as small as estimated"
    else:
        return  # The rise of a monotone claim was found; what is unclear is a step of it.
    needed = row["seeds_needed"]
    yield (
        f"By the scatter of its seeds, this design {seen.format(100 * row['detectable'])} "
        f"8 times in 10{f'; {wanted} takes {needed:,} seeds' if needed else ''}."
    )
