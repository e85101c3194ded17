"""The data of the report's page as JSON: runs, curves, configs, environments and charts."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import tables
from mnv2_jax.analysis.axes import COSTS
from mnv2_jax.analysis.charts.chart import CONFIG, Chart
from mnv2_jax.analysis.html.design import Axis, value_text
from mnv2_jax.analysis.names import number_name, short_name
from mnv2_jax.analysis.tables import describe
from mnv2_jax.schema import Column

_MOST_POINTS = 60  # of a curve: a page with 5,000 of them has to open quickly
_CURVES = ("validation_accuracy", "train_accuracy")
_SPLITS = ("test", "validation", "train")  # in the order of the table's columns


def page_data(
    *,
    axes: Sequence[Axis],
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    configs: Mapping[str, Mapping[str, Any]],
    environments: Mapping[str, Mapping[str, Any]],
    charts: Mapping[str, Chart],
) -> dict[str, Any]:
    """Return the data that the page's script reads; for arguments see `page.render`."""
    run_ids = frame["run_id"].tolist()
    shown = _measured(frame)
    main = describe(frame, tables.main_metric(frame))
    sets: dict[str, int] = {}
    errors = frame["error"].tolist() if "error" in frame else [""] * len(frame)
    return {
        "axes": [_axis(axis) for axis in axes],
        "measured": [
            {
                "key": column.name,
                "label": column.title if column.kind == "measure" else short_name(column.name),
                "digits": column.digits,
                "scale": column.scale,
                "isMetric": column.kind == "measure" and not column.of_machine,
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
        "charts": {name: _chart(chart, sets) for name, chart in charts.items()},
        "sets": [json.loads(text) for text in sets],
        "chart_config": CONFIG,
    }


def json_text(value: Any) -> str:
    """Return a value as JSON for an HTML script element: nothing in it opens or closes a tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "name": axis.name,
        "label": axis.label,
        "labels": axis.labels,
        "texts": [number_name(axis.name, value) or value_text(value) for value in axis.values],
        "cells": ["" if pd.isna(value) else value_text(value) for value in axis.values],
        "numeric": axis.numeric,
        "codes": axis.codes,
    }


def _chart(chart: Chart, sets: dict[str, int]) -> dict[str, Any]:
    """Return a chart with its rows as a table, which repeats neither their fields nor their texts.

    Its sets, which charts of several metrics have in common, are named by their number in `sets`.
    """
    fields = list(dict.fromkeys(field for row in chart.rows for field in row))
    columns = {field: [row.get(field) for row in chart.rows] for field in fields}
    texts: dict[str, list[str]] = {}
    for field, column in columns.items():
        present = [value for value in column if value is not None]
        if present and all(isinstance(value, str) for value in present):
            codes = {text: code for code, text in enumerate(dict.fromkeys(present))}
            texts[field], columns[field] = list(codes), [codes.get(value) for value in column]
    return {
        "heading": chart.heading,
        "notes": " ".join(chart.notes),
        "figure": chart.figure,
        "choice": chart.choice,
        "spec": chart.spec,
        "fields": fields,
        "texts": texts,
        "rows": list(zip(*columns.values(), strict=True)),
        "sets": sets.setdefault(json.dumps(chart.sets), len(sets)),
    }


def _measured(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of the table of runs: metrics by split, costs, training time."""
    measures = tables.measures(frame)
    metrics = [column for column in measures if not column.of_machine]
    rank = {split: number for number, split in enumerate(_SPLITS)}
    metrics.sort(key=lambda column: rank.get(column.name.partition("_")[0], len(rank)))
    costs = [describe(frame, name) for name in reversed(COSTS)]
    return [*metrics, *costs, *(column for column in measures if column.of_machine)]


def _numbers(values: pd.Series, column: Column) -> list[float | None]:
    """Return a column in its unit, with three more digits than are shown, or at least four."""
    digits = max(column.digits + 3, 4)
    return [
        round(column.scale * value, digits) if np.isfinite(value) else None
        for value in values.tolist()
    ]


def _curves(run_ids: Sequence[str], curves: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy curves in per cent, and the lists of epochs that they share."""
    numbers_of: dict[tuple[int, ...], int] = {}
    by_run: dict[Any, Any] = {}
    columns = [100 * curves[name].to_numpy(float) for name in _CURVES]
    epochs = curves["epoch"].to_numpy(int)
    # By arrays: pandas would take half a minute for 5,000 curves.
    for run_id, rows in curves.groupby("run_id", sort=False).indices.items():
        spread = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_POINTS))
        rows = rows[np.unique(spread.round().astype(int))]
        number = numbers_of.setdefault(tuple(epochs[rows].tolist()), len(numbers_of))
        lines = [column[rows].round(2).tolist() for column in columns]
        finite = [[value if math.isfinite(value) else None for value in line] for line in lines]
        by_run[run_id] = [number, *finite]
    return {"epochs": list(numbers_of), "runs": [by_run.get(run_id) for run_id in run_ids]}


def _shared_and_differing(
    run_ids: Sequence[str], entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Split entries of runs, by path, into those that all runs agree in and others."""
    rows = [entries.get(run_id, {}) for run_id in run_ids]
    paths = dict.fromkeys(path for row in rows for path in row)
    shared: dict[str, str] = {}
    differing: dict[str, Any] = {}
    for path in paths:
        texts = [tables.as_text(row.get(path, "")) for row in rows]
        codes: dict[str, int] = {}
        run_codes = [codes.setdefault(text, len(codes)) for text in texts]
        if len(codes) == 1:
            shared[path] = texts[0]
        else:
            differing[path] = {"values": list(codes), "codes": run_codes}
    return {"shared": shared, "differing": differing}
