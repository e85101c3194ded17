"""From the records in a workdir to verdicts, figures and a page to read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnv2_jax.analysis import stated, tables
from mnv2_jax.analysis.charts import make_charts, or_told
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.html import page
from mnv2_jax.analysis.verdicts import decide, write_decided
from mnv2_jax.atomic import write_bytes, write_text


def analyse(
    workdir: Path, claims: Iterable[Claim], *, title: str, command: str
) -> list[dict[str, Any]]:
    """Decide `claims` by the runs in `workdir` and write what came out beside them.

    Writes `claims.json`, figures as SVG and PNG, and `report.html`, each in one step. The same
    records give the same bytes. A figure that cannot be drawn is left out and told of.

    Args:
      workdir: folder with `results.csv` and `runs/`, as a sweep leaves it.
      claims: of any kind.
      title: heading of the report.
      command: what was typed; the report says what to type for all of its runs.

    Returns:
      The decided claims, as `verdicts.decide` returns them.

    Raises:
      ValueError: a record cannot be read, or a claim names a column that does not exist.
    """
    frame = tables.read_results(workdir)
    claims = tuple(claims)
    when = stated.read(workdir)
    decided = [
        row | {"stated": when.get(stated.identity(claim))}
        for claim, row in zip(claims, decide(claims, frame), strict=True)
    ]
    curves = tables.read_curves(workdir, frame)
    charts = make_charts(frame, curves, claims, decided)
    figures: dict[str, bytes] = {}
    for name, chart in charts.items():
        with or_told(name):
            figures |= {f"{name}.svg": chart.svg().encode(), f"{name}.png": chart.png()}
    html = page.render(
        title=title,
        command=command,
        frame=frame,
        claims=decided,
        curves=curves,
        charts=charts,
        configs=tables.read_files(workdir, frame, "config.json"),
        environments=tables.read_files(workdir, frame, "environment.json"),
    )
    write_decided(workdir, decided)
    for name, data in figures.items():
        write_bytes(workdir / "figures" / name, data)
    write_text(workdir / "report.html", html)
    return decided
