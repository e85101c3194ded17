"""Readers of measures of blocks, which side tables may have beside those of runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mnv2_jax import checksums, side_tables
from mnv2_jax.analysis import tables
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import SideTable


class BlockTable(NamedTuple):
    """Measures of blocks.

    Attributes:
      frame: a row per run and block: run_id, seed and the axes of the run; the block's number, from
        1, and name; its measures, NaN where it does not have one.
      columns: descriptions of the measures, by name.
      about: how they were measured; see `mnv2_jax.side_tables.SideTable`.
    """

    frame: pd.DataFrame
    columns: Mapping[str, Column]
    about: Mapping[str, Any]


def read(workdir: Path, frame: pd.DataFrame) -> dict[str, BlockTable]:
    """Read the measures of blocks of the runs in `frame`, by the name of their side table.

    Runs that were trained anew since they were measured are left out.

    Raises:
      ValueError: a side table is damaged.
    """
    try:
        found = [table for table in side_tables.read_all(workdir) if table.blocks]
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; experiments.evaluate writes it anew") from None
    return {
        table.name: BlockTable(_joined(workdir, frame, table), table.block_columns, table.about)
        for table in found
    }


def _joined(workdir: Path, frame: pd.DataFrame, table: SideTable) -> pd.DataFrame:
    rows = [
        (run, number, block.name, *(block.values.get(name, np.nan) for name in table.block_columns))
        for run in frame["run_id"]
        if run in table.blocks and side_tables.is_current(workdir, table, run)
        for number, block in enumerate(table.blocks[run], start=1)
    ]
    names = ["run_id", *side_tables.BLOCK, *table.block_columns]
    of_runs = frame[["run_id", "seed", *tables.design_axes(frame)]]
    joined = of_runs.merge(pd.DataFrame(rows, columns=names), on="run_id")
    return joined.astype(dict.fromkeys(table.block_columns, float))
