"""Decides claims by the records of the runs, and words what came out."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from mnv2_jax.analysis import records, resampling, stats
from mnv2_jax.analysis.claims import Claim, Equivalent, Greater, Interaction, Monotone
from mnv2_jax.analysis.stats import Interval, Scalar

VERDICTS = ("supported", "refuted", "inconclusive")

_COLOURS = {"supported": "bold green", "refuted": "bold red", "inconclusive": "bold yellow"}


def check(claims: Iterable[Claim], columns: Iterable[str]) -> None:
    """Refuses claims about columns that the results will not have; to be called before they exist.

    Raises:
      ValueError: a claim's axis, `where` or metric is no such column.
    """
    decide(claims, pd.DataFrame(columns=list(columns), dtype=float))


def decide(claims: Iterable[Claim], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Holds each claim against the results.

    A number that the results do not give (no pairs, or an interval from one seed) is None, and
    the verdict is then inconclusive.

    Args:
      claims: made by the functions of `mnv2_jax.analysis.claims`.
      frame: one row per run, as `read_results` returns it.

    Returns:
      One dict per claim, ready for JSON: name, kind, source, statement, metric, estimate, ci_low,
      ci_high, confidence, pairs, seeds, dropped, p_value, verdict; of an equivalence and of a
      monotone claim also margin. Estimate and interval are fractions of 1. `dropped` counts pairs
      left out because one of their runs is missing or did not finish. An equivalence reports
      estimate and interval of its two values that lie furthest apart (the later minus the
      earlier), the largest p, the fewest seeds, and pairs and dropped over all its comparisons; a
      monotone claim the rise from its first value to its last, and otherwise the same.

    Raises:
      ValueError: a claim names a column that the results lack.
    """
    return [_DECIDE[claim.kind](_by_columns(claim, frame), frame) for claim in claims]


def claims_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Lays decided claims out for the terminal, differences in percentage points."""
    table = Table(title="Claims", title_justify="left", show_lines=True)
    table.add_column("Claim", ratio=1)
    table.add_column("Difference", no_wrap=True)
    table.add_column("Pairs", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for row in rows:
        margin = f"\nmargin {100 * row['margin']:.1f} pt" if "margin" in row else ""
        table.add_row(
            Text.assemble(row["statement"], (f" ({row['source']})", "dim")),
            Text(f"{points(row)}\n{interval_kind(row)}{margin}"),
            Text(f"{pair_count(row)}\n{row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"),
            Text(p_text(row["p_value"])),
            Text(row["verdict"], style=_COLOURS[row["verdict"]]),
        )
    return table


def points(row: Mapping[str, Any]) -> str:
    """Writes a decided claim's estimate and interval, such as `+7.6 [+6.9, +8.2] pt`."""
    if row["estimate"] is None:
        return "not measured"
    if row["ci_low"] is None:
        return f"{100 * row['estimate']:+.1f} pt"
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    return f"{100 * row['estimate']:+.1f} [{low:+.1f}, {high:+.1f}] pt"


def interval_kind(row: Mapping[str, Any]) -> str:
    """Names a decided claim's interval, such as `95 % interval`, or says that there is none."""
    return "no interval" if row["ci_low"] is None else f"{100 * row['confidence']:.0f} % interval"


def pair_count(row: Mapping[str, Any]) -> str:
    """Writes how many pairs a decided claim rests on, such as `70 of 72`."""
    return f"{row['pairs']} of {row['pairs'] + row['dropped']}"


def p_text(p_value: float | None) -> str:
    """Writes a p value with the digits that matter, such as `0.031` or `< 0.001`."""
    if p_value is None:
        return "none"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


@dataclass(frozen=True)
class _Comparison:
    """One paired comparison of two values of an axis."""

    means: np.ndarray  # (seeds,), the mean difference of each seed
    interval: Interval
    pairs: int
    dropped: int


def _by_columns(claim: Any, frame: pd.DataFrame) -> Any:
    """The claim, with columns of the results in the place of config fields."""
    axes = {
        name: records.column(frame, getattr(claim, name))
        for name in ("axis", "by")
        if hasattr(claim, name)
    }
    where = {records.column(frame, field): value for field, value in claim.where.items()}
    return dataclasses.replace(claim, where=where, **axes)


def _comparison(differences: pd.DataFrame, confidence: float) -> _Comparison:
    means = stats.seed_means(differences)
    pairs = int(differences["difference"].count())
    return _Comparison(means, stats.t_interval(means, confidence), pairs, len(differences) - pairs)


def _compare(
    claim: Claim, frame: pd.DataFrame, better: Scalar, worse: Scalar, confidence: float
) -> _Comparison:
    differences = stats.paired_differences(
        frame, claim.axis, better, worse, claim.where, claim.metric
    )
    return _comparison(differences, confidence)


def _decide_greater(claim: Greater, frame: pd.DataFrame) -> dict[str, Any]:
    one = _compare(claim, frame, claim.better, claim.worse, claim.confidence)
    return _row(claim, [one], one.interval, resampling.sign_flip_p(one.means), _sign(one.interval))


def _decide_interaction(claim: Interaction, frame: pd.DataFrame) -> dict[str, Any]:
    differences = stats.paired_interactions(
        frame,
        (claim.axis, claim.better, claim.worse),
        (claim.by, claim.more, claim.less),
        claim.where,
        claim.metric,
    )
    one = _comparison(differences, claim.confidence)
    return _row(claim, [one], one.interval, resampling.sign_flip_p(one.means), _sign(one.interval))


def _sign(interval: Interval) -> str:
    # Comparisons with NaN are false, so a missing interval falls through to inconclusive.
    if interval.low > 0:
        return "supported"
    return "refuted" if interval.high < 0 else "inconclusive"


def _decide_equivalent(claim: Equivalent, frame: pd.DataFrame) -> dict[str, Any]:
    every = [
        _compare(claim, frame, later, earlier, claim.confidence)
        for earlier, later in itertools.combinations(claim.values, 2)
    ]
    intervals = [one.interval for one in every]
    margin = claim.margin
    if any(i.low > margin or i.high < -margin for i in intervals):
        verdict = "refuted"
    elif all(-margin < i.low and i.high < margin for i in intervals):
        verdict = "supported"
    else:
        verdict = "inconclusive"
    widest = max(intervals, key=lambda i: -1 if math.isnan(i.estimate) else abs(i.estimate))
    # np.max keeps NaN: without every pair there is no p for the whole.
    p_value = float(np.max([stats.tost_p(one.means, margin) for one in every]))
    return _row(claim, every, widest, p_value, verdict) | {"margin": margin}


def _decide_monotone(claim: Monotone, frame: pd.DataFrame) -> dict[str, Any]:
    margin = claim.margin
    steps = [
        # Of 90 %: its lower end is that of a one-sided test at 5 %.
        _compare(claim, frame, later, earlier, 0.90)
        for earlier, later in itertools.pairwise(claim.values)
    ]
    whole = _compare(claim, frame, claim.values[-1], claim.values[0], claim.confidence)
    if whole.interval.high < 0 or any(step.interval.high < -margin for step in steps):
        verdict = "refuted"
    elif whole.interval.low > 0 and all(step.interval.low > -margin for step in steps):
        verdict = "supported"
    else:
        verdict = "inconclusive"
    p_values = [resampling.sign_flip_p(whole.means)]
    p_values += [stats.exceeds_p(step.means, -margin) for step in steps]
    row = _row(claim, [*steps, whole], whole.interval, float(np.max(p_values)), verdict)
    return row | {"margin": margin}


_DECIDE: Mapping[str, Callable[..., dict[str, Any]]] = {
    "greater": _decide_greater,
    "equivalent": _decide_equivalent,
    "interaction": _decide_interaction,
    "monotone": _decide_monotone,
}


def _row(
    claim: Claim, every: Sequence[_Comparison], interval: Interval, p_value: float, verdict: str
) -> dict[str, Any]:
    return {
        "name": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "statement": claim.statement,
        "metric": claim.metric,
        "estimate": _number(interval.estimate),
        "ci_low": _number(interval.low),
        "ci_high": _number(interval.high),
        "confidence": claim.confidence,
        "pairs": sum(one.pairs for one in every),
        "seeds": min(len(one.means) for one in every),
        "dropped": sum(one.dropped for one in every),
        "p_value": _number(p_value),
        "verdict": verdict,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
