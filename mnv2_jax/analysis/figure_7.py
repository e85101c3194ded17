"""Summaries of positive fractions of expanded channels, beside the paper's Figure 7."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

THRESHOLD = 1 / 6
"""The paper's bound: at expansion 6, as many channels are positive as the bottleneck has."""

INITIAL = {"average": (0.46, 0.53), "minimum": (0.33, 0.48)}
"""Ranges over the 16 expanding blocks at step 0, as plotted in Figure 7a."""

TRAINED = {
    "average": (0.48, 0.51),
    "minimum": (
        *(0.281, 0.326, 0.278, 0.333, 0.339, 0.141, 0.357, 0.362),
        *(0.336, 0.206, 0.345, 0.290, 0.094, 0.348, 0.272, 0.085),
    ),
}
"""After training: the range of averages, and the minimum of each expanding block (Figure 7b)."""

BATCH, RUNNING = "batch", "running"
"""BatchNorm's moments: of the images, as in training, or the running ones, as in inference."""


def rows_of(
    fractions: Mapping[str, np.ndarray], moments: str, seed: int = 0
) -> list[dict[str, Any]]:
    """Return average and minimum over images and pixels of each block, in order.

    Args:
      fractions: as `mnv2_jax.nn.positive.positive_fractions` returns them.
      moments: `BATCH` or `RUNNING`.
      seed: of the network.
    """
    return [
        {
            "moments": moments,
            "seed": seed,
            "expanding_block": number,
            "block": name,
            "average": float(values.mean()),
            "minimum": float(values.min()),
            "pixels": values.size,
        }
        for number, (name, values) in enumerate(fractions.items(), start=1)
    ]


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return mean, lowest and highest of the networks' averages and minima, a row per block."""
    by_block = pd.DataFrame(rows).groupby(["moments", "expanding_block", "block"], sort=False)
    table = by_block.agg(
        **{
            f"{name}{suffix}": (name, how)
            for name in ("average", "minimum")
            for suffix, how in (("", "mean"), ("_low", "min"), ("_high", "max"))
        },
        networks=("seed", "nunique"),
    )
    return table.reset_index()
