"""Hyperparameters of lanes, for tests."""

import numpy as np

from mnv2_jax.arch import BlockSpec
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train.hparams import HParams


def lane(
    seed: int = 0,
    data_seed: int | None = None,
    projection: str = "linear",
    shortcut: str = "bottleneck",
    learning_rate: float = 0.05,
    weight_decay: float = 1e-3,
    label_smoothing: float = 0.1,
    blocks: int = 3,
) -> HParams:
    """Return hyperparameters of these values; images follow `seed` unless `data_seed` is given.

    All blocks of the network, three in `tests.samples.TINY`, have the same projection and shortcut.
    """
    block = BlockSpec(projection=projection, shortcut=shortcut)
    return HParams(
        seed=np.uint32(seed),
        data_seed=np.uint32(seed if data_seed is None else data_seed),
        knobs=Knobs.of_blocks([block] * blocks),
        learning_rate=np.float32(learning_rate),
        weight_decay=np.float32(weight_decay),
        label_smoothing=np.float32(label_smoothing),
    )
