"""The ways for images to reach the devices: held there, as features, or streamed."""

import math

import jax

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train import features, memory
from mnv2_jax.train.features import Features
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

_FEEDS: dict[str, type[InputPipeline]] = {
    "resident": Resident,
    "streaming": Streaming,
    "features": Features,
}

MODES = ("auto", *_FEEDS)
"""The values of `config.data.mode`."""

_RESIDENT_SHARE = 0.5
"""Of the usable memory, what the images may take: the rest is for training."""


def choose_input_mode(
    wish: str, program: LaneProgram, dataset: Dataset
) -> tuple[type[InputPipeline], str]:
    """Pick how images come to the devices.

    Args:
      wish: one of `MODES`.
      program: what is fed.
      dataset: its splits.

    Returns:
      What was chosen; and what and why, for people.

    Raises:
      ValueError: the wish cannot be had; the message says why.
    """
    suffices = features.suffices(program)
    if wish == "features" and not suffices:
        raise ValueError(
            "config.data.mode='features': expected 'auto', since features do not stay the same: "
            "images are augmented, or more than the classifier trains"
        )
    if program.augmentation.on_host:
        if wish == "resident":
            raise ValueError(
                "config.data.mode='resident': expected 'streaming' or 'auto' with "
                "config.augment.crop_area or config.augment.randaugment_layers, which begin from "
                "the image as it is stored"
            )
        return Streaming, "streaming: augmentation begins from the images as they are stored"
    if wish != "auto":
        return _FEEDS[wish], f"{wish}: as asked for"
    needed, usable = held_bytes("resident", dataset)
    told = f"{_count(dataset):,} images take {needed / 2**20:,.1f} MiB"
    if needed <= _RESIDENT_SHARE * usable and suffices:
        return Features, "features: computed once, since the base is frozen"
    if needed <= _RESIDENT_SHARE * usable:
        return Resident, f"resident: {told} of memory"
    return Streaming, f"streaming: {told}, of {usable / 2**20:,.0f} usable"


def held_bytes(mode: str, dataset: Dataset) -> tuple[int, int]:
    """Count the bytes of decoded images that are held in training, and those usable for them.

    Args:
      mode: "resident", where devices hold them, or "features", where the host does.
      dataset: its splits.
    """
    images = _count(dataset) * math.prod(dataset.train.shape)
    if mode == "features":
        return images, memory.on_host()
    device = jax.local_devices()[0]
    usable = memory.usable(device)
    if device.platform == "cpu":  # The devices are one memory, with the host, which keeps its own.
        return images * (len(jax.local_devices()) + 1), usable
    return images, min(usable, memory.on_host())


def _count(dataset: Dataset) -> int:
    return len(dataset.train) + len(dataset.validation)
