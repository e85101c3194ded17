"""A block against MobileNetV2's, on real digits: `--config=configs/blocks.py:NAME`.

Command:  python -m experiments.ablate --config=configs/blocks.py:fused
Hardware: two CPU cores
Time:     TIME
Expect:   EXPECT

NAME is a block of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. Both blocks
get the recipe that was chosen for the inverted residual, and cost what they cost: see params and
madds in the results.
"""

from ml_collections import ConfigDict

from configs import digits
from mnv2_jax.ablation.grid import Grid, axis, product
from mnv2_jax.analysis.claims import Claim, greater

BASELINE = "inverted_residual"


def get_config(block: str = "fused") -> ConfigDict:
    """One run, of the block to be compared."""
    config = digits.get_config()
    config.model.block = block
    return config


def get_grid(block: str = "fused") -> Grid:
    """12 runs: block x seed, at expansion 6 with linear projections and shortcuts."""
    return product(axis("model.block", (BASELINE, block)), axis("seed", range(6)))


def get_claims(block: str = "fused") -> list[Claim]:
    """The comparison, put as if the block were better; it may be refuted."""
    return [
        greater(
            name="block",
            source="this comparison",
            statement=f"{block} beats the inverted residual",
            axis="block",
            better=block,
            worse=BASELINE,
        ),
    ]
