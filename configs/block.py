"""One block against MobileNetV2's at equal multiply-adds, on digits, CIFAR-10 or your images.

Command:  python -m experiments.ablate --config=configs/block.py:BLOCK
          python -m experiments.ablate --config=configs/block.py:BLOCK,DATA
Hardware: two CPU cores; for cifar10, an accelerator
Time:     59 s for fused on digits, compilation included (commit cea554d, Intel Xeon, 2.50 GHz);
          CIFAR-10 not measured yet
Expect:   depends on the block; configs/digits.py:blocks compares all blocks of this project

BLOCK is one of `mnv2_jax.nn.blocks.BLOCKS`, or `FILE.py:CLASS` for one of your own. DATA is digits
(the default), cifar10, smoke (a fifth of CIFAR-10, for a laptop), or DIR/, a folder of images as in
configs/folder.py. Both networks have the stage table and the training config that were chosen for
the inverted residual. The width multiplier of the compared block is chosen for equal multiply-adds,
up to the rounding of channels.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import cifar10, digits, folder, questions
from configs.design import Design, Question
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.data import folders

_CONFIGS = {
    "digits": (digits.get_config, 8),
    "cifar10": (cifar10.get_config, 6),
    "smoke": (lambda: cifar10.get_config("smoke"), 6),
}
"""Functions that make the config, and numbers of seeds, by DATA."""


def get_config(argument: str) -> ConfigDict:
    """Return one run, of the block to compare."""
    block, make, _ = _parse(argument)
    config = make()
    config.model.block = block
    return config


def get_grid(argument: str) -> Grid:
    """Return block x seed, at expansion 6 with linear projections and shortcuts."""
    return _question(argument).grid


def get_claims(argument: str) -> list[Claim]:
    """Return the claim that the block beats the baseline."""
    return _question(argument).claims


def _question(argument: str) -> Question:
    block, make, seeds = _parse(argument)
    if block == questions.BASELINE:
        raise ValueError(f"config: {block} is what others are compared with; expected another")
    return questions.blocks(Design(make(), seeds=seeds), (block,))


def _parse(argument: str) -> tuple[str, Callable[[], ConfigDict], int]:
    """Return the block, the function that makes its config, and the number of seeds."""
    block, comma, data = argument.rpartition(",")
    if not comma:
        block, data = argument, "digits"
    if data in _CONFIGS:
        return block, *_CONFIGS[data]
    block, _, data = argument.partition(",")  # The name of a folder may have commas too.
    if folders.is_path(data):
        return block, lambda: folder.get_config(data), 6
    raise ValueError(
        f"config: {argument!r} after the colon: expected BLOCK, or BLOCK,DATA with DATA one of "
        f"{', '.join(_CONFIGS)}, or a folder of images, such as photos/"
    )
