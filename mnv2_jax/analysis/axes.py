"""Columns of results.csv that figures are drawn over, and what figures average over."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mnv2_jax.analysis import tables
from mnv2_jax.analysis.names import axis_name, in_order
from mnv2_jax.analysis.tables import design_axes, section
from mnv2_jax.schema import KNOWN, PHASE, PRETRAINING

COSTS = tuple(name for name, one in KNOWN.items() if one.kind == "cost")

_MAIN = ("expansion", "width")
_HUES = ("transfer.norm", "block", "projection", "shortcut", "width")
_PANELS = ("dataset", PHASE, "shortcut", "projection", "width")
_MOST_PANELS = 4


@dataclass(frozen=True)
class View:
    """Axes of a figure: a column on x, one as lines, and some that divide the panels."""

    x: str
    hue: str | None = None
    panels: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """All columns that are told apart."""
        return (self.x, *([self.hue] if self.hue else []), *self.panels)


def finished(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the runs that are done and have the metric; truth values have become text.

    Empty cells of a phase's section are NaN: a run without the section has no value. Others are an
    empty text, a value like any.
    """
    done = frame[(frame["status"] == "done") & np.isfinite(frame[metric])]
    return done.assign(**{name: _cells(done[name]) for name in design_axes(done)})


def _cells(cells: pd.Series) -> pd.Series:
    if is_bool_dtype(cells):
        return cells.astype(str)
    if section(str(cells.name)):
        if is_numeric_dtype(cells):
            return cells
        text = cells.where(cells.notna(), "").astype(str)
        return text.where(text != "")
    if not cells.isna().any():
        return cells
    written = "{:g}" if is_numeric_dtype(cells) else "{}"
    return cells.map(lambda cell: "" if pd.isna(cell) else written.format(cell)).astype(str)


def to_draw(done: pd.DataFrame, shown: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the runs for a figure that shows these columns, and what it has to say of the others.

    Without the phase, runs of pretraining would be taken for such as the rest, though they are
    tested on other classes. Runs that lack the section of a column have no place in it.
    """
    said = []
    if PHASE not in shown and (done_without := without_pretraining(done)) is not done:
        done, said = done_without, ["Pretraining, on other classes, is left out."]
    lacked = [axis for axis in shown if axis in done and section(axis) and done[axis].isna().any()]
    if lacked:
        done = done.dropna(subset=lacked)
        said.append(f"Runs without {_listed(lacked)} are left out.")
    return done, said


def without_pretraining(done: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of other phases than pretraining; all where there are none, or no phases."""
    if PHASE not in done or done[PHASE].nunique() < 2:
        return done
    others = done[done[PHASE] != PRETRAINING]
    return others if len(others) < len(done) else done


def column(frame: pd.DataFrame, name: str, *, costs: bool = False) -> str:
    """Return the column that `name` means: a column, a field's path or the path's last part.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      name: such as `projection`, `model.projection` or `learning_rate`.
      costs: parameters and multiply-adds count too.

    Raises:
      ValueError: there is none, or more than one; the message begins with the name.
    """
    known = [*design_axes(frame), *(COSTS if costs else ())]
    found = tables.column(frame, name)
    if found in known:
        return found
    ends = [axis for axis in known if axis.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise ValueError(f"{name}: it may be any of {', '.join(ends)}; expected one of these")
    if name == "seed":
        raise ValueError(
            f"seed: seeds are the points and make the bands; expected one of {', '.join(known)}"
        )
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        raise ValueError(f"{name}: no such axis in these results; did you mean {close[0]}?")
    raise ValueError(
        f"{name}: no such axis in these results, where a field that does not vary may have no "
        f"column; expected one of {', '.join(known)}"
    )


def view(frame: pd.DataFrame, x: str, hue: str | None, panels: Sequence[str]) -> View:
    """Find the columns that a figure is to show.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      x: an axis, or a cost; see `column`.
      hue: another axis.
      panels: other axes.

    Raises:
      ValueError: one is none, or is named twice; the message begins with `x`, `hue` or `panel`.
    """
    if not x:
        known = ", ".join([*design_axes(frame), *COSTS])
        raise ValueError(f"x: it is missing; expected one of {known}")
    given = [("x", x), *([("hue", hue)] if hue else []), *(("panel", name) for name in panels)]
    found: dict[str, str] = {}
    for argument, name in given:
        try:
            chosen = column(frame, name, costs=argument == "x")
        except ValueError as error:
            raise ValueError(f"{argument}={error}") from None
        if chosen in found:
            raise ValueError(f"{argument}={name}: {found[chosen]} shows it; expected another axis")
        found[chosen] = argument
    first, *rest = found
    return View(first, rest.pop(0) if hue else None, tuple(rest))


def is_number(frame: pd.DataFrame, axis: str) -> bool:
    """Return whether an axis has an order and distances; truth values have none."""
    return is_numeric_dtype(frame[axis]) and not is_bool_dtype(frame[axis])


def values(frame: pd.DataFrame, axis: str) -> list[Any]:
    """Return the distinct values of an axis, in the order to draw them."""
    return in_order(axis, frame[axis].dropna().unique().tolist())


def varying(frame: pd.DataFrame) -> list[str]:
    """Return the axes that runs differ in, seed aside, and without those of `told_by_phase`."""
    told = told_by_phase(frame)
    return [axis for axis in design_axes(frame) if frame[axis].nunique() > 1 and axis not in told]


def told_by_phase(frame: pd.DataFrame) -> set[str]:
    """Return the axes of a transfer that have one value in each phase, such as its epochs.

    Those too that follow from the phase and what its section sets, such as `train.learning_rate`
    from `extraction.train.learning_rate`.
    """
    others = [axis for axis in design_axes(frame) if axis != PHASE]
    if PHASE not in frame or frame[PHASE].nunique() < 2:
        return set()
    told = set()
    for axis in others:
        sections = [name for name in others if section(name) and name.endswith(f".{axis}")]
        within = frame.groupby([PHASE, *sections], dropna=False)[axis]
        if within.nunique(dropna=False).max() == 1:
            told.add(axis)
    return told


def averaged(frame: pd.DataFrame, shown: Iterable[str]) -> list[str]:
    """Return the axes that runs differ in where all that is shown, and the seed, agree."""
    shown = list(dict.fromkeys(shown))
    rest = [axis for axis in varying(frame) if axis not in shown]
    if not rest:
        return []
    differ = frame.groupby([*shown, "seed"])[rest].nunique().max() > 1
    return [axis for axis in rest if differ[axis]]


def remarks(frame: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Return a figure's remarks on the axes that it does not show."""
    hidden = averaged(frame, shown)
    along = [axis for axis in varying(frame) if axis not in (*shown, *hidden)]
    return [*averaging(hidden), *differ(along)]


def averaging(hidden: Sequence[str]) -> list[str]:
    """Return a figure's remarks on axes that it averages over."""
    return [f"Averaged over {_listed(hidden)}."] if hidden else []


def differ(hidden: Sequence[str]) -> list[str]:
    """Return a figure's remark on axes that tell its points apart and that it does not show."""
    return [f"Points differ in {_listed(hidden)} too."] if hidden else []


def unfinished(frame: pd.DataFrame, done: pd.DataFrame) -> list[str]:
    """Return a figure's remarks on the runs that are not in it."""
    missing = len(frame) - len(done)
    return [f"{missing} of {len(frame)} runs did not finish and are left out."] if missing else []


def default_view(done: pd.DataFrame) -> View:
    """Return the axes to show where nobody chose: those that vary, the paper's own ones first."""
    rest = varying(done)
    x = (
        PHASE
        if PHASE in rest
        else main_number(done) or next((axis for axis in rest if axis != "dataset"), "expansion")
    )
    return _view(done, x, [axis for axis in rest if axis != x])


def cost_view(done: pd.DataFrame, cost: str) -> View:
    """Return the same over a cost, where the main axis is along the lines."""
    main = main_number(done)
    return _view(done, cost, [axis for axis in varying(done) if axis != main])


def main_number(done: pd.DataFrame, but: Iterable[str] = ()) -> str | None:
    """Return the first axis of numbers that runs differ in, of those not in `but`."""
    numbers = [axis for axis in varying(done) if is_number(done, axis) and axis not in but]
    ordered = [*(axis for axis in _MAIN if axis in numbers), *numbers]
    return next((axis for axis in ordered if axis != "epochs"), None)


def curve_view(done: pd.DataFrame) -> View:
    """Return the axes of learning curves: all that varies, as far as there is room."""
    return _view(done, "epoch", varying(done))


def _view(done: pd.DataFrame, x: str, rest: Sequence[str]) -> View:
    hue = next((axis for axis in (*_HUES, *rest) if axis in rest and axis != "dataset"), None)
    panels: list[str] = []
    count = 1
    for axis in dict.fromkeys([*(axis for axis in _PANELS if axis in rest), *rest]):
        # Different data sets are never averaged, however many panels that takes.
        fits = count * done[axis].nunique() <= _MOST_PANELS or axis == "dataset"
        if axis != hue and fits:
            panels.append(axis)
            count *= done[axis].nunique()
    return View(x, hue, tuple(panels))


def _listed(axes: Sequence[str]) -> str:
    names = [axis_name(axis).lower().removesuffix(" t") for axis in axes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
