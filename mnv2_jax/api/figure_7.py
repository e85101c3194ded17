"""Positive fractions of expanded channels, at random weights and in trained networks (Figure 7)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import arch, checksums, presets
from mnv2_jax.ablation import ids, resolve
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.analysis import figure_7
from mnv2_jax.data import augment, photographs, sources
from mnv2_jax.nn import network
from mnv2_jax.nn.positive import positive_fractions

_PHOTOGRAPHS = "8 crops of two photographs"
_SCALING = "symmetric"
_MOST_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Positive:
    """Positive fractions of networks.

    Attributes:
      rows: as `mnv2_jax.analysis.figure_7.rows_of` returns them.
      threshold: the fraction that stands for as many channels as before the expansion, 1/t.
      images: the images, in words.
    """

    rows: Sequence[Mapping[str, Any]]
    threshold: float
    images: str


def initial(
    networks: int, resolution: int = 224, count: Callable[[int], None] = lambda done: None
) -> Positive:
    """Measure MobileNetV2s with random weights, of the seeds from 0, on crops of photographs.

    Args:
      networks: number of them.
      resolution: of the images; the paper's is 224.
      count: is called with the number of networks that are measured.

    Raises:
      ValueError: the resolution is out of range.
    """
    spec = presets.build("mobilenet_v2", resolution=resolution)
    images = _scaled(photographs.crops(resolution), _SCALING)
    rows: list[Mapping[str, Any]] = []
    for seed in range(networks):
        rows += _measured(spec, network.initialise(spec, seed), images, seed)
        count(seed + 1)
    return Positive(rows, _threshold(spec), _PHOTOGRAPHS)


def trained(path: Path, tell: Callable[[str], None]) -> Positive:
    """Measure a trained network.

    Beside a run's `network.safetensors` lies its config, whose validation images are used. Other
    weights, such as those of ImageNet, see crops of photographs.

    Args:
      path: a file or folder that `experiments.finetune --pretrained` takes. Files of other
        libraries are of width 1 and see 224 pixels.
      tell: is called with lines about the images.

    Raises:
      ValueError: there are no such weights, or no block expands; one line that begins with the
        path.
    """
    given = PretrainedWeights.open(path)
    if given.network is not None:
        spec, variables = given.network.spec, given.network.variables
    else:
        spec = presets.build("mobilenet_v2", conventions=given.conventions)
        variables = given.loaded(spec).variables
    if not given.scaling:
        raise ValueError(
            f"{path}: it does not tell the scaling of images; expected a run's network"
        )
    images, words = _images(given, spec, tell)
    try:
        rows = _measured(spec, variables, _scaled(images, given.scaling))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Positive(rows, _threshold(spec), words)


def _measured(
    spec: arch.NetworkSpec, variables: Mapping[str, Any], images: np.ndarray, seed: int = 0
) -> list[dict[str, Any]]:
    return [
        row
        for moments in (figure_7.BATCH, figure_7.RUNNING)
        for row in figure_7.rows_of(
            positive_fractions(spec, variables, images, batch_moments=moments == figure_7.BATCH),
            moments,
            seed,
        )
    ]


def _images(
    given: PretrainedWeights, spec: arch.NetworkSpec, tell: Callable[[str], None]
) -> tuple[np.ndarray, str]:
    """Return uint8 images for a network, and these in words."""
    config = given.path.parent / "config.json"
    if given.network is not None and config.is_file():
        try:
            recorded = ConfigDict(ids.with_current_names(checksums.read_json(config)))
            ids.complete(recorded)
            validation = sources.load(resolve.data_selection(recorded), tell=tell).validation
            count = min(len(validation), _MOST_IMAGES)
            images = np.stack([validation[index].image for index in range(count)])
        except (ValueError, OSError) as error:
            tell(f"{config}: its data set cannot be read ({error}); photographs instead")
        else:
            return images, f"{count} validation images of {recorded.data.name}"
    return photographs.crops(spec.resolution, spec.in_channels), _PHOTOGRAPHS


def _scaled(images: np.ndarray, scaling: str) -> np.ndarray:
    return np.asarray(augment.scale(jnp.asarray(images), scaling))


def _threshold(spec: arch.NetworkSpec) -> float:
    return 1 / max(block.expansion for block in spec.blocks)
