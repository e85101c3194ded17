"""Evaluator of bottlenecks: what their projections and expansions keep, block by block."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mnv2_jax.ablation.subject import Measures, Subject
from mnv2_jax.data import augment
from mnv2_jax.nn import probes
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.probes import Probed

IMAGES = 1024
"""The most images that are measured; of more, so many evenly spaced ones are."""

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

    def observe(variables: Any, knobs: Any, images: Any) -> Any:
        return probes.observe(Network(spec), variables, knobs, augment.scale(images, scaling))

    images = subject.images
    if len(images) > IMAGES:
        subject.say(
            f"bottlenecks are measured on {IMAGES:,} of {len(images):,} images, evenly spaced"
        )
    # Every network is given an image that was decoded once; only sums are kept of each.
    sums = [[probes.Sums() for _ in spec.blocks] for _ in subject.networks]
    for seen in subject.observe(observe, images, IMAGES):
        for block, tensors in zip(sums[seen.network], seen.result, strict=True):
            block.add(tensors, seen.weights, seen.first)
    return [
        [_finished(block, f"run {run}, block {number}") for number, block in enumerate(own, 1)]
        for run, own in zip(subject.runs, sums, strict=True)
    ]


def _finished(block: probes.Sums, what: str) -> Probed:
    try:
        return block.finish()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
