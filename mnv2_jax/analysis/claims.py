"""Statements of the paper, each with the comparison that decides it, and the decision."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.stats import Interval, Scalar

VERDICTS = ("supported", "refuted", "inconclusive")

_EVERYWHERE: Mapping[str, Scalar] = MappingProxyType({})
_COLOURS = {"supported": "bold green", "refuted": "bold red", "inconclusive": "bold yellow"}


@dataclass(frozen=True)
class Greater:
    """`better` scores higher than `worse` on `axis`. Made by `greater`."""

    name: str
    source: str
    statement: str
    axis: str
    better: Scalar
    worse: Scalar
    where: Mapping[str, Scalar]
    metric: str

    confidence = 0.95


@dataclass(frozen=True)
class Equivalent:
    """All `values` of `axis` score within `margin` of each other. Made by `equivalent`."""

    name: str
    source: str
    statement: str
    axis: str
    values: tuple[Scalar, ...]
    margin: float
    where: Mapping[str, Scalar]
    metric: str

    # TOST at 5 % asks whether the 90 % interval lies inside the margin.
    confidence = 0.90


Claim = Greater | Equivalent


def greater(
    name: str,
    source: str,
    statement: str,
    axis: str,
    better: Scalar,
    worse: Scalar,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
) -> Greater:
    """Claims that `axis = better` has a higher mean `metric` than `axis = worse`.

    Supported when the 95 % interval of the paired difference lies above 0, refuted when it lies
    below, inconclusive otherwise.

    Args:
      name: short and unique, such as `"linear bottleneck"`.
      source: section or figure of the paper, such as `"Fig. 6a"`.
      statement: one sentence, as the reader of the report sees it.
      axis: compared column of the results, such as `"projection"`.
      better: value of `axis` that is claimed to win.
      worse: value of `axis` that is claimed to lose.
      where: column values that restrict the comparison.
      metric: accuracy column, a fraction of 1.

    Raises:
      ValueError: `better` equals `worse`, or `where` restricts `axis` itself.
    """
    if better == worse:
        raise ValueError(f"claim {name!r}: better and worse are both {better!r}; must differ")
    _check_where(name, axis, where)
    return Greater(name, source, statement, axis, better, worse, dict(where), metric)


def equivalent(
    name: str,
    source: str,
    statement: str,
    axis: str,
    values: Sequence[Scalar] = (6, 8, 10),
    margin: float = 0.01,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
) -> Equivalent:
    """Claims that every two `values` of `axis` differ by less than `margin` in `metric`.

    Each pair of values is tested by TOST at 5 %. The claim says that all are close, so it is
    supported only if every test passes (an intersection-union test: no correction for the number
    of pairs is due), and refuted if the 90 % interval of some pair lies wholly outside +-margin.

    Args:
      name: short and unique, such as `"expansion plateau"`.
      source: section or figure of the paper.
      statement: one sentence, as the reader of the report sees it.
      axis: compared column of the results, such as `"expansion"`.
      values: two or more values of `axis`.
      margin: largest difference that counts as none, a fraction of 1 (0.01 is one point).
      where: column values that restrict the comparison.
      metric: accuracy column, a fraction of 1.

    Raises:
      ValueError: fewer than two different values, a margin outside (0, 1), or `where`
          restricts `axis` itself.
    """
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"claim {name!r}: values {values!r}; must be two or more, all different")
    if not 0 < margin < 1:
        raise ValueError(f"claim {name!r}: margin {margin!r}; must be a fraction between 0 and 1")
    _check_where(name, axis, where)
    return Equivalent(name, source, statement, axis, tuple(values), margin, dict(where), metric)


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
      claims: made by `greater` and `equivalent`.
      frame: one row per run, as `read_results` returns it.

    Returns:
      One dict per claim, ready for JSON: name, source, statement, metric, estimate, ci_low,
      ci_high, confidence, pairs, seeds, dropped, p_value, verdict; of an equivalence also
      margin. Estimate and interval are fractions of 1. `dropped` counts pairs left out
      because one of their runs is missing or did not finish. An equivalence reports estimate
      and interval of its two values that lie furthest apart (the later minus the earlier), the
      largest p, the fewest seeds, and pairs and dropped over all its comparisons.

    Raises:
      ValueError: a claim names a column that the results lack.
    """
    return [
        _decide_greater(claim, frame)
        if isinstance(claim, Greater)
        else _decide_equivalent(claim, frame)
        for claim in claims
    ]


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


def _compare(claim: Claim, frame: pd.DataFrame, better: Scalar, worse: Scalar) -> _Comparison:
    table = stats.paired_differences(frame, claim.axis, better, worse, claim.where, claim.metric)
    means = stats.seed_means(table)
    pairs = int(table["difference"].count())
    interval = stats.t_interval(means, claim.confidence)
    return _Comparison(means, interval, pairs, len(table) - pairs)


def _decide_greater(claim: Greater, frame: pd.DataFrame) -> dict[str, Any]:
    one = _compare(claim, frame, claim.better, claim.worse)
    # Comparisons with NaN are false, so a missing interval falls through to inconclusive.
    if one.interval.low > 0:
        verdict = "supported"
    elif one.interval.high < 0:
        verdict = "refuted"
    else:
        verdict = "inconclusive"
    return _row(claim, [one], one.interval, stats.sign_flip_p(one.means), verdict)


def _decide_equivalent(claim: Equivalent, frame: pd.DataFrame) -> dict[str, Any]:
    every = [
        _compare(claim, frame, later, earlier)
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


def _row(
    claim: Claim, every: Sequence[_Comparison], interval: Interval, p_value: float, verdict: str
) -> dict[str, Any]:
    return {
        "name": claim.name,
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


def _check_where(name: str, axis: str, where: Mapping[str, Scalar]) -> None:
    if axis in where:
        raise ValueError(
            f"claim {name!r}: where restricts the compared axis {axis!r}; leave it out"
        )
