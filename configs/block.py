"""One block against MobileNetV2's at equal multiply-adds, on real digits or CIFAR-10.

Command:  python -m experiments.ablate --config=configs/block.py:BLOCK
          python -m experiments.ablate --config=configs/block.py:BLOCK,DATA
Hardware: two CPU cores; for cifar10, an accelerator
Time:     59 s for fused on digits, compilation included (commit cea554d, Intel Xeon, 2.50 GHz);
          CIFAR-10 not measured yet
Expect:   by the block; for those of this project, see configs/digits.py:blocks

BLOCK is one of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. DATA is digits,
cifar10, or smoke: a fifth of CIFAR-10 for a laptop. Both blocks get the stage table and the
training config that were chosen for the inverted residual; the width of the other is chosen so that
it costs as many multiply-adds, as near as rounding of channels allows.
"""

from ml_collections import ConfigDict

from configs import cifar10, digits, questions
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim

_CONFIGS = {
    "digits": (digits.get_config, 8),
    "cifar10": (cifar10.get_config, 6),
    "smoke": (lambda: cifar10.get_config("smoke"), 6),
}
"""The configs and numbers of seeds, by DATA."""


def get_config(argument: str) -> ConfigDict:
    """Return one run, of the block to be compared."""
    block, data = _parse(argument)
    config = _CONFIGS[data][0]()
    config.model.block = block
    return config


def get_grid(argument: str) -> Grid:
    """Return block x seed, at expansion 6 with linear projections and shortcuts."""
    return _ask(argument).grid


def get_claims(argument: str) -> list[Claim]:
    """Return the comparison, put as if the block were better than the baseline."""
    return _ask(argument).claims


def _ask(argument: str) -> questions.Question:
    block, data = _parse(argument)
    if block == questions.BASELINE:
        raise ValueError(f"config: {block} is what others are compared with; expected another")
    make, seeds = _CONFIGS[data]
    return questions.blocks(questions.Design(make(), seeds=seeds), (block,))


def _parse(argument: str) -> tuple[str, str]:
    """Return the block and the data."""
    block, comma, data = argument.rpartition(",")
    if not comma:
        return argument, "digits"
    if data not in _CONFIGS:
        raise ValueError(
            f"config: {argument!r} after the colon: expected BLOCK, or BLOCK,DATA with DATA one of "
            f"{', '.join(_CONFIGS)}"
        )
    return block, data
