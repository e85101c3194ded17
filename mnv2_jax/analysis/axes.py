"""Axes of figures: which columns of results.csv they show, and which they average over.

`frame` is a table of runs, as `tables.read_results` returns it; `done` holds its finished runs.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mnv2_jax.analysis import tables
from mnv2_jax.analysis.names import lower_name
from mnv2_jax.analysis.tables import design_axes, section
from mnv2_jax.schema import KNOWN, PHASE, PRETRAINING

COSTS = tuple(name for name, one in KNOWN.items() if one.kind == "cost")

_MAIN = ("model.projection_slope", "expansion", "width")
_HUES = ("transfer.norm", "block", "projection", "shortcut", "width")
_PANELS = ("dataset", PHASE, "shortcut", "projection", "width")
_MOST_PANELS = 4


@dataclass(frozen=True)
class View:
    """The columns that a figure shows: on x, as lines, and as panels."""

    x: str
    hue: str | None = None
    panels: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """All of the columns."""
        return (self.x, *([self.hue] if self.hue else []), *self.panels)


def finished(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the runs that are done and have the metric, with truth values as text.

    Empty cells of a phase's section are NaN, since a run without the section has no value. Others
    are "", a value like any.
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
    """Return the runs that a figure of these columns draws, and its notes on those left out.

    Pretraining is left out unless the phase is shown, since it is tested on other classes; so are
    runs that lack the section of a column.
    """
    notes = []
    if PHASE not in shown and (others := without_pretraining(done)) is not done:
        done, notes = others, ["Pretraining, on other classes, is left out."]
    lacked = [axis for axis in shown if axis in done and section(axis) and done[axis].isna().any()]
    if lacked:
        done = done.dropna(subset=lacked)
        notes.append(f"Runs without {_listed(lacked)} are left out.")
    return done, notes


def without_pretraining(done: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of other phases than pretraining; all, if there are no such runs."""
    if PHASE not in done or done[PHASE].nunique() < 2:
        return done
    others = done[done[PHASE] != PRETRAINING]
    return others if len(others) < len(done) else done


def column(frame: pd.DataFrame, name: str, *, on_x: bool = False) -> str:
    """Return the axis of a name: a column, a field's path, or the path's last part.

    With `on_x`, parameters, multiply-adds and measures count as axes.

    Raises:
      ValueError: there is none, or more than one; the message begins with the name.
    """
    known = [*design_axes(frame), *(COSTS if on_x else ())]
    measures = [one.name for one in tables.measures(frame)] if on_x else []
    exact = tables.column(frame, name)
    if exact in [*known, *measures]:
        return exact
    ends = [axis for axis in known if axis.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise ValueError(f"{name}: it may be any of {', '.join(ends)}; expected one of these")
    if name == "seed":
        raise ValueError(
            f"seed: seeds are the points and make the bands; expected one of {', '.join(known)}"
        )
    close = difflib.get_close_matches(name, [*known, *measures], n=1)
    if close:
        raise ValueError(f"{name}: no such axis in these results; did you mean {close[0]}?")
    raise ValueError(
        f"{name}: no such axis in these results, where a field that does not vary may have no "
        f"column; expected one of {', '.join(known)}{_or_a_measure(frame) if on_x else ''}"
    )


def _or_a_measure(frame: pd.DataFrame) -> str:
    return f", or a measure such as {tables.main_metric(frame)}"


def view(frame: pd.DataFrame, x: str, hue: str | None, panels: Sequence[str]) -> View:
    """Return the view of axes that are named as in `column`; x may be a cost or a measure.

    Raises:
      ValueError: one is no axis, or is named twice; the message begins with `x`, `hue` or `panel`.
    """
    if not x:
        known = ", ".join([*design_axes(frame), *COSTS])
        raise ValueError(f"x: it is missing; expected one of {known}{_or_a_measure(frame)}")
    names = [("x", x), *([("hue", hue)] if hue else []), *(("panel", name) for name in panels)]
    arguments: dict[str, str] = {}  # By column.
    for argument, name in names:
        try:
            axis = column(frame, name, on_x=argument == "x")
        except ValueError as error:
            raise ValueError(f"{argument}={error}") from None
        if axis in arguments:
            raise ValueError(
                f"{argument}={name}: {arguments[axis]} shows it; expected another axis"
            )
        arguments[axis] = argument
    first, *rest = arguments
    return View(first, rest.pop(0) if hue else None, tuple(rest))


def is_number(frame: pd.DataFrame, axis: str) -> bool:
    """Return whether an axis holds numbers other than truth values."""
    return is_numeric_dtype(frame[axis]) and not is_bool_dtype(frame[axis])


def values(frame: pd.DataFrame, axis: str) -> list[Any]:
    """Return the distinct values of an axis as the runs have them first: in the grid's order."""
    present: list[Any] = frame[axis].dropna().unique().tolist()
    return present


def varying(frame: pd.DataFrame) -> list[str]:
    """Return the axes that runs differ in, but for seeds and axes that follow from the phase."""
    implied = implied_by_phase(frame)
    return [
        axis for axis in design_axes(frame) if frame[axis].nunique() > 1 and axis not in implied
    ]


def implied_by_phase(frame: pd.DataFrame) -> set[str]:
    """Return the axes of a transfer that have one value in each phase, such as its epochs.

    An axis may also follow from the phase's section, such as `train.learning_rate` from
    `extraction.train.learning_rate`.
    """
    others = [axis for axis in design_axes(frame) if axis != PHASE]
    if PHASE not in frame or frame[PHASE].nunique() < 2:
        return set()
    implied = set()
    for axis in others:
        sections = [name for name in others if section(name) and name.endswith(f".{axis}")]
        within = frame.groupby([PHASE, *sections], dropna=False)[axis]
        if within.nunique(dropna=False).max() == 1:
            implied.add(axis)
    return implied


def averaged(frame: pd.DataFrame, shown: Iterable[str]) -> list[str]:
    """Return the axes that runs differ in that agree in the seed and in all axes shown."""
    shown = list(dict.fromkeys(shown))
    rest = [axis for axis in varying(frame) if axis not in shown]
    if not rest:
        return []
    differ = frame.groupby([*shown, "seed"])[rest].nunique().max() > 1
    return [axis for axis in rest if differ[axis]]


def remarks(frame: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Return a figure's notes on the axes that it does not show."""
    hidden = averaged(frame, shown)
    others = [axis for axis in varying(frame) if axis not in (*shown, *hidden)]
    return [*([f"Averaged over {_listed(hidden)}."] if hidden else []), *differ(others)]


def differ(axes: Sequence[str]) -> list[str]:
    """Return a figure's note on axes that its points differ in, and that it does not show."""
    return [f"Points differ in {_listed(axes)} too."] if axes else []


def unfinished(frame: pd.DataFrame, done: pd.DataFrame) -> list[str]:
    """Return a figure's note on the runs that are not in it."""
    missing = len(frame) - len(done)
    return [f"{missing} of {len(frame)} runs did not finish and are left out."] if missing else []


def default_view(done: pd.DataFrame) -> View:
    """Return the view of the axes that vary, the phase and the paper's own ones first."""
    rest = varying(done)
    named = (axis for axis in rest if axis != "dataset")
    x = PHASE if PHASE in rest else main_number(done) or next(named, "expansion")
    return view_over(done, x)


def view_over(done: pd.DataFrame, x: str) -> View:
    """Return the view over an axis, with as many others as there is room for."""
    return _view(done, x, [axis for axis in varying(done) if axis != x])


def cost_view(done: pd.DataFrame, cost: str) -> View:
    """Return the view over a cost, where the main axis is along the lines."""
    main = main_number(done)
    return _view(done, cost, [axis for axis in varying(done) if axis != main])


def curve_view(done: pd.DataFrame) -> View:
    """Return the view of learning curves: all axes that vary, as far as there is room."""
    return _view(done, "epoch", varying(done))


def main_number(done: pd.DataFrame, but: Iterable[str] = ()) -> str | None:
    """Return the first axis of numbers that runs differ in, of those not in `but`."""
    numbers = [axis for axis in varying(done) if is_number(done, axis) and axis not in but]
    ordered = [*(axis for axis in _MAIN if axis in numbers), *numbers]
    return next((axis for axis in ordered if axis != "epochs"), None)


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
    *others, last = map(lower_name, axes)
    return f"{', '.join(others)} and {last}" if others else last
