"""The accuracies of each cell of a design, with numbers of images, such as 92.3 % (12 of 13)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table

from mnv2_jax.analysis.names import full_name
from mnv2_jax.analysis.tables import design_axes, main_metric
from mnv2_jax.metrics import SPLITS
from mnv2_jax.schema import PHASE

_MOST_CELLS = 16
HEADS = {"train": "Training", "validation": "Validation", "test": "Test"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs that differ only in the seed.

    Attributes:
      name: its values of the axes in which cells differ.
      runs: the number of finished runs.
      texts: by split, the mean accuracy over the runs; "" where images were left unread.
    """

    name: str
    runs: int
    texts: Mapping[str, str]


def lead(frame: pd.DataFrame) -> bool:
    """Return whether accuracies are the answer: of a transfer, or where no cell has two seeds."""
    is_transfer = PHASE in frame and frame[PHASE].nunique() > 0
    repeats = frame.duplicated(design_axes(frame)).any()
    return not _done(frame).empty and bool(is_transfer or not repeats)


def cells(frame: pd.DataFrame) -> list[Cell]:
    """Return the cells that have finished runs, in the order of the table of runs."""
    done = _done(frame)
    if done.empty:
        return []
    if PHASE not in done or done[PHASE].nunique() == 0:
        return _cells("", done)
    # What follows from the phase, such as its epochs, is not said beside it.
    phases = done.groupby(PHASE, sort=False)
    return [cell for phase, runs in phases for cell in _cells(full_name(PHASE, phase), runs)]


def table(frame: pd.DataFrame) -> Table:
    """Return `cells` as a table for the terminal."""
    rows = cells(frame)
    title = "Accuracy (share of images; of several seeds the mean, lowest and highest)"
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    named = any(cell.name for cell in rows)
    if named:
        table.add_column("Runs")
    splits = splits_of(rows)
    for split in splits:
        table.add_column(HEADS[split], justify="right", no_wrap=True)
    for cell in rows[:_MOST_CELLS]:
        name = f"{cell.name}, {cell.runs} seeds" if cell.runs > 1 else cell.name
        table.add_row(*([name] if named else []), *(cell.texts[split] for split in splits))
    if len(rows) > _MOST_CELLS:
        table.caption = f"and {len(rows) - _MOST_CELLS} more in the report"
    return table


def splits_of(rows: Sequence[Cell]) -> list[str]:
    """Return the splits that any of the cells was measured on."""
    return [split for split in SPLITS if any(cell.texts[split] for cell in rows)]


def share(right: float, images: float) -> str:
    """Return the share of images that are recognised, with both numbers."""
    return f"{100 * right / images:.1f} % ({right:,.0f} of {images:,.0f})"


def _done(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["status"] == "done") & frame[main_metric(frame)].notna()]


def _cells(phase: str, runs: pd.DataFrame) -> list[Cell]:
    axes = [name for name in design_axes(runs) if runs[name].nunique(dropna=False) > 1]
    groups = runs.groupby(axes, sort=False, dropna=False) if axes else [((), runs)]
    return [_cell(phase, axes, of_cell) for _, of_cell in groups]


def _cell(phase: str, axes: list[str], runs: pd.DataFrame) -> Cell:
    first = runs.iloc[0]
    values = [full_name(axis, first[axis]) for axis in axes if not _is_missing(first[axis])]
    name = ", ".join([phase, *values] if phase else values)
    return Cell(name, len(runs), {split: _text(runs, split) for split in SPLITS})


def _text(runs: pd.DataFrame, split: str) -> str:
    accuracies, images = runs[f"{split}_accuracy"], runs.get(f"{split}_images")
    count = float("nan") if images is None else float(images.iloc[0])
    mean = accuracies.mean()
    if np.isnan(mean):
        return ""
    is_main = main_metric(runs) == f"{split}_accuracy"
    if len(runs) == 1 and is_main and count > 0:
        return share(round(mean * count), count)
    text = f"{100 * mean:.1f} %"
    if len(runs) > 1 and is_main:
        text += f" ({100 * accuracies.min():.1f} to {100 * accuracies.max():.1f})"
    return text if np.isnan(count) else f"{text} of {count:,.0f}"


def _is_missing(value: object) -> bool:
    return isinstance(value, float) and np.isnan(value)
