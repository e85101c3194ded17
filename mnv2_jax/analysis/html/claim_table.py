"""The report's verdicts, as an HTML table that becomes cards on a narrow screen."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mnv2_jax.analysis.html.markup import count, points
from mnv2_jax.analysis.verdicts import VERDICTS, p_text, pair_count

_NUMBERS = ("Difference", "Interval", "Pairs", "Seeds", "p")

_READING = {
    "interaction": (
        "Interaction",
        "A difference of differences: by how much more one value leads at the first setting than "
        "at the second. Decided as “one is better” is.",
    ),
    "monotone": (
        "Monotone",
        "Shown is the rise from the first value to the last. Supported when its 95 % interval lies "
        "above zero and the 90 % interval of no step reaches below the fall that is allowed. "
        "Refuted by one interval that lies wholly below; the more steps, the wider these intervals "
        "are made (Bonferroni). p is the largest of the sign-flip test of the rise and one-sided t "
        "tests of the steps.",
    ),
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
"""What is said only where a claim has it."""


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """Counts the verdicts in a sentence."""
    if not claims:
        return "No claim was put to the test."
    counts = [sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS]
    words = ", ".join(f"{n} {verdict}" for n, verdict in zip(counts, VERDICTS, strict=True) if n)
    return f"{count(len(claims), 'claim')}: {words}."


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """Lays decided claims out, as `verdicts.decide` returns them."""
    if not claims:
        return "<p>The configuration makes no claims.</p>"
    head = "".join(
        f'<th scope="col"{css}>{label}</th>'
        for label, css in (
            ("Verdict", ""),
            ("Claim", ""),
            *((name, ' class="number"') for name in _NUMBERS),
        )
    )
    rows = "\n".join(_claim(row) for row in claims)
    return f'<table class="claims"><thead><tr>{head}</tr></thead>\n{rows}\n</table>'


def reading(claims: Sequence[Mapping[str, Any]]) -> str:
    """Explains those kinds of claims and numbers that these claims have."""
    present = {row.get("kind") for row in claims}
    present |= {name for row in claims for name, value in row.items() if value is not None}
    return "".join(
        f"<dt>{term}</dt>\n<dd>{text}</dd>\n"
        for name, (term, text) in _READING.items()
        if name in present
    )


def _claim(row: Mapping[str, Any]) -> str:
    margin = f"<small>margin ±{100 * row['margin']:.1f}</small>" if row.get("margin") else ""
    if margin and row.get("kind") == "monotone":  # what counts there is how far a step may fall
        margin = margin.replace("±", "−")
    estimate = "not measured" if row["estimate"] is None else points(row["estimate"])
    interval = "none"
    if row["ci_low"] is not None:
        level = f"<small>{100 * row['confidence']:.0f}\N{NO-BREAK SPACE}%</small>"
        interval = f"{points(row['ci_low'])} to {points(row['ci_high'])}{level}"
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
    metric = row["metric"].replace("_", " ")
    if row.get("kind", "greater") != "greater":
        metric = f"{row['kind']} {metric}"
    more = "".join(_more(row))
    second = f'\n<tr class="more"><td></td><td colspan="6">{more}</td></tr>' if more else ""
    return (
        f'<tbody><tr><td class="verdict {row["verdict"]}">{row["verdict"].capitalize()}</td>'
        f'<th scope="row">{escape(row["statement"])}<small>{escape(row["name"])} '
        f"({escape(row['source'])}, {metric})</small></th>{cells}</tr>{second}</tbody>"
    )


def _more(row: Mapping[str, Any]) -> Iterator[str]:
    """Lines below a claim: further numbers, notes, and when it was stated."""
    numbers = "".join(f"<li>{escape(text)}</li>" for text in _further_numbers(row))
    if numbers:
        yield f"<ul>{numbers}</ul>"
    yield from (f"<p>{escape(note)}</p>" for note in row.get("notes") or ())
    if row.get("stated"):
        yield f"<p>{escape(_stated(row['stated']))}</p>"


def _further_numbers(row: Mapping[str, Any]) -> Iterator[str]:
    def given(name: str) -> Any:
        return row.get(name)

    if given("bootstrap_low") is not None and given("bootstrap_high") is not None:
        yield f"BCa interval {points(row['bootstrap_low'])} to {points(row['bootstrap_high'])}"
    if given("p_holm") is not None:
        yield f"p (Holm) {p_text(row['p_holm'])}"
    if given("effect_size") is not None:
        yield f"effect size {row['effect_size']:.2f}".replace("-", "−")
    if given("detectable") is not None:
        yield f"detectable ±{100 * row['detectable']:.1f}"
    if given("seeds_needed") is not None:
        seen = "margin" if row.get("kind") == "equivalent" else "difference seen"
        yield f"seeds needed for the {seen}: {row['seeds_needed']:,.0f}"


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
