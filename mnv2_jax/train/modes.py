"""The choice of an input pipeline: resident images, streamed images, or features."""

import math

import jax

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train import features, memory
from mnv2_jax.train.features import Features
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

_PIPELINES: dict[str, type[InputPipeline]] = {
    "resident": Resident,
    "streaming": Streaming,
    "features": Features,
}

MODES = ("auto", *_PIPELINES)
"""The values of `config.data.mode`."""

_RESIDENT_SHARE = 0.5
"""The share of the usable memory that images may take: the rest is for training."""


def choose_input_mode(
    wish: str, program: LaneProgram, dataset: Dataset
) -> tuple[type[InputPipeline], str]:
    """Choose an input pipeline.

    Args:
      wish: one of `MODES`.
      program: the program that takes the images.
      dataset: the splits.

    Returns:
      The pipeline; and the choice with its reason, for the user.

    Raises:
      ValueError: the wish is impossible; the message gives the reason.
    """
    constant = features.are_constant(program)
    if wish == "features" and not constant:
        raise ValueError(
            "config.data.mode='features': expected 'auto', since features change: images are "
            "augmented, or more than the classifier trains"
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
        return _PIPELINES[wish], f"{wish}: as asked for"
    needed, usable = held_bytes("resident", dataset)
    size = f"{_count(dataset):,} images take {needed / 2**20:,.1f} MiB"
    if needed > _RESIDENT_SHARE * usable:
        return Streaming, f"streaming: {size}, of {usable / 2**20:,.0f} usable"
    if constant:
        return Features, "features: computed once, since the base is frozen"
    return Resident, f"resident: {size} of memory"


def held_bytes(mode: str, dataset: Dataset) -> tuple[int, int]:
    """Return the bytes of the decoded images that training holds, and the bytes usable for them.

    Args:
      mode: "resident", where devices hold them, or "features", where the host does.
      dataset: the splits.
    """
    images = _count(dataset) * math.prod(dataset.train.shape)
    if mode == "features":
        return images, memory.on_host()
    device = jax.local_devices()[0]
    usable = memory.usable(device)
    if device.platform == "cpu":  # One memory holds a copy for each device and one for the host.
        return images * (len(jax.local_devices()) + 1), usable
    return images, min(usable, memory.on_host())


def _count(dataset: Dataset) -> int:
    count = len(dataset.train) + len(dataset.validation)
    return count + len(dataset.test) if dataset.fixed else count  # All are decoded at once.
