"""Whether images lie on the devices or are streamed to them."""

import math

import jax

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train import memory
from mnv2_jax.train.feed import Feed
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

MODES = ("auto", "resident", "streaming")
"""What `config.data.mode` may be."""

_RESIDENT_SHARE = 0.5
"""Of the usable memory, what the images may take: the rest is for training."""


def choose(wish: str, program: LaneProgram, dataset: Dataset) -> tuple[type[Feed], str]:
    """Picks how images come to the devices.

    Args:
      wish: one of `MODES`.
      program: what is fed.
      dataset: its splits.

    Returns:
      What was chosen; and what and why, for people.

    Raises:
      ValueError: the wish cannot be had; the message says why.
    """
    if program.augmentation.on_host:
        if wish == "resident":
            raise ValueError(
                "config.data.mode='resident': expected 'streaming' or 'auto' with "
                "config.augment.crop_area or config.augment.randaugment_layers, which begin from "
                "the image as it is stored"
            )
        return Streaming, "streaming: augmentation begins from the images as they are stored"
    if wish != "auto":
        chosen: type[Feed] = Resident if wish == "resident" else Streaming
        return chosen, f"{wish}: as asked for"
    count = len(dataset.train) + len(dataset.validation)
    device = jax.local_devices()[0]
    # On CPU the devices are one memory, which holds the images for each and for the host.
    copies = len(jax.local_devices()) + 1 if device.platform == "cpu" else 1
    needed = count * math.prod(dataset.train.shape) * copies
    usable = memory.usable(device)
    told = f"{count:,} images take {needed / 2**20:,.1f} MiB"
    if needed <= _RESIDENT_SHARE * usable:
        return Resident, f"resident: {told} of memory"
    return Streaming, f"streaming: {told}, of {usable / 2**20:,.0f} usable"
