"""Verdicts, figures and report of the records in a workdir."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mnv2_jax import checksums
from mnv2_jax.analysis import (
    axes,
    block_tables,
    caveats,
    claims,
    evaluated,
    mistakes,
    stated,
    tables,
)
from mnv2_jax.analysis.associations import Association, associations
from mnv2_jax.analysis.block_tables import BlockTable
from mnv2_jax.analysis.charts import logged_failure, make_charts, make_choices
from mnv2_jax.analysis.charts.depth import NAME as BOTTLENECKS
from mnv2_jax.analysis.charts.depth import charts_of
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.html import claim_list, page
from mnv2_jax.analysis.verdicts import decide, read_decided, write_decided
from mnv2_jax.atomic import write_bytes, write_text


def analyse(
    workdir: Path, claims: Iterable[Claim] | None, *, title: str, name: str = "", command: str
) -> list[dict[str, Any]]:
    """Decide claims by the runs in a workdir; write `claims.json`, figures and `report.html` there.

    Each file is written in one step. The same records give the same bytes. A figure that cannot be
    drawn is logged and left out.

    Args:
      workdir: folder with `results.csv` and `runs/`, as a sweep leaves it.
      claims: of any kind; None for those that `claims.json` records. Where one of these is of an
        earlier version or a kind from elsewhere, or names a column that an earlier version called
        otherwise, all stay as they were decided.
      title: heading of the report.
      name: of the experiment, beside it.
      command: the one that reproduces the runs.

    Returns:
      The decided claims, as `verdicts.decide` returns them.

    Raises:
      ValueError: a record cannot be read, or a given claim names a column that does not exist.
    """
    frame = tables.read_results(workdir)
    known, decided = _decided(workdir, frame, claims)
    curves = tables.read_curves(workdir, frame)
    blocks = block_tables.read(workdir, frame)
    charts = _noted(make_charts(frame, curves, known, decided, blocks), frame)
    choices = _noted(make_choices(frame, charts, decided), frame)
    figures: dict[str, bytes] = {}
    for file, chart in charts.items():
        with logged_failure(file):
            figures |= {f"{file}.svg": chart.svg().encode(), f"{file}.png": chart.png()}
    mistaken = mistakes.read(workdir, frame)
    html = page.render(
        title=title,
        name=name,
        command=command,
        frame=frame,
        claims=decided,
        curves=curves,
        # The page has a forest of its own.
        charts={key: one for key, one in charts.items() if key != "paired_differences"} | choices,
        mistakes=mistaken,
        pictures=mistakes.read_pictures(workdir, mistaken) if mistaken else {},
        configs=tables.read_files(workdir, frame, "config.json"),
        environments=tables.read_files(workdir, frame, "environment.json"),
        associations=_associations(frame, blocks),
        # The page has a section of its own on bottlenecks.
        evaluated=evaluated.read(
            workdir, frame, known, {name for name, _ in charts_of(blocks).values()}
        ),
    )
    write_decided(workdir, decided)
    for file, data in figures.items():
        write_bytes(workdir / "figures" / file, data)
    write_text(workdir / "report.html", html)
    return decided


def _decided(
    workdir: Path, frame: pd.DataFrame, given: Iterable[Claim] | None
) -> tuple[Sequence[Claim | None], list[dict[str, Any]]]:
    """Return claims and their decisions, None for those of which the decision alone is known."""
    first = stated.read(workdir)
    if given is None:
        path = workdir / "claims.json"
        before = read_decided(workdir) if path.is_file() else []
        try:
            known = [claims.recorded(row) for row in before]
            claim_list.claims(before)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise checksums.damaged(path, f"{type(error).__name__}: {error}") from None
        if None in known:
            return known, before
        given = [claim for claim in known if claim]
        try:
            decide(given, frame)
        except ValueError:
            return [None] * len(before), before
    made = tuple(given)
    anytime = stated.has_plan_of_seeds(first, made)
    rows = decide(made, frame, anytime=anytime)
    names = [stated.identity(claim) for claim in made]
    if left_out := len(first.keys() - set(names)):
        for row in rows:
            row["notes"] += caveats.on_left_out(row, left_out)
    return made, [row | {"stated": first.get(name)} for name, row in zip(names, rows, strict=True)]


def _associations(
    frame: pd.DataFrame, blocks: Mapping[str, BlockTable]
) -> dict[str, list[Association]]:
    """Return the associations of each table of bottlenecks, by the name of its chart."""
    metric = tables.main_metric(frame)
    return {
        chart: associations(
            frame, [column for column in frame if str(column).startswith(f"{name}/")], metric
        )
        for chart, (name, _) in charts_of(blocks).items()
    }


def _noted(charts: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    """Add the data set to notes, and how many images accuracies are of where runs recorded that."""
    split = tables.main_metric(frame).partition("_")[0]
    tested = axes.without_pretraining(frame)
    names = " and ".join(str(name) for name in tested["dataset"].unique())
    sets = []
    for dataset, runs in tested.groupby("dataset", sort=False):
        images = f"{split}_images"
        found = runs[images] if images in runs else pd.Series(dtype=float)
        counts = sorted(found.dropna().unique())
        numbers = " or ".join(f"{count:,.0f}" for count in counts)
        sets.append(f"{dataset}, {numbers} {split} images" if counts else str(dataset))
    note = f"Data set{'s' if len(sets) > 1 else ''}: {'; '.join(sets)}."
    of_curves = f"Data: the validation images of {names}."  # Epochs are not tested.
    own = {"learning_curves": of_curves}
    return {
        name: one  # It tells its images itself.
        if name.startswith(BOTTLENECKS)
        else replace(one, notes=[*one.notes, own.get(name, note)])
        for name, one in charts.items()
    }
