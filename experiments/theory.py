"""Simulate the paper's theory of ReLU in few dimensions: Theorem 1, Figures 1 and 7.

  python -m experiments.theory
  python -m experiments.theory --only=theorem1,spiral
  python -m experiments.theory --only=figure7 --pretrained=mobilenet_v2.safetensors

It prints tables and writes them as CSV to --out, figures as SVG and PNG to its figures/. On two
cores it takes half a minute. Parts:

  theorem1   Appendix A: fractions of inputs that ReLU(Bx) collapses, measured beside predicted
  spiral     Figure 1, and the error of its reconstructions over the number of dimensions
  rank       ranks of random ReLU layers beside the formula of Makwana 2025
  figure7    positive fractions of expanded channels: random weights, and those of --pretrained
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from absl import flags
from rich.table import Table

from experiments import command_line
from mnv2_jax import atomic
from mnv2_jax.analysis import figure_7, ranks, theory
from mnv2_jax.analysis.charts import theory as charts
from mnv2_jax.analysis.charts.chart import SUFFIXES, Chart
from mnv2_jax.terminal import Console, counter, outlive, say

if TYPE_CHECKING:
    from mnv2_jax.api.figure_7 import Positive

_OUT = flags.DEFINE_string("out", "runs/theory", "The folder to write to.")
_ONLY = flags.DEFINE_list("only", None, "Parts, separated by commas. Default: all.")
_SEEDS = flags.DEFINE_integer("seeds", 8, "Number of independent seeds, from 0.")
_DRAWS = flags.DEFINE_integer(
    "samples",
    20_000,
    "Random layers of each seed and row of theorem1; of the spiral an 80th of it.",
)
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "A network.safetensors, its run, or weights of Keras, torchvision or timm."
)
_RESOLUTION = flags.DEFINE_integer("resolution", 224, "Of the networks with random weights.")

_WIDTH_OF_FILES = 120

_LEAST = {"seeds": 2, "samples": 80, "resolution": 32}


def main() -> int:
    """Simulate the chosen parts, print tables and write files.

    Raises:
      ValueError: a flag is wrong.
      OSError: a file cannot be written.
    """
    names = chosen(_ONLY.value)
    for name, least in _LEAST.items():
        value = flags.FLAGS[name].value
        if not value or value < least:
            raise ValueError(f"--{name}={value}: expected {least} or more")
    out = Path(_OUT.value)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: it is a file; expected a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out={out}: cannot be made ({error.strerror}); expected a folder to write to"
        ) from None
    if _PRETRAINED.value and "figure7" not in names:
        raise ValueError(
            f"--pretrained={_PRETRAINED.value}: read by figure7 alone; expected --only with figure7"
        )
    outlive("stdout")
    if "figure7" in names:
        _trained()  # It may be refused, before other parts take their time.
    for name in names:
        PARTS[name](out)
    say(f"Tables and figures: {out}")
    return 0


def chosen(only: Sequence[str] | None) -> list[str]:
    """Return the names in `--only`, by default all, in the order of `PARTS`."""
    if only is None:
        return list(PARTS)
    for name in only or [""]:
        if name not in PARTS:
            raise ValueError(f"--only={name}: expected some of {', '.join(PARTS)}")
    return [name for name in PARTS if name in only]


def theorem_1(out: Path) -> None:
    """Measure collapsed fractions, decide whether they are those predicted, and print the table."""
    count = counter(say, _SEEDS.value * len(theory.CASES), "simulations of theorem1")
    frame = theory.measure_collapse(_SEEDS.value, _DRAWS.value, count=count)
    rows = theory.theorem_1(frame)
    _write_csv(out, "theorem1", rows)
    _write_csv(out, "theorem1_seeds", frame.drop(columns="status").to_dict("records"))
    shown = [
        {
            "n": f"{row['inputs']}",
            "m": f"{row['outputs']}",
            "predicted": _number(row["predicted"]),
            "measured": _number(row["measured"]),
            "95 % interval": f"[{_number(row['low'])}, {_number(row['high'])}]",
            "margin": f"{row['margin']:.2g}",
            "verdict": row["verdict"],
            "sampling": row["sampling"],
        }
        for row in rows
    ]
    _print_table("Theorem 1: fraction of inputs that ReLU(Bx) collapses, B m x n", shown)
    for words, low, high in (("own", "low", "high"), ("joint", "joint_low", "joint_high")):
        inside = sum(row[low] <= row["predicted"] <= row[high] for row in rows)
        say(f"{inside} of {len(rows)} predictions lie in their {words} 95 % intervals.")
    say(
        "Appendix A calls N / 2^m the fraction of collapsed space; by its theorem that is the "
        "fraction not collapsed.\n"
    )


def spiral(out: Path) -> None:
    """Draw Figure 1, and the errors of its reconstructions over dimensions."""
    points = theory.spiral()
    panels = {"Input": points}
    for dimension in theory.DIMENSIONS:
        rng = np.random.default_rng([0, dimension])
        panels[f"dim = {dimension}"] = theory.reconstructed(rng, points, dimension)[0]
    _save(out, "spiral", charts.spiral_chart(panels))
    errors = list(theory.spiral_errors(_SEEDS.value, _DRAWS.value // 80))
    _write_csv(out, "spiral", errors)
    _save(out, "spiral_error", charts.errors_chart(errors))
    shown = [
        {
            "dimensions": f"{row['dimension']}",
            "reconstruction": row["reconstruction"],
            "median": f"{row['median']:.3f}",
            "5 to 95 %": f"{row['low']:.3f} to {row['high']:.3f}",
        }
        for row in errors
        if row["dimension"] in theory.DIMENSIONS
    ]
    title = f"Figure 1: relative RMS error of the spiral, {errors[0]['samples']:,} random T"
    _print_table(title, shown)
    say(
        "T is Gaussian and its inverse the pseudoinverse: the paper gives neither. As it is, the "
        "error goes to 1/2, since ReLU passes half of a symmetric signal.\n"
    )


def rank(out: Path) -> None:
    """Print the ranks of random ReLU layers beside the formula."""
    rows = list(ranks.rank_rows(_SEEDS.value))
    _write_csv(out, "rank", rows)
    shown = [
        {
            "width": f"{row['width']}",
            "layer": f"{row['layer']}",
            "formula": f"{row['formula']:.3f}",
            "directions that return": f"{row['returning_model']:.3f}",
            "rank": f"{row['relu_rank']:.3f}",
            "participation ratio": f"{row['relu_participation']:.3f}",
        }
        for row in rows
        if row["layer"] in (1, 2, 3, 5, 10)
    ]
    title = f"Random ReLU layers: rank of {ranks.INPUTS} inputs, as a fraction of {ranks.INPUTS}"
    _print_table(title, shown)
    say(
        "The formula, by the abstract of arXiv 2507.07675: 1 - (1 - 2/pi)^l. It rises with the "
        "layer; rank and participation ratio of ReLU layers do not.\n"
    )


def positive(out: Path) -> None:
    """Measure positive fractions of expanded channels; draw them beside Figure 7."""
    from mnv2_jax.api import figure_7 as measure

    trained = _trained()
    count = counter(say, _SEEDS.value, "random networks measured")
    found = measure.initial(_SEEDS.value, _RESOLUTION.value, count)
    _write_csv(out, "figure7a", found.rows)
    table = figure_7.over_seeds(found.rows)
    _print_positive(f"Figure 7a: random weights, {_SEEDS.value} seeds, {found.images}", table)
    ends = (*figure_7.INITIAL["average"], *figure_7.INITIAL["minimum"])
    say("The paper: averages {} to {}, minima {} to {}.\n".format(*ends))
    main = table[table["moments"] == figure_7.BATCH]
    notes = [
        f"MobileNetV2 at random weights, moments of the batch, {found.images}: means and ranges of "
        f"{_SEEDS.value} seeds. Wide areas: the paper's ranges over blocks (Figure 7a)."
    ]
    title = "Figure 7a: positive channels at random weights"
    _save(out, "figure7a", charts.initial_chart(main, title, found.threshold, notes))
    if trained is None:
        return
    _write_csv(out, "figure7b", trained.rows)
    table = figure_7.over_seeds(trained.rows)
    _print_positive(
        f"Figure 7b: {_PRETRAINED.value}, {trained.images}", table, figure_7.TRAINED["minimum"]
    )
    say("The paper: averages {} to {}.\n".format(*figure_7.TRAINED["average"]))
    main = table[table["moments"] == figure_7.RUNNING]
    notes = [
        f"A trained network, running moments, {trained.images}. The paper's: minima of Figure 7b, "
        f"MobileNetV2 on ImageNet."
    ]
    title = "Figure 7b: positive channels of a trained network"
    _save(out, "figure7b", charts.positive_chart(main, title, trained.threshold, notes))


@functools.cache
def _trained() -> "Positive | None":
    """Measure the network of `--pretrained`; None without one."""
    # Jax takes seconds to import, which the other parts need not.
    from mnv2_jax.api import figure_7 as measure
    from mnv2_jax.train import setup

    setup.begin(keep_programs=False)
    if not _PRETRAINED.value:
        return None
    try:
        return measure.trained(Path(_PRETRAINED.value), say)
    except ValueError as error:
        raise ValueError(f"--pretrained={error}") from None


PARTS: Mapping[str, Callable[[Path], None]] = {
    "theorem1": theorem_1,
    "spiral": spiral,
    "rank": rank,
    "figure7": positive,
}


def _print_positive(title: str, table: pd.DataFrame, minima: Sequence[float] = ()) -> None:
    """Print averages and minima of each block, with both kinds of moments."""
    by_moments = {
        name: part.set_index("expanding_block") for name, part in table.groupby("moments")
    }
    rows = []
    for number, batch in by_moments[figure_7.BATCH].iterrows():
        row = {"block": str(batch["block"])}
        for name in ("average", "minimum"):
            for moments, part in by_moments.items():
                row[f"{name}, {moments}"] = f"{part.loc[number, name]:.3f}"
        if len(minima) == len(by_moments[figure_7.BATCH]):
            row["paper's minimum"] = f"{minima[number - 1]:.3f}"
        rows.append(row)
    _print_table(title, rows)


def _print_table(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    table = Table(box=None)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row.values())
    say(title)
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES).print(table)


def _number(value: float | str) -> str:
    """Write a fraction with four digits, those close to 1 by their distance from it."""
    number = float(value)
    if 0 < 1 - number < theory.RARE:
        return f"1 - {1 - number:.4g}"
    return f"{number:.4g}"


def _write_csv(out: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    atomic.write_text(out / f"{name}.csv", text)


def _save(out: Path, name: str, chart: Chart) -> None:
    for suffix in SUFFIXES:
        chart.save(out / "figures" / f"{name}{suffix}")


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
