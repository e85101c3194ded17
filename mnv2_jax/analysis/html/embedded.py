"""What the report's page is drawn from: runs, curves, configs and environments, as JSON."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import records, units
from mnv2_jax.analysis.claims import shown
from mnv2_jax.analysis.figures.axes import COSTS
from mnv2_jax.analysis.figures.style import number_name, short_name
from mnv2_jax.analysis.html.design import Axis, Design, value_text
from mnv2_jax.analysis.html.markup import difference, signed
from mnv2_jax.analysis.records import describe
from mnv2_jax.schema import Column

_MOST_POINTS = 60  # of a curve: a screen shows no more, and 5,000 runs have to open quickly
_CURVES = ("validation_accuracy", "train_accuracy")
_FIRST = ("test", "validation", "train")  # splits, in the order of the table's columns


def page_data(
    *,
    design: Design,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    configs: Mapping[str, Mapping[str, Any]],
    environments: Mapping[str, Mapping[str, Any]],
    claims: Sequence[Mapping[str, Any]],
    charts: Mapping[str, Any],
    chart_config: Mapping[str, Any],
) -> dict[str, Any]:
    """Gathers what the page's script reads.

    Args:
      design: of `frame`.
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      configs: by run id, fields by path; a run may lack one.
      environments: by run id, entries by path; a run may lack one.
      claims: decided claims, as `verdicts.decide` returns them.
      charts: Vega-Lite specifications by name.
      chart_config: what all of them look like, as Vega-Lite's config.
    """
    run_ids = frame["run_id"].tolist()
    shown = _measured(frame)
    main = describe(frame, "test_accuracy")
    errors = frame["error"].tolist() if "error" in frame else [""] * len(frame)
    return {
        "axes": [_axis(axis) for axis in design.axes],
        "x": design.x.key if design.x else None,
        "curve_hue": design.curve_hue.key if design.curve_hue else None,
        "panel": design.panel.key if design.panel else None,
        "measured": [
            {
                "key": column.name,
                "label": column.title if column.kind == "measure" else short_name(column.name),
                "digits": column.digits,
                "told": column.kind == "measure" and not column.of_machine,
            }
            for column in shown
        ],
        "runs": {
            "run_id": run_ids,
            "status": frame["status"].tolist(),
            "seed": frame["seed"].tolist(),
            "error": [error if isinstance(error, str) else "" for error in errors],
            **{column.name: _numbers(frame[column.name], column) for column in (main, *shown)},
        },
        "curves": _curves(run_ids, curves),
        "config": _shared_and_differing(run_ids, configs),
        "environment": _shared_and_differing(run_ids, environments),
        "claims": [_claim(row) for row in claims if row["estimate"] is not None],
        "charts": charts,
        "chart_config": chart_config,
    }


def json_text(value: Any) -> str:
    """Writes JSON that an HTML script element can hold: nothing in it opens or closes a tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _axis(axis: Axis) -> dict[str, Any]:
    numbers = [None if pd.isna(value) else value for value in axis.values] if axis.numeric else None
    return {
        "key": axis.key,
        "name": axis.name,
        "label": axis.label,
        "before": axis.before,
        "labels": axis.labels,
        "texts": [number_name(axis.name, value) or value_text(value) for value in axis.values],
        "numbers": numbers,
        "codes": axis.codes,
    }


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
    """A claim in the unit that is shown."""
    measure, band = units.measure_of_row(row), shown(row)["band"] or (None, None)
    named = {name: row[name] for name in ("estimate", "ci_low", "ci_high")}
    estimate, low, high, *ends = (
        None if value is None else round(measure.factor * value, 4 if measure.is_fraction else 6)
        for value in (*named.values(), *band)
    )
    interval = "none"
    if low is not None:
        ends_text = f"{signed(measure, row['ci_low'])} to {signed(measure, row['ci_high'])}"
        interval = f"{ends_text}, {100 * row['confidence']:.0f} %"
    return {
        "statement": row["statement"],
        "verdict": row["verdict"],
        "unit": measure.unit,
        "estimate": estimate,
        "low": low,
        "high": high,
        "difference": difference(measure, row["estimate"]),
        "interval": interval,
        "margin_low": ends[0],
        "margin_high": ends[1],
    }


def _measured(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of the table of runs: of measures, the test split's come first."""
    measures = records.measures(frame)
    metrics = [column for column in measures if not column.of_machine]
    place = {split: number for number, split in enumerate(_FIRST)}
    metrics.sort(key=lambda column: place.get(column.name.partition("_")[0], len(place)))
    costs = [describe(frame, name) for name in reversed(COSTS)]
    return [*metrics, *costs, *(column for column in measures if column.of_machine)]


def _numbers(values: pd.Series, column: Column) -> list[float | None]:
    """A column in its unit, with three more digits than are shown, and at least four."""
    digits = max(column.digits + 3, 4)
    return [
        round(column.scale * value, digits) if np.isfinite(value) else None
        for value in values.tolist()
    ]


def _curves(run_ids: Sequence[str], curves: pd.DataFrame) -> dict[str, Any]:
    """Accuracy curves in per cent, and the epochs that they share."""
    every_epochs: dict[tuple[int, ...], int] = {}
    by_run: dict[Any, Any] = {}
    columns = [100 * curves[name].to_numpy(float) for name in _CURVES]
    numbers = curves["epoch"].to_numpy(float)
    # Arrays, since to take 5,000 curves out of a table costs half a minute.
    for run_id, rows in curves.groupby("run_id", sort=False).indices.items():
        spread = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_POINTS))
        rows = rows[np.unique(spread.round().astype(int))]
        epochs = tuple(numbers[rows].astype(int).tolist())
        number = every_epochs.setdefault(epochs, len(every_epochs))
        lines = [column[rows].round(2).tolist() for column in columns]
        finite = [[value if math.isfinite(value) else None for value in line] for line in lines]
        by_run[run_id] = [number, *finite]
    return {"epochs": list(every_epochs), "runs": [by_run.get(run_id) for run_id in run_ids]}


def _shared_and_differing(
    run_ids: Sequence[str], entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Splits entries of runs into those that all agree in, written once, and those of each."""
    nothing: Mapping[str, Any] = {}
    rows = [entries.get(run_id, nothing) for run_id in run_ids]
    paths = dict.fromkeys(path for row in rows for path in row)
    shared: dict[str, str] = {}
    differing: dict[str, Any] = {}
    for path in paths:
        texts = ["" if path not in row else _text(row[path]) for row in rows]
        codes: dict[Hashable, int] = {}
        positions = [codes.setdefault(text, len(codes)) for text in texts]
        if len(codes) == 1:
            shared[path] = texts[0]
        else:
            differing[path] = {"values": list(codes), "codes": positions}
    return {"shared": shared, "differing": differing}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
