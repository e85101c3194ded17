"""Synthetic measures of bottlenecks, as the evaluator of that name writes them."""

from pathlib import Path

import pandas as pd

from mnv2_jax import side_tables
from mnv2_jax.analysis.charts.depth import PANELS
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import BlockRow, SideTable

TABLE = "validation_bottlenecks"
DEPTH = 3
CHANNELS = 8

COLUMNS = {
    name: Column(name, "number", "measure", name, since="") for name in ("channels", *PANELS)
}
ACTIVE = Column(f"{TABLE}/active", "number", "measure", f"Active channels, {TABLE}", "%", 1)


def active_of(row: pd.Series, number: int) -> float:
    """The active channels of a run's block: all, or ever fewer, by seed too."""
    return CHANNELS if row["projection"] == "linear" else 4 - number / 2 + row["seed"] / 10


def write_blocks(workdir: Path, frame: pd.DataFrame, name: str = TABLE) -> SideTable:
    """Writes a side table of the runs; the first block has no expansion."""
    blocks: dict[str, list[BlockRow]] = {}
    rows: dict[str, dict[str, float]] = {}
    for _, row in frame.iterrows():
        of_run = []
        for number in range(1, DEPTH + 1):
            values = {"channels": CHANNELS, "active": active_of(row, number), "dead": 1.0}
            values |= {"rank_before": 6.0, "rank_after": 4.0, "decodable": -0.05}
            values |= {"positive_min": 0.25} if number > 1 else {}
            of_run.append(BlockRow(f"block_{number:02}", values))
        blocks[row["run_id"]] = of_run
        active = sum(one.values["active"] for one in of_run) / DEPTH / CHANNELS
        rows[row["run_id"]] = {f"{name}/active": active}
    column = Column(f"{name}/active", "number", "measure", f"Active channels, {name}", "%", 1)
    about = {"split": "validation", "data": "", "evaluator": "bottlenecks"}
    table = SideTable(
        name, {column.name: column}, rows, about, {}, blocks=blocks, block_columns=COLUMNS
    )
    side_tables.write(workdir, table)
    return table
