"""Decisions of claims by the records of runs."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnv2_jax import checksums
from mnv2_jax.analysis import anytime as evidence
from mnv2_jax.analysis import caveats, coverage, means, power, resampling
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import (
    INCONCLUSIVE,
    LEVEL,
    NEGLIGIBLE,
    REFUTED,
    RUINED,
    SUPPORTED,
    Comparison,
    Decision,
)
from mnv2_jax.side_tables import is_of_side_table

VERDICTS = (SUPPORTED, REFUTED, NEGLIGIBLE, INCONCLUSIVE, RUINED)

_FIELDS = ("name", "kind", "source", "statement", "metric")


def check(claims: Iterable[Claim], columns: Iterable[str]) -> None:
    """Check claims against the columns that the results will have.

    Raises:
      ValueError: a claim's axis, `where` or metric is no such column, two claims have one name, or
        a user's own kind raises an error.
    """
    names: set[str] = set()
    for claim in claims:
        if claim.name in names:
            raise ValueError(f"claim {claim.name!r}: two have this name; expected one for each")
        names.add(claim.name)
        try:
            decide([claim], pd.DataFrame(columns=list(columns), dtype=float))
        except ValueError as error:
            raise ValueError(f"claim {claim.name!r}: {error}") from None


def undecidable(claims: Iterable[Claim], runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a message for each claim that these runs cannot decide, whatever their results.

    Args:
      claims: of any kind.
      runs: of the grid, one row per run, as `mnv2_jax.ablation.records.planned` returns them.

    Raises:
      ValueError: two runs of a claim cannot be told apart, so that its pairs are ambiguous.
    """
    claims = list(claims)
    # As if all of them were done: runs that are not a pair then will never be one.
    measured = {claim.metric: 0.0 for claim in claims}
    frame = pd.DataFrame(runs).assign(status="done", **measured)
    reasons = ((claim, _why_undecidable(claim, frame)) for claim in claims)
    return [f"claim {claim.name!r} cannot be decided: {why}" for claim, why in reasons if why]


def _why_undecidable(claim: Claim, frame: pd.DataFrame) -> str:
    """Return why these runs cannot decide a claim; "" if they can."""
    missing = coverage.absent(claim, frame)
    if missing:
        return f"no run has {' or '.join(missing)}"
    try:
        unpaired = coverage.unpaired(claim, frame)
    except ValueError as error:
        raise ValueError(f"claim {claim.name!r}: {error}") from None
    fields = list(dict.fromkeys(field for one in unpaired for field in one.fields))
    if not fields:
        return ""
    why = "; ".join(map(str, unpaired))
    if "seed" in fields:
        return f"{why}; expected the same seeds"
    if not hasattr(claim, "covarying"):
        return f"{why}; a claim of `greater` allows for that, by covarying=(...)"
    return f"{why}; name {'it' if len(fields) == 1 else 'them'} in covarying=(...)"


def decide(
    claims: Iterable[Claim], frame: pd.DataFrame, *, anytime: bool = False
) -> list[dict[str, Any]]:
    """Decide each claim by the results.

    A verdict needs a p below 0.05 after correction for all claims, so that in 95 % of repetitions
    none of the verdicts is false. A number that the results do not give (no pairs, or an interval
    from one seed) is None, and the verdict is then inconclusive.

    Args:
      claims: of any kind; the family of the correction.
      frame: one row per run, as `tables.read_results` returns it.
      anytime: whether seeds were added until claims were decided. A claim is then decided by the
        seeds that have all of its runs, and a verdict needs evidence that holds at any number of
        seeds too (`mnv2_jax.analysis.anytime`); p is the larger one, the interval reaches to the
        outer ends of both.

    Returns:
      One dict per claim, ready for JSON:

      - name, kind, source, statement, metric: of the claim, and other fields that its kind names,
        such as margin.
      - claim: further fields of the claim, from which `claims.recorded` makes it again.
      - measure: the format of the metric; shown: the format of the kind (`claims.Shown`).
      - estimate, ci_low, ci_high, confidence: with the interval of this claim alone, as the metric
        is stored, an accuracy as a fraction of 1. It is over seeds and test images if runs recorded
        predictions, else over seeds.
      - test_images: number of images that the interval counts as a sample, beside seeds; None if
        runs did not record predictions, or each seed draws its own images. of_images: the share of
        the variance that images cause.
      - seeds_low, seeds_high: of the t interval over seeds alone. bootstrap_low, bootstrap_high: of
        the BCa interval over seeds. joint_low, joint_high: of the interval that holds together with
        those of all claims (Bonferroni). All have the same confidence.
      - verdict; p_support, p_refute, p_negligible: of the tests that give it; p_value: the smallest
        of them; p_holm: after Holm's correction over all claims, or its form for e values.
      - sign_flip_p: of the exact test over seeds of the reported difference.
      - anytime: whether it is decided as by the argument.
      - pairs, seeds; dropped: pairs left out, one of whose runs is missing or did not finish;
        at_chance: number of diverged runs that count by chance.
      - selected: what the reported difference was selected for; "" if there is one only.
      - effect_size: the estimate in units of its scatter over seeds (`power.effect_size`).
      - detectable; seeds_needed, of an inconclusive claim: see `power.design`.
      - notes: sentences.

      An equivalence reports its two values that lie furthest apart (the later minus the earlier),
      a monotone claim the rise from its first value to its last; seeds are the fewest, and pairs
      and dropped the sums over all its comparisons.

    Raises:
      ValueError: a claim names a column that the results lack.
    """
    claims = list(claims)
    frames = [coverage.of_whole_seeds(claim, frame) if anytime else frame for claim in claims]
    chosen = [claim.runs(frame) for claim, frame in zip(claims, frames, strict=True)]
    decisions = [_decide(claim, runs) for claim, runs in zip(claims, chosen, strict=True)]
    verdicts, adjusted = corrected(decisions, means.holm)
    looks: list[Decision] = []
    if anytime:
        looks = [
            _decide(claim, claim.runs(frame, anytime=True))
            for claim, frame in zip(claims, frames, strict=True)
        ]
        others, p_values = corrected(looks, evidence.adjusted)
        verdicts = [
            one if one == other else INCONCLUSIVE
            for one, other in zip(verdicts, others, strict=True)
        ]
        adjusted = [max(pair) for pair in zip(adjusted, p_values, strict=True)]
    rows = []
    for place, (claim, runs, decision) in enumerate(zip(claims, chosen, decisions, strict=True)):
        frame = frames[place]
        look = looks[place] if anytime else None
        row = _row(claim, runs, decision, look, len(claims))
        row |= {"verdict": verdicts[place], "p_holm": _number(adjusted[place])}
        if row["verdict"] != INCONCLUSIVE:
            row["seeds_needed"] = None
        absent = coverage.absent(claim, frame)
        unpaired = [] if row["seeds"] else coverage.unpaired(claim, frame)
        notes = caveats.write(claim, row, decision, len(claims), absent, unpaired)
        if is_of_side_table(claim.metric) and claim.metric not in frame:
            table = claim.metric.partition("/")[0]
            notes = [f"There is no side table {table}: experiments.evaluate writes it."]
        ruined, of = coverage.ruined(claim, frame)
        if ruined:
            notes.insert(0, caveats.on_ruined_pairs(ruined, of))
            if row["verdict"] == INCONCLUSIVE:
                row["verdict"] = RUINED
        rows.append(row | {"notes": notes})
    return rows


def corrected(
    decisions: Sequence[Decision], adjust: Callable[[Sequence[float]], list[float]]
) -> tuple[list[str], list[float]]:
    """Return the verdicts of a family of claims, and the smallest p of each, corrected.

    Args:
      decisions: of all claims.
      adjust: maps p values of a family to corrected ones: `means.holm` or `anytime.adjusted`.
    """
    family = [decision.p_value for decision in decisions]
    verdicts = []
    for place, decision in enumerate(decisions):
        others = family[:place], family[place + 1 :]
        small = (
            verdict
            for verdict, p in decision.p_values.items()
            if adjust([*others[0], p, *others[1]])[place] < LEVEL
        )
        verdicts.append(next(small, INCONCLUSIVE))
    return verdicts, adjust(family)


def write_decided(workdir: Path, decided: Sequence[Mapping[str, Any]]) -> None:
    """Write decided claims to `claims.json`."""
    checksums.write_json(workdir / "claims.json", {"claims": decided}, indent=2)


def read_decided(workdir: Path) -> list[dict[str, Any]]:
    """Read decided claims from `claims.json`, which in earlier versions is a list.

    Raises:
      DamagedError: it is damaged.
      OSError: it is missing, or cannot be read.
    """
    path = workdir / "claims.json"
    claims = checksums.read_json(path, "claims").get("claims")
    if not isinstance(claims, list) or not all(isinstance(claim, dict) for claim in claims):
        raise checksums.damaged(path, "expected a list of claims")
    return claims


def _decide(claim: Claim, runs: Runs) -> Decision:
    try:
        return claim.decide(runs)
    except ValueError:
        raise
    except Exception as error:  # A user's own kind may raise anything.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"a claim of kind {claim.kind} raises {reason}") from error


def _row(
    claim: Claim, runs: Runs, decision: Decision, look: Decision | None, family: int
) -> dict[str, Any]:
    """Return the row of a claim, without its verdict."""
    reported, comparisons = decision.reported, decision.comparisons
    level = claim.confidence
    interval = _interval(reported, level, anytime=look is not None)
    p_values = {
        name: _number(value if look is None else max(value, getattr(look, name)))
        for name in ("support", "refute", "negligible")
        for value in [getattr(decision, name)]
    }
    of_seeds = means.t_interval(reported.means, level)
    bootstrap = resampling.bootstrap_interval(reported.means, level)
    joint = _interval(reported, 1 - (1 - level) / family, anytime=look is not None)
    has_images = reported.images is not None
    row: dict[str, Any] = {
        **{name: getattr(claim, name) for name in _FIELDS},
        "measure": dataclasses.asdict(runs.measure),
        "estimate": _number(interval.estimate),
        "ci_low": _number(interval.low),
        "ci_high": _number(interval.high),
        "confidence": level,
        "test_images": reported.images.shape[1] if reported.images is not None else None,
        "of_images": reported.mean.of_images if has_images or reported.overlap else None,
        "seeds_low": _number(of_seeds.low),
        "seeds_high": _number(of_seeds.high),
        "bootstrap_low": _number(bootstrap.low),
        "bootstrap_high": _number(bootstrap.high),
        "joint_low": _number(joint.low),
        "joint_high": _number(joint.high),
        "anytime": look is not None,
        "pairs": sum(one.pairs for one in comparisons),
        "seeds": min(len(one.means) for one in comparisons),
        "dropped": sum(one.dropped for one in comparisons),
        "at_chance": runs.count_at_chance(),
        "p_support": p_values["support"],
        "p_refute": p_values["refute"],
        "p_negligible": p_values["negligible"],
        "p_value": min((p for p in p_values.values() if p is not None), default=None),
        "sign_flip_p": _number(resampling.sign_flip_p(reported.means))
        if decision.flips_signs
        else None,
        "selected": decision.selected,
        "effect_size": _number(power.effect_size(reported.means)),
        **claim.design(decision),
        **{name: getattr(claim, name) for name in claim.in_rows},
        "claim": claim.record(),
    }
    return row | {"shown": claim.shown(row)}


def _interval(one: Comparison, confidence: float, *, anytime: bool) -> means.Interval:
    """Return the interval of a comparison, up to the outer ends of both if seeds were added."""
    interval = one.interval(confidence)
    if not anytime:
        return interval
    other = evidence.interval(one.means, 1 - confidence, one.common)
    # NaN, where there are too few seeds for any evidence, gives no interval.
    low, high = min(other.low, interval.low), max(other.high, interval.high)
    return means.Interval(interval.estimate, low, high)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
