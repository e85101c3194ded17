"""Other blocks against MobileNetV2's, on real digits: all of them, or NAME's alone.

Command:  python -m experiments.ablate --config=configs/blocks.py
          python -m experiments.ablate --config=configs/blocks.py:NAME
Hardware: two CPU cores
Time:     72 s for all, compilation included
Expect:   fused a point ahead of the inverted residual, standard level with it, sandglass 1.8 points
          behind, separable 2.9, bottleneck 9.1

NAME is a block of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. All blocks
get the stage table and the recipe that were chosen for the inverted residual, and cost what they
cost: see params and madds in the results.
"""

from ml_collections import ConfigDict

from configs import digits
from mnv2_jax.ablation.grid import Grid, axis, product
from mnv2_jax.analysis.claims import Claim, greater
from mnv2_jax.nn.blocks import BLOCKS

BASELINE = "inverted_residual"


def get_config(block: str = BASELINE) -> ConfigDict:
    """One run, of the block to be compared."""
    config = digits.get_config()
    config.model.block = block
    return config


def get_grid(block: str | None = None) -> Grid:
    """Block x 6 seeds, at expansion 6 with linear projections and shortcuts."""
    return product(axis("model.block", (BASELINE, *_others(block))), axis("seed", range(6)))


def get_claims(block: str | None = None) -> list[Claim]:
    """A comparison per block, put as if it were better than the baseline; it may be refuted."""
    return [
        greater(
            name=other,
            source="this comparison",
            statement=f"{other} beats the inverted residual",
            axis="block",
            better=other,
            worse=BASELINE,
        )
        for other in _others(block)
    ]


def _others(block: str | None) -> list[str]:
    if block == BASELINE:
        raise ValueError(f"--config: {block} is what others are compared with; expected another")
    return [block] if block else [name for name in BLOCKS if name != BASELINE]
