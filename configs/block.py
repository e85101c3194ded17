"""One block against MobileNetV2's at equal multiply-adds, on real digits.

Command:  python -m experiments.ablate --config=configs/block.py:NAME
Hardware: two CPU cores
Time:     59 s for fused, compilation included (commit cea554d, Intel Xeon, 2.50 GHz)
Expect:   by the block; for those of this project, see configs/digits.py:blocks

NAME is a block of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. Both get the
stage table and the recipe that were chosen for the inverted residual; the width of the other is
chosen so that it costs as many multiply-adds, as near as rounding of channels lets it.
"""

from ml_collections import ConfigDict

from configs import digits, questions
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim


def get_config(name: str) -> ConfigDict:
    """One run, of the block to be compared."""
    config = digits.get_config()
    config.model.block = name
    return config


def get_grid(name: str) -> Grid:
    """Block x 8 seeds, at expansion 6 with linear projections and shortcuts."""
    return _ask(name).grid


def get_claims(name: str) -> list[Claim]:
    """The comparison, put as if the block were better than the baseline; it may be refuted."""
    return _ask(name).claims


def _ask(name: str) -> questions.Question:
    if name == questions.BASELINE:
        raise ValueError(f"config: {name} is what others are compared with; expected another")
    return questions.blocks(questions.Design(digits.get_config(), seeds=8), (name,))
