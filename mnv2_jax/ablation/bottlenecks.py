"""Evaluator of bottlenecks: what their projections and expansions keep, block by block."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from mnv2_jax.ablation.subject import Measures, Subject
from mnv2_jax.data import augment, stream
from mnv2_jax.data.images import Images
from mnv2_jax.data.subsets import Subset
from mnv2_jax.nn import probes
from mnv2_jax.nn.network import Network, variable_shapes
from mnv2_jax.nn.probes import Probed

IMAGES = 1024
"""The most images that are measured; of more, so many evenly spaced ones are."""

_BATCH_BYTES = 2**28
"""The most that the tensors of a batch take on the host."""

_Better = Literal["higher", "lower"]

_SUMMARIES: tuple[tuple[str, str, _Better], ...] = (
    ("active", "Active channels", "higher"),
    ("least_active", "Active channels, least of all blocks", "higher"),
    ("dead", "Dead channels", "lower"),
    ("rank_before", "Effective rank before the projection's activation", "higher"),
    ("rank_after", "Effective rank after the projection's activation", "higher"),
    ("positive_min", "Positive channels after expansion, least of all pixels", "higher"),
    ("decodable", "Input that is decodable from output", "higher"),
)
_OF_BLOCKS: tuple[tuple[str, str, str, int, _Better], ...] = (
    ("channels", "Channels of the bottleneck", "", 0, "higher"),
    ("active", "Active channels per pixel", "", 2, "higher"),
    ("dead", "Dead channels", "", 0, "lower"),
    ("rank_before", "Effective rank before the activation", "", 2, "higher"),
    ("rank_after", "Effective rank after the activation", "", 2, "higher"),
    ("positive_mean", "Positive channels after expansion, mean", "%", 1, "higher"),
    ("positive_min", "Positive channels after expansion, minimum", "%", 1, "higher"),
    ("decodable", "Input that is decodable from output", "%", 1, "higher"),
)


def bottlenecks(subject: Subject) -> Measures:
    """Probe the bottlenecks of networks in inference mode, in float32; see `mnv2_jax.nn.probes`.

    The measures of a network are shares of its bottlenecks' channels, or of variance: means over
    the blocks that have them, but `least_active` and `positive_min`, which are minima. Numbers of
    each block are in `subject.per_block`.

    Raises:
      ValueError: an image cannot be decoded, or a network's tensors are not finite.
    """
    for name, label, better in _SUMMARIES:
        subject.describe(name, label, "%", better, 1)
    for name, label, unit, digits, better in _OF_BLOCKS:
        subject.describe(name, label, unit, better, digits, of_blocks=True)
    by_run = _probed(subject)
    subject.per_block = [[one._asdict() for one in blocks] for blocks in by_run]
    return [_summary(blocks) for blocks in by_run]


def _summary(blocks: Sequence[Probed]) -> dict[str, float]:
    """Return a network's measures, without those that none of its blocks has."""
    shares: dict[str, list[float]] = {name: [] for name, _, _ in _SUMMARIES}
    for one in blocks:
        for name in ("active", "dead", "rank_before", "rank_after"):
            value = getattr(one, name)
            if value is not None and one.channels:
                shares[name].append(value / one.channels)
        for name in ("positive_min", "decodable"):
            value = getattr(one, name)
            if value is not None:
                shares[name].append(value)
    shares["least_active"] = shares["active"]
    return {
        name: float(min(found) if name in ("least_active", "positive_min") else np.mean(found))
        for name, found in shares.items()
        if found
    }


def _probed(subject: Subject) -> list[list[Probed]]:
    """Return the measures of each block of each network."""
    spec, scaling = subject.program.spec, subject.program.scaling

    @jax.jit
    def observe(variables: Any, knobs: Any, images: Any) -> Any:
        return probes.observe(Network(spec), variables, knobs, augment.scale(images, scaling))

    # Every network is given an image that was decoded once; only sums are kept of each.
    sums = [[probes.Sums() for _ in spec.blocks] for _ in subject.networks]
    for first, batch in _batches(subject, _batch_size(subject)):
        for network, values, own in zip(subject.networks, subject.values, sums, strict=True):
            observed = observe(network.variables, values.knobs, batch.images)
            for block, tensors in zip(own, observed, strict=True):
                block.add(tensors, batch.weights, first)
    return [
        [_finished(block, f"run {run}, block {number}") for number, block in enumerate(own, 1)]
        for run, own in zip(subject.runs, sums, strict=True)
    ]


def _finished(block: probes.Sums, what: str) -> Probed:
    try:
        return block.finish()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _batches(subject: Subject, size: int) -> Iterator[tuple[int, stream.Batch]]:
    """Yield batches of images, each with the number of its first image."""
    batches = stream.EvaluationBatches(_evenly_spaced(subject), size, range(size))
    with contextlib.closing(stream.iterate(batches)) as decoded:
        for number, batch in enumerate(decoded):
            subject.leave_out(batch.problems)
            yield number * size, batch


def _evenly_spaced(subject: Subject) -> Images:
    """Return the images to measure: `IMAGES` of them at most."""
    images = subject.images
    if len(images) <= IMAGES:
        return images
    subject.say(f"bottlenecks are measured on {IMAGES:,} of {len(images):,} images, evenly spaced")
    places = np.arange(IMAGES) * len(images) // IMAGES
    return dataclasses.replace(images, records=Subset(images.records, places))


def _batch_size(subject: Subject) -> int:
    """Return the images of a batch: as for evaluation, or as many as `_BATCH_BYTES` hold."""
    spec = subject.program.spec
    variables: Mapping[str, Any] = variable_shapes(spec)
    image = jax.ShapeDtypeStruct((1, *spec.input_shape), np.float32)
    tensors = jax.eval_shape(
        functools.partial(probes.observe, Network(spec)),
        variables,
        subject.values[0].knobs,
        image,
    )
    of_image = sum(4 * math.prod(tensor.shape) for tensor in jax.tree.leaves(tensors))
    wanted = min(subject.program.recipe.evaluation_batch_size, len(subject.images), IMAGES)
    return max(1, min(wanted, _BATCH_BYTES // of_image))
