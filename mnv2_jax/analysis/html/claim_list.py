"""The report's claims: a sentence for each, its interval beside it, and details to unfold."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mnv2_jax.analysis import units
from mnv2_jax.analysis.claim_tables import p_text, pair_count
from mnv2_jax.analysis.claims import shown
from mnv2_jax.analysis.decisions import SUPPORTED
from mnv2_jax.analysis.html.intervals import Forest
from mnv2_jax.analysis.html.markup import count, signed
from mnv2_jax.analysis.verdicts import VERDICTS
from mnv2_jax.side_tables import is_of_side_table

_SPACE = "\N{NO-BREAK SPACE}"

_READING = {
    "p_holm": (
        "p (Holm)",
        "The p of the verdict that is nearest, corrected for the number of claims as Holm does it. "
        "There is a verdict where it is below 0.05: so of all repetitions of this experiment, 95 % "
        "have no false one.",
    ),
    "of_images": (
        "Share of test images",
        "The interval counts seeds and test images as samples. This share of its variance comes "
        "from the images: more seeds do not lower it, more test images do.",
    ),
    "seeds_low": (
        "Over seeds alone",
        "The t interval for other seeds, as if their test images were all there are.",
    ),
    "joint_low": (
        "Together",
        "The interval that holds together with those of all claims, in 95 % of repetitions "
        "(Bonferroni; 90 % where the claim's own has 90 %).",
    ),
    "sign_flip_p": (
        "Sign-flip p",
        "The exact test over seeds that assumes no distribution. It decides nothing, and n seeds "
        "cannot give less than 2 / 2^n.",
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
        "no difference. It takes the scatter of these seeds for the true one.",
    ),
}
"""Terms, with their explanations, of columns that some claims lack."""


_INTERVALS = {"seeds": "over seeds alone", "joint": "together", "bootstrap": "BCa interval"}
"""The intervals beside the one that is shown, by the beginning of their keys."""


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the numbers of verdicts in a sentence."""
    if not claims:
        return "No claim was put to the test."
    counts = [sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS]
    words = ", ".join(f"{n} {verdict}" for n, verdict in zip(counts, VERDICTS, strict=True) if n)
    return f"{count(len(claims), 'claim')}: {words}."


def claims(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return decided claims, as `verdicts.decide` returns them, as an HTML list with a forest."""
    if not rows:
        return ""
    by_unit: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_unit.setdefault(units.measure_of_row(row).unit, []).append(row)
    forests = {unit: Forest(own) for unit, own in by_unit.items()}
    items = "\n".join(_claim(row, forests[units.measure_of_row(row).unit]) for row in rows)
    axes = "".join(
        f'<div class="claim axis">{forest.axis()}</div>'
        for unit, forest in forests.items()
        if any(row["estimate"] is not None for row in by_unit[unit])
    )
    return f'<ol class="claims">\n{items}\n</ol>\n{axes}'


def sentence(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return a decided claim in words, and its estimate with the interval in words.

    Both follow the verdict: "Supported: " + "A linear projection beats ReLU6, by " +
    "1.3 points [0.9, 1.7]".
    """
    measure = units.measure_of_row(row)
    statement, noun = (row["statement"] or row["name"]).rstrip("."), shown(row)["estimate"]
    if row["estimate"] is None:
        return statement, "; not measured"
    ends = [row["estimate"], row["ci_low"], row["ci_high"]]
    if not noun and row["verdict"] == SUPPORTED:
        words = f"{statement}, by "
        gains = sorted(measure.sign * end for end in ends)
        low, estimate, high = map(measure.size, gains)
    else:
        words = f"{statement}; {noun or 'difference'} "
        estimate, low, high = ("" if end is None else signed(measure, end) for end in ends)
    number = units.with_unit(estimate, measure.in_sentences)
    metric = "" if row["metric"] == "test_accuracy" else f" in {_metric(row)}"
    if row["ci_low"] is None:
        return words, f"{number}{metric}, without an interval"
    percent = f"{100 * row['confidence']:.0f}{_SPACE}%"
    level = "" if row["confidence"] == 0.95 else f"{_SPACE}({percent})"
    return words, f"{number}{metric} [{low},{_SPACE}{high}]{level}"


def _metric(row: Mapping[str, Any]) -> str:
    """Return the name of a claim's metric in words."""
    if is_of_side_table(row["metric"]):
        return units.within(units.measure_of_row(row).label)
    return str(row["metric"]).replace("_", " ")


def reading(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return explanations of the kinds and numbers that these claims have."""
    kinds = {row["kind"]: shown(row)["reading"] for row in claims}
    present = {name for row in claims for name, value in row.items() if value is not None}
    entries = [reading for reading in kinds.values() if reading]
    entries += [[*entry] for name, entry in _READING.items() if name in present]
    return "".join(f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>\n" for term, text in entries)


def _claim(row: Mapping[str, Any], forest: Forest) -> str:
    words, numbers = sentence(row)
    verdict = f'<strong class="verdict {row["verdict"]}">{row["verdict"].capitalize()}:</strong>'
    notes = len(row.get("notes") or ())
    brief = [count(row["seeds"], "seed"), f"{pair_count(row)} {shown(row)['counted']}"]
    if shown(row)["counted"] != "pairs":
        brief[1] = pair_count(row)
    brief += [f"p {p_text(row['p_value'])}", *([count(notes, "note")] if notes else [])]
    return (
        f'<li class="claim"><div><p>{verdict} {escape(words)}'
        f'<span class="estimate">{escape(numbers)}</span></p>\n'
        f"<details><summary>{escape(', '.join(brief))}</summary>\n{''.join(_more(row))}</details>"
        f"</div>{forest.interval(row)}</li>"
    )


def _more(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is unfolded: origin, further numbers, notes, and when the claim was stated."""
    kind = shown(row)
    metric = f"{kind['kind']} {_metric(row)}".strip()
    yield f"<p>{escape(row['name'])} ({escape(row['source'])}, {escape(metric)})</p>"
    numbers = "".join(f"<li>{escape(text)}</li>" for text in _further_numbers(row))
    yield f"<ul>{numbers}</ul>" if numbers else ""
    yield from (f"<p>{escape(note)}</p>" for note in row.get("notes") or ())
    if row.get("stated"):
        yield f"<p>{escape(_stated(row['stated']))}</p>"


def _further_numbers(row: Mapping[str, Any]) -> Iterator[str]:
    measure, present = units.measure_of_row(row), {k for k, v in row.items() if v is not None}
    if margin := shown(row)["margin"]:
        yield margin
    if row.get("selected"):
        yield f"shown is {row['selected']}"
    if "of_images" in present:
        share = f"{100 * row['of_images']:.0f}{_SPACE}%"
        count = row["test_images"]
        yield f"{share} of the variance from {f'{count:,} test images' if count else 'images'}"
    for prefix, name in _INTERVALS.items():
        if {f"{prefix}_low", f"{prefix}_high"} <= present:
            low, high = (signed(measure, row[f"{prefix}_{end}"]) for end in ("low", "high"))
            yield f"{name} {low} to {high}"
    if "p_holm" in present:
        yield f"p (Holm) {p_text(row['p_holm'])}"
    if shown(row)["estimate"]:  # A claim of several tests.
        for name in ("support", "refute"):
            if f"p_{name}" in present:
                yield f"p to {name} {p_text(row[f'p_{name}'])}"
    if "sign_flip_p" in present:
        yield f"sign-flip p {p_text(row['sign_flip_p'])}"
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
