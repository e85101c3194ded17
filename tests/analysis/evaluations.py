"""Synthetic side tables, as `experiments.evaluate` writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnv2_jax import side_tables
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import SideTable

NAME = "test_precision"
DROP, RATIO = f"{NAME}/w4a4_drop", f"{NAME}/kernel_ratio"
COLUMNS = {
    DROP: Column(DROP, "number", "measure", f"Drop, w4a4, {NAME}", "%", 1, "lower", since=""),
    RATIO: Column(RATIO, "number", "measure", f"Kernel ratio, {NAME}", "", 2, since=""),
}
ABOUT = {"evaluator": "precision", "split": "test", "data": "", "device": "cpu x 2"}


def with_measures(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the measures to runs: the drop is larger where accuracy is less, and with the ratio."""
    ratio = 2.0 ** (frame["expansion"] + frame["seed"] / 10)
    return frame.assign(**{DROP: 0.8 - frame["test_accuracy"] + ratio / 1000, RATIO: ratio})


def write_evaluations(
    workdir: Path,
    frame: pd.DataFrame,
    about: Mapping[str, Any] = ABOUT,
    records: Mapping[str, str] | None = None,
) -> None:
    """Writes a side table of the measures of runs."""
    rows = {
        str(run["run_id"]): {name: float(run[name]) for name in COLUMNS}
        for run in with_measures(frame).to_dict("records")
    }
    side_tables.write(workdir, SideTable(NAME, COLUMNS, rows, about, records or {}))
