"""The report's verdicts as an HTML table, which becomes cards on a narrow screen."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mnv2_jax.analysis import units
from mnv2_jax.analysis.claims import shown
from mnv2_jax.analysis.html.markup import count, difference, signed
from mnv2_jax.analysis.verdicts import VERDICTS, p_text, pair_count

_NUMBERS = ("Difference", "Interval", "Pairs", "Seeds", "p")

_READING = {
    "p_holm": (
        "p (Holm)",
        "The same p, corrected for the number of claims as Holm does it. Verdicts are not: where "
        "it is 0.05 or more, a note says so.",
    ),
    "bootstrap_low": (
        "BCa interval",
        "A bootstrap interval over seeds, bias-corrected and accelerated. It shows to which side "
        "the seeds have their tail. It decides nothing, since with few seeds it is too narrow: in "
        "simulations with six seeds a 95 % one covers 86 %, the t interval 95 %.",
    ),
    "effect_size": (
        "Effect size",
        "The mean of the differences, one for each seed, by their standard deviation (d_z), with "
        "the correction of Hedges for few seeds.",
    ),
    "detectable": (
        "Detectable",
        "The smallest true difference that this design finds in 80 % of repetitions; of an "
        "equivalence, the smallest margin that it can confirm if there is no difference. A smaller "
        "one may be there and stay inconclusive. It takes the scatter of these seeds for the true "
        "one, so it is for planning the next run.",
    ),
    "seeds_needed": (
        "Seeds needed",
        "How many seeds a repetition needs so that its t interval finds a difference as small as "
        "the one seen 8 times in 10; of an equivalence, so that it confirms the margin if there is "
        "no difference. It is not what the sign-flip test needs, whose p cannot come below 0.05 "
        "with fewer than six seeds. It takes the scatter of these seeds for the true one.",
    ),
}
"""Terms, with their explanations, of columns that some claims lack."""


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the numbers of verdicts in a sentence."""
    if not claims:
        return "No claim was put to the test."
    counts = [sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS]
    words = ", ".join(f"{n} {verdict}" for n, verdict in zip(counts, VERDICTS, strict=True) if n)
    return f"{count(len(claims), 'claim')}: {words}."


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of decided claims, as `verdicts.decide` returns them."""
    if not claims:
        return "<p>The configuration makes no claims.</p>"
    head = '<th scope="col">Verdict</th><th scope="col">Claim</th>'
    head += "".join(f'<th scope="col" class="number">{name}</th>' for name in _NUMBERS)
    rows = "\n".join(_claim(row) for row in claims)
    return f'<table class="claims"><thead><tr>{head}</tr></thead>\n{rows}\n</table>'


def reading(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return explanations of the kinds and numbers that these claims have."""
    kinds = {row["kind"]: shown(row)["reading"] for row in claims}
    present = {name for row in claims for name, value in row.items() if value is not None}
    entries = [reading for reading in kinds.values() if reading]
    entries += [[*entry] for name, entry in _READING.items() if name in present]
    return "".join(f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>\n" for term, text in entries)


def _claim(row: Mapping[str, Any]) -> str:
    kind, measure = shown(row), units.measure_of_row(row)
    margin = f"<small>{escape(kind['margin'])}</small>" if kind["margin"] else ""
    estimate = "not measured"
    if row["estimate"] is not None:
        estimate = escape(difference(measure, row["estimate"]))
    interval = "none"
    if row["ci_low"] is not None:
        level = f"<small>{100 * row['confidence']:.0f}\N{NO-BREAK SPACE}%</small>"
        ends = f"{signed(measure, row['ci_low'])} to {signed(measure, row['ci_high'])}"
        interval = f"{ends}{level}"
    texts = (
        estimate + margin,
        interval,
        pair_count(row),
        str(row["seeds"]),
        escape(p_text(row["p_value"])),
    )
    cells = "".join(
        f'<td class="number" data-label="{label}">{text}</td>'
        for label, text in zip(_NUMBERS, texts, strict=True)
    )
    metric = f"{kind['kind']} {row['metric'].replace('_', ' ')}".strip()
    more = "".join(_more(row))
    second = f'\n<tr class="more"><td></td><td colspan="6">{more}</td></tr>' if more else ""
    return (
        f'<tbody><tr><td class="verdict {row["verdict"]}">{row["verdict"].capitalize()}</td>'
        f'<th scope="row">{escape(row["statement"])}<small>{escape(row["name"])} '
        f"({escape(row['source'])}, {escape(metric)})</small></th>{cells}</tr>{second}</tbody>"
    )


def _more(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines below a claim: further numbers, notes, and when it was stated."""
    numbers = "".join(f"<li>{escape(text)}</li>" for text in _further_numbers(row))
    if numbers:
        yield f"<ul>{numbers}</ul>"
    yield from (f"<p>{escape(note)}</p>" for note in row.get("notes") or ())
    if row.get("stated"):
        yield f"<p>{escape(_stated(row['stated']))}</p>"


def _further_numbers(row: Mapping[str, Any]) -> Iterator[str]:
    measure, present = units.measure_of_row(row), {k for k, v in row.items() if v is not None}
    if {"bootstrap_low", "bootstrap_high"} <= present:
        low, high = (signed(measure, row[name]) for name in ("bootstrap_low", "bootstrap_high"))
        yield f"BCa interval {low} to {high}"
    if "p_holm" in present:
        yield f"p (Holm) {p_text(row['p_holm'])}"
    if "effect_size" in present:
        yield f"effect size {row['effect_size']:.2f}".replace("-", "−")
    if "detectable" in present:
        unit = "" if measure.is_fraction else measure.unit
        yield units.with_unit(f"detectable ±{measure.size(row['detectable'])}", unit)
    if "seeds_needed" in present:
        yield f"seeds needed for the {shown(row)['seeds_for']}: {row['seeds_needed']:,.0f}"


def _stated(stated: Mapping[str, Any]) -> str:
    where = f"Stated in {stated['config']}" if stated.get("config") else "Stated"
    if stated.get("commit"):
        where += f" at {stated['commit'][:12]}"
        where += " with uncommitted changes" if stated.get("dirty") else ""
    when = f", {stated['when']}," if stated.get("when") else ""
    finished = stated.get("finished")
    if finished is None:
        return f"{where}{when.removesuffix(',')}."
    if finished == 0:
        return f"{where}{when} before any run."
    were = "run was" if finished == 1 else "runs were"
    return f"{where}{when} after {finished:,} {were} finished."
