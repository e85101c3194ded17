"""Decisions of claims by the records of runs, and their wording."""

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from mnv2_jax import checksums
from mnv2_jax.analysis import caveats, coverage, decisions, power, resampling, stats, units
from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision
from mnv2_jax.analysis.units import Measure, with_unit
from mnv2_jax.side_tables import is_of_side_table

_COLOURS = {
    decisions.SUPPORTED: "bold green",
    decisions.REFUTED: "bold red",
    decisions.INCONCLUSIVE: "bold yellow",
    decisions.RUINED: "bold red",
}

VERDICTS = tuple(_COLOURS)

_FIELDS = ("name", "kind", "source", "statement", "metric")

# Letters of a line in the terminal's table:
_NARROW = 22  # of text on a margin, at most
_WIDE = 26  # of an estimate and its interval, at most; else the interval takes a line of its own


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


def decide(claims: Iterable[Claim], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Decide each claim by the results.

    A number that the results do not give (no pairs, or an interval from one seed) is None, and
    the verdict is then inconclusive.

    Args:
      claims: of any kind; the family of Holm's correction.
      frame: one row per run, as `tables.read_results` returns it.

    Returns:
      One dict per claim, ready for JSON:

      - name, kind, source, statement, metric: of the claim, and other fields that its kind names,
        such as margin.
      - claim: further fields of the claim, from which `claims.recorded` makes it again.
      - measure: the format of the metric; shown: the format of the kind (`claims.Shown`).
      - estimate, ci_low, ci_high, confidence: with the t interval, as the metric is stored, an
        accuracy as a fraction of 1. bootstrap_low, bootstrap_high: the BCa interval of the same
        confidence.
      - verdict; p_value; p_holm: p after Holm's correction.
      - pairs, seeds; dropped: pairs left out, one of whose runs is missing or did not finish.
      - effect_size: the estimate in units of its scatter over seeds (`power.effect_size`).
      - detectable, seeds_needed: of a repetition of the design (`power.design`).
      - notes: sentences.

      An equivalence reports its two values that lie furthest apart (the later minus the earlier),
      a monotone claim the rise from its first value to its last; p is the largest, seeds the
      fewest, and pairs and dropped the sums over all its comparisons.

    Raises:
      ValueError: a claim names a column that the results lack.
    """
    chosen = [(claim, claim.runs(frame)) for claim in claims]
    decided = [(claim, runs, _decide(claim, runs)) for claim, runs in chosen]
    adjusted = stats.holm([decision.p_value for *_, decision in decided])
    rows = []
    for (claim, runs, decision), p_holm in zip(decided, adjusted, strict=True):
        row = _row(claim, runs, decision) | {"p_holm": _number(p_holm)}
        absent = coverage.absent(claim, frame)
        unpaired = [] if row["seeds"] else coverage.unpaired(claim, frame)
        notes = caveats.write(claim, row, decision, len(decided), absent, unpaired)
        if is_of_side_table(claim.metric) and claim.metric not in frame:
            table = claim.metric.partition("/")[0]
            notes.insert(0, f"There is no side table {table}: experiments.evaluate writes it.")
        ruined, of = coverage.ruined(claim, frame)
        if ruined:
            notes.insert(0, caveats.on_ruined_pairs(ruined, of))
            if row["verdict"] == decisions.INCONCLUSIVE:
                row["verdict"] = decisions.RUINED
        rows.append(row | {"notes": notes})
    return rows


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


def claims_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return decided claims as a table for the terminal, with notes below."""
    table = Table(title="Claims", title_justify="left", caption_justify="left", show_lines=True)
    table.add_column("Claim", ratio=1)
    table.add_column("Difference", no_wrap=True)
    table.add_column("Pairs", no_wrap=True)
    table.add_column("p\n(Holm)", justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    names_by_note: dict[str, list[str]] = {}
    for row in rows:
        table.add_row(
            Text.assemble(row["statement"], (f" ({row['source']})", "dim")),
            Text("\n".join(_difference_lines(row))),
            Text(f"{pair_count(row)}\n{row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"),
            Text(f"{p_text(row['p_value'])}\n({p_text(row['p_holm'])})"),
            Text(row["verdict"], style=_COLOURS[row["verdict"]]),
        )
        for note in row["notes"]:
            names_by_note.setdefault(note, []).append(row["name"])
    lines = (f"{', '.join(names)}: {note}" for note, names in names_by_note.items())
    table.caption = Text("\n".join(lines))
    return table


def claims_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return decided claims as a Markdown table, percentage points without their unit.

    A dagger at a verdict marks a p (Holm) of 0.05 or more.
    """
    marked = False
    lines = [
        "| Claim | Source | Difference [interval] | Pairs | p (Holm) | Verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference = difference_text(row).removesuffix(" pt")
        interval = "" if row["ci_low"] is None else f" ({100 * row['confidence']:.0f} %)"
        p_value = f"{p_text(row['p_value'])} ({p_text(row['p_holm'])})"
        verdict = row["verdict"]
        if verdict != decisions.INCONCLUSIVE:
            doubted = caveats.is_doubted(row)
            marked |= doubted
            verdict = f"**{verdict}**{' †' if doubted else ''}"
        statement, source = (row[key].replace("|", "\\|") for key in ("statement", "source"))
        lines.append(
            f"| {statement} | {source} | {difference}{interval} | {pair_count(row)} | {p_value} "
            f"| {verdict} |"
        )
    if marked:
        lines += ["", "† p (Holm) is 0.05 or more; the interval decides."]
    return "\n".join(lines)


def difference_text(row: Mapping[str, Any]) -> str:
    """Return a decided claim's estimate and interval as text: `+7.6 [+6.9, +8.2] pt`."""
    measure = units.measure_of_row(row)
    if row["estimate"] is None:
        return "not measured"
    return with_unit(f"{measure.signed(row['estimate'])}{_interval(row)}", measure.of_differences)


def pair_count(row: Mapping[str, Any]) -> str:
    """Return the number of pairs of a decided claim as text: `70 of 72`, or `70 of 72 runs`."""
    counted = shown(row)["counted"]
    return with_unit(
        f"{row['pairs']} of {row['pairs'] + row['dropped']}", "" if counted == "pairs" else counted
    )


def p_text(p_value: float | None) -> str:
    """Return a p value as text with the digits that matter: `0.031`, or `< 0.001`."""
    if p_value is None:
        return "none"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _difference_lines(row: Mapping[str, Any]) -> list[str]:
    measure, text = units.measure_of_row(row), difference_text(row)
    lines = [text]
    if len(text) > _WIDE:
        lines = [
            with_unit(measure.signed(row["estimate"]), measure.of_differences),
            _interval(row).strip(),
        ]
    level = "no interval" if row["ci_low"] is None else f"{100 * row['confidence']:.0f} % interval"
    return [*lines, level, *_margin_lines(shown(row)["margin"], measure)]


def _margin_lines(margin: str, measure: Measure) -> list[str]:
    """Break a text on a margin into short lines, with units beside their numbers."""
    for unit in {measure.unit, measure.of_differences} - {""}:
        margin = margin.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    lines = textwrap.wrap(margin, _NARROW)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _interval(row: Mapping[str, Any]) -> str:
    if row["ci_low"] is None:
        return ""
    measure = units.measure_of_row(row)
    return f" [{measure.signed(row['ci_low'])}, {measure.signed(row['ci_high'])}]"


def _decide(claim: Claim, runs: Runs) -> Decision:
    try:
        return claim.decide(runs)
    except ValueError:
        raise
    except Exception as error:  # A user's own kind may raise anything.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"a claim of kind {claim.kind} raises {reason}") from error


def _row(claim: Claim, runs: Runs, decision: Decision) -> dict[str, Any]:
    reported, comparisons = decision.reported, decision.comparisons
    interval = reported.interval(claim.confidence)
    bootstrap = resampling.bootstrap_interval(reported.means, claim.confidence)
    row: dict[str, Any] = {
        **{name: getattr(claim, name) for name in _FIELDS},
        "measure": dataclasses.asdict(runs.measure),
        "estimate": _number(interval.estimate),
        "ci_low": _number(interval.low),
        "ci_high": _number(interval.high),
        "confidence": claim.confidence,
        "bootstrap_low": _number(bootstrap.low),
        "bootstrap_high": _number(bootstrap.high),
        "pairs": sum(one.pairs for one in comparisons),
        "seeds": min(len(one.means) for one in comparisons),
        "dropped": sum(one.dropped for one in comparisons),
        "p_value": _number(decision.p_value),
        "verdict": decision.verdict,
        "effect_size": _number(power.effect_size(reported.means)),
        **claim.design(reported.means),
        **{name: getattr(claim, name) for name in claim.in_rows},
        "claim": claim.record(),
    }
    return row | {"shown": claim.shown(row)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
