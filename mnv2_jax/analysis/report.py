"""Verdicts, figures and report of the records in a workdir."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnv2_jax.analysis import mistakes, stated, tables
from mnv2_jax.analysis.charts import logged_failure, make_charts
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.html import page
from mnv2_jax.analysis.verdicts import decide, write_decided
from mnv2_jax.atomic import write_bytes, write_text


def analyse(
    workdir: Path, claims: Iterable[Claim], *, title: str, command: str
) -> list[dict[str, Any]]:
    """Decide claims by the runs in a workdir; write `claims.json`, figures and `report.html` there.

    Each file is written in one step. The same records give the same bytes. A figure that cannot be
    drawn is logged and left out.

    Args:
      workdir: folder with `results.csv` and `runs/`, as a sweep leaves it.
      claims: of any kind.
      title: heading of the report.
      command: the one that reproduces the runs.

    Returns:
      The decided claims, as `verdicts.decide` returns them.

    Raises:
      ValueError: a record cannot be read, or a claim names a column that does not exist.
    """
    frame = tables.read_results(workdir)
    claims = tuple(claims)
    first = stated.read(workdir)
    decided = [
        row | {"stated": first.get(stated.identity(claim))}
        for claim, row in zip(claims, decide(claims, frame), strict=True)
    ]
    curves = tables.read_curves(workdir, frame)
    charts = make_charts(frame, curves, claims, decided)
    figures: dict[str, bytes] = {}
    for name, chart in charts.items():
        with logged_failure(name):
            figures |= {f"{name}.svg": chart.svg().encode(), f"{name}.png": chart.png()}
    mistaken = mistakes.read(workdir, frame)
    html = page.render(
        title=title,
        command=command,
        frame=frame,
        claims=decided,
        curves=curves,
        charts=charts,
        mistakes=mistaken,
        pictures=mistakes.read_pictures(workdir, mistaken) if mistaken else {},
        configs=tables.read_files(workdir, frame, "config.json"),
        environments=tables.read_files(workdir, frame, "environment.json"),
    )
    write_decided(workdir, decided)
    for name, data in figures.items():
        write_bytes(workdir / "figures" / name, data)
    write_text(workdir / "report.html", html)
    return decided
