"""Tables of `experiments.cost --memory`: the memory of activations, and its files."""

import csv
import io
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from mnv2_jax import arch, atomic
from mnv2_jax.analysis.charts.chart import SUFFIXES
from mnv2_jax.analysis.charts.memory import memory_chart
from mnv2_jax.api import memory
from mnv2_jax.api.memory import Row
from mnv2_jax.terminal import Console, say
from mnv2_jax.train import environment

TARGET, LIMIT = 0.5, 1.5
"""The share of the whole network's peak to reach, and the time that this may take."""


def show(spec: arch.NetworkSpec, style: str, out: str | None, width: int | None) -> None:
    """Measure a network, print the rows, and write them, with a chart, to a folder.

    Args:
      spec: the network.
      style: "table", "csv" or "json".
      out: the folder, if any.
      width: of the tables; by default the terminal's.

    Raises:
      OSError: the folder cannot be written to.
    """
    folder = None if out is None else _folder(out)
    rows = memory.measure(spec, lambda line: say(line, sys.stderr))
    if style == "json":
        records = [row._asdict() for row in rows]
        print(json.dumps({"input": list(spec.input_shape), "memory": records}, indent=1))
    elif style == "csv":
        print(_csv(rows), end="")
    else:
        _print_tables(rows, Console(soft_wrap=True, highlight=False, width=width))
    if folder is None:
        return
    atomic.write_text(folder / "memory.csv", _csv(rows))
    command = shlex.join(["python", "-m", "experiments.cost", *sys.argv[1:]])
    described = json.dumps(environment.describe(command), indent=2)
    atomic.write_text(folder / "environment.json", f"{described}\n")
    chart = memory_chart([row._asdict() for row in _of_network(rows)], TARGET, LIMIT)
    for suffix in SUFFIXES:
        chart.save(folder / "figures" / f"memory{suffix}")
    say(f"Table and figure: {folder}", sys.stderr)


def _folder(out: str) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out={out}: cannot be made ({error.strerror}); expected a folder to write to"
        ) from None
    return folder


def _of_network(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.part == memory.NETWORK]


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row)
    return text.getvalue()


def _print_tables(rows: Sequence[Row], console: Console) -> None:
    by_part: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_part.setdefault(row.part, {})[row.cut] = row
    of_network = by_part.pop(memory.NETWORK)
    first: list[tuple[str, Callable[[Row], str]]] = [
        ("output", lambda row: row.output),
        ("by layer", lambda row: _kb(row.layer_bytes)),
        ("by block", lambda row: _kb(row.operator_bytes)),
        ("largest", lambda row: _kb(row.largest_bytes)),
    ]
    cuts = memory.OF_BLOCKS
    parts = _table("part", *(name for name, _ in first), *(cut.replace(":", "\n") for cut in cuts))
    for name, own in by_part.items():
        whole = own["whole"]
        compiled = (
            _kb(own[cut].temporary_bytes + own[cut].outer_bytes) if cut in own else ""
            for cut in cuts
        )
        parts.add_row(name, *(cell(whole) for _, cell in first), *compiled)
    console.print("kB of each part, float32, one image")
    console.print(parts)
    console.print(
        "By layer, by block: section 5.1, every layer an operator, or blocks computed channel by "
        "channel. Largest: tensor between operators (Table 3). The paper's numbers, of 16 bits, "
        "are half of these. Others: input, output and temporary memory of the compiled part."
    )
    console.print()
    console.print("The network")
    console.print(_network_table(list(of_network.values())))
    whole = of_network["whole"]
    console.print(
        f"Section 5.1: {_kb(whole.layer_bytes)} kB by layer, {_kb(whole.operator_bytes)} kB by "
        f"block; the largest tensor has {_kb(whole.largest_bytes)} kB."
    )
    console.print(
        "Peak: temporary memory that the compiled program allocates; in its default order of "
        "operations, and ordered for least memory. Shares and times, medians of turns, are of the "
        "whole network's in the default order."
    )
    console.print(_verdict(list(of_network.values())))


def _network_table(rows: Sequence[Row]) -> Table:
    table = _table("pieces", "MAdds", "peak kB", "share", "time", "ordered kB", "share", "time")
    whole = rows[0].temporary_bytes
    for row in rows:
        ordered = row.reordered_bytes
        table.add_row(
            row.cut,
            f"{row.madds:,}",
            _kb(row.temporary_bytes),
            f"{row.temporary_bytes / whole:.2f}",
            f"{row.time:.2f}",
            "" if ordered is None else _kb(ordered),
            "" if ordered is None else f"{ordered / whole:.2f}",
            "" if ordered is None else f"{row.reordered_time:.2f}",
        )
    return table


def _verdict(rows: Sequence[Row]) -> str:
    """Return which cuts reach the target within the limit."""
    most = TARGET * rows[0].temporary_bytes
    reached = [
        row.cut
        for row in rows
        if row.temporary_bytes <= most and row.time is not None and row.time < LIMIT
    ]
    return (
        f"At most {TARGET:g} of the whole network's peak in less than {LIMIT:g} times its time: "
        f"{', '.join(reached) or 'none'}."
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=None)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _kb(count: int) -> str:
    return f"{count / 1000:,.1f}" if count < 100_000 else f"{count / 1000:,.0f}"
