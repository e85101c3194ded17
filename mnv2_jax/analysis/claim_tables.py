"""Decided claims as tables: for the terminal, for Markdown and for LaTeX."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from mnv2_jax.analysis import units
from mnv2_jax.analysis.claims import shown
from mnv2_jax.analysis.decisions import INCONCLUSIVE, NEGLIGIBLE, REFUTED, RUINED, SUPPORTED
from mnv2_jax.analysis.units import Measure, with_unit

_COLOURS = {
    SUPPORTED: "bold green",
    REFUTED: "bold red",
    NEGLIGIBLE: "bold cyan",
    INCONCLUSIVE: "bold yellow",
    RUINED: "bold red",
}

# Letters of a line in the terminal's table:
_NARROW = 22  # of text on a margin, at most
_WIDE = 26  # of an estimate and its interval, at most; else the interval takes a line of its own


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
            Text("\n".join([pair_count(row), *_samples(row)])),
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

    Beside the seeds stand the test images, if the interval counts them as a sample too.
    """
    lines = [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for row in rows:
        *others, verdict = (cell.replace("|", "\\|") for cell in _cells(row))
        if verdict != INCONCLUSIVE:
            verdict = f"**{verdict}**"
        lines.append(f"| {' | '.join([*others, verdict])} |")
    return "\n".join(lines)


def claims_latex(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return decided claims as a LaTeX table of the package booktabs, as `claims_markdown` does."""
    lines = [r"\begin{tabular}{p{0.3\linewidth}p{0.15\linewidth}lrrrl}", r"\toprule"]
    lines += [" & ".join(_HEAD) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_escaped, _cells(row))) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


_HEAD = (
    *("Claim", "Source", "Difference [interval]", "Seeds, images", "Pairs", "p (Holm)", "Verdict"),
)


def _cells(row: Mapping[str, Any]) -> list[str]:
    interval = "" if row["ci_low"] is None else f" ({100 * row['confidence']:.0f} %)"
    return [
        *(row["statement"], row["source"]),
        f"{difference_text(row).removesuffix(' pt')}{interval}",
        *(", ".join(text.split()[0] for text in _samples(row)), pair_count(row)),
        f"{p_text(row['p_value'])} ({p_text(row['p_holm'])})",
        row["verdict"],
    ]


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "±": r"$\pm$"},
}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def difference_text(row: Mapping[str, Any]) -> str:
    """Return a decided claim's estimate and interval as text: `+7.6 [+6.9, +8.2] pt`."""
    measure = units.measure_of_row(row)
    if row["estimate"] is None:
        return "not measured"
    return with_unit(f"{measure.signed(row['estimate'])}{_interval(row)}", measure.of_differences)


def _samples(row: Mapping[str, Any]) -> list[str]:
    """Return the numbers of what the interval counts as samples: `6 seeds`, `500 images`."""
    seeds, images = row["seeds"], row.get("test_images")
    return [
        f"{seeds} seed{'' if seeds == 1 else 's'}",
        *([f"{images:,} images"] if images else []),
    ]


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
