"""One block against MobileNetV2's at equal multiply-adds, on real digits or CIFAR-10.

Command:  python -m experiments.ablate --config=configs/block.py:BLOCK
          python -m experiments.ablate --config=configs/block.py:BLOCK,DATA
Hardware: two CPU cores; for cifar10, an accelerator
Time:     59 s for fused on digits, compilation included (commit cea554d, Intel Xeon, 2.50 GHz);
          CIFAR-10 not measured yet
Expect:   depends on the block; configs/digits.py:blocks compares all blocks of this project

BLOCK is one of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. DATA is digits
(the default), cifar10, or smoke: a fifth of CIFAR-10 for a laptop. Both networks have the stage
table and the training config that were chosen for the inverted residual. The width multiplier of
the compared block is chosen for equal multiply-adds, up to the rounding of channels.
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
"""Functions that make the config, and numbers of seeds, by DATA."""


def get_config(argument: str) -> ConfigDict:
    """Return one run, of the block to compare."""
    block, data = _parse(argument)
    make, _ = _CONFIGS[data]
    config = make()
    config.model.block = block
    return config


def get_grid(argument: str) -> Grid:
    """Return block x seed, at expansion 6 with linear projections and shortcuts."""
    return _question(argument).grid


def get_claims(argument: str) -> list[Claim]:
    """Return the claim that the block beats the baseline."""
    return _question(argument).claims


def _question(argument: str) -> questions.Question:
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
