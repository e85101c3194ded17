"""Evaluator of low precision: the accuracy of networks whose numbers have few bits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mnv2_jax import arch
from mnv2_jax.ablation.subject import Measures, Subject
from mnv2_jax.data import augment
from mnv2_jax.metrics import METRICS
from mnv2_jax.nn import quantisation
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.quantisation import EXACT, FLOATS, Format, Path, Ranges
from mnv2_jax.predictions import Predictions
from mnv2_jax.train.state import Packed, Variables
from mnv2_jax.train.step import LaneProgram

IMAGES = 256
"""The most training images that ranges of activations are taken from."""

_CHECKED = 32
"""The most training images that folded networks are compared on."""

_FORMATS = "formats"
"""The collection of variables that has number formats, by layer."""

_SAME = 1e-3
"""The most that folding may change logits by, relative to the largest: float32's rounding, many
layers deep."""


class Variant(NamedTuple):
    """A way to quantise a network.

    Attributes:
      weights: bits of kernels, or one of `mnv2_jax.nn.quantisation.FLOATS`; 0 keeps float32.
      inputs: likewise of the inputs of layers.
      per_channel: kernels have a range for each output channel, else one for all.
      percentile: activations beyond `mnv2_jax.nn.quantisation.PERCENTILE` are clipped.
      equalised: channels are scaled between layers first, and ReLU takes ReLU6's place.
    """

    weights: int | str = 0
    inputs: int | str = 0
    per_channel: bool = False
    percentile: bool = False
    equalised: bool = False

    @property
    def name(self) -> str:
        """The name of its accuracy."""
        if isinstance(self.weights, str):
            return self.weights
        bits = "".join(f"{what}{n}" for what, n in (("w", self.weights), ("a", self.inputs)) if n)
        words = [("channel" if self.per_channel else "tensor") if self.weights else ""]
        words += ["percentile" if self.percentile else "", "equalised" if self.equalised else ""]
        return "_".join(word for word in (bits, *words) if word)

    @property
    def label(self) -> str:
        """The name in texts."""
        if isinstance(self.weights, str):
            return self.weights.replace("_", " ")
        words = f"{self.weights or self.inputs} bits"
        if not (self.weights and self.inputs):
            words = (
                f"{self.weights or self.inputs}-bit {'kernels' if self.weights else 'activations'}"
            )
        if self.weights:
            words += f" per {'channel' if self.per_channel else 'tensor'}"
        if self.percentile:
            words += f", {quantisation.PERCENTILE}th percentile"
        return f"{words}, equalised" if self.equalised else words


VARIANTS = (
    *(Variant(bits, bits, each) for bits in (8, 6, 4, 3) for each in (False, True)),
    *(Variant(weights=bits, per_channel=each) for bits in (8, 4) for each in (False, True)),
    *(Variant(inputs=bits) for bits in (8, 4)),
    *(Variant(4, 4, each, percentile=True) for each in (False, True)),
    *(Variant(bits, bits, equalised=True) for bits in (8, 4)),
    *(Variant(name, name) for name in FLOATS),
)
"""The ways to quantise that are measured."""

_OF_LAYERS = {
    "activation": "Largest activation",
    "kernel_ratio": "Kernel range, largest to smallest",
    "kernel_to_median": "Kernel range, largest to median",
}
"""Measures of layers, which explain drops, by name."""


@dataclasses.dataclass(frozen=True)
class QuantisedProgram(LaneProgram):
    """The program of a lane whose kernels and inputs of layers are rounded to formats.

    The formats are a part of the variables, so that lanes may differ in them.
    """

    def pack(self, variables: Mapping[str, Any]) -> Variables:
        """Pack variables with their formats."""
        own = {name: tree for name, tree in variables.items() if name != _FORMATS}
        return super().pack(own)._replace(frozen=Packed.pack({_FORMATS: variables[_FORMATS]}))

    def logits(self, variables: Any, images: jax.Array, **options: Any) -> Any:
        """See `LaneProgram`."""
        own = {name: tree for name, tree in variables.items() if name != _FORMATS}
        found: dict[str, dict[Path, Format]] = {
            what: {
                tuple(path.split("/")): Format(**of[what])
                for path, of in variables[_FORMATS].items()
            }
            for what in ("kernel", "input")
        }
        rounded = quantisation.quantised_kernels(own, found["kernel"])
        with quantisation.quantised_inputs(found["input"]):
            return super().logits(rounded, images, **options)


def precision(subject: Subject) -> Measures:
    """Measure drops of accuracy in low precision, and the ranges that explain them.

    Networks are computed in float32, their numbers rounded as `VARIANTS` say. `NAME_drop` is the
    accuracy in float32 less that in the format `NAME`. Equalised networks have ReLU instead of
    ReLU6, and `relu_drop` is what that alone costs; there are none where
    `mnv2_jax.nn.quantisation.can_equalise` no block. Ranges of activations are those of `IMAGES`
    training images.

    Raises:
      ValueError: an image cannot be decoded, or a network cannot be folded.
    """
    recipe = dataclasses.replace(subject.program.recipe, compute_dtype="float32")
    program = QuantisedProgram(
        subject.program.spec,
        recipe,
        subject.program.steps_per_epoch,
        scaling=subject.program.scaling,
        metrics=(METRICS["accuracy"],),
    )
    epsilon = program.spec.conventions.norm_epsilon
    folded = [quantisation.fold(one.variables, epsilon) for one in subject.networks]
    plain = _Source(program, folded, _calibrated(subject, program, folded))
    _check_folded(subject, plain)
    lanes = {"accuracy": (Variant(), plain)}
    lanes |= {one.name: (one, plain) for one in VARIANTS if not one.equalised}
    if spec := _with_relu(program.spec):
        other = dataclasses.replace(program, spec=spec)
        variables = [quantisation.equalise(one, spec) for one in folded]
        equalised = _Source(other, variables, _calibrated(subject, other, variables))
        if spec != program.spec:
            lanes["relu"] = (Variant(), equalised)
        lanes |= {one.name: (one, equalised) for one in VARIANTS if one.equalised}
    measures = _drops(subject, lanes)
    explained = _explained(subject, folded, plain.ranges)
    return [one | more for one, more in zip(measures, explained, strict=True)]


class _Source(NamedTuple):
    """Networks to be quantised.

    Attributes:
      program: computes them.
      variables: of each.
      ranges: of the inputs of each one's layers.
    """

    program: QuantisedProgram
    variables: Sequence[Mapping[str, Any]]
    ranges: Sequence[Mapping[Path, Ranges]]


def _with_relu(spec: arch.NetworkSpec) -> arch.NetworkSpec | None:
    """Return a network with ReLU instead of ReLU6; None if no block can then be equalised."""
    blocks = tuple(
        dataclasses.replace(block, activation="relu") if block.activation == "relu6" else block
        for block in spec.blocks
    )
    changed = dataclasses.replace(spec, blocks=blocks)
    return changed if any(map(quantisation.can_equalise, blocks)) else None


def _calibrated(
    subject: Subject, program: LaneProgram, variables: Sequence[Mapping[str, Any]]
) -> list[dict[Path, Ranges]]:
    """Return the ranges of each network's inputs of layers, over training images."""
    network, scaling = Network(program.spec), program.scaling

    def observe(variables: Any, knobs: Any, images: jax.Array) -> Any:
        return quantisation.observe(network, variables, knobs, augment.scale(images, scaling))

    ranges: list[dict[Path, Ranges]] = [{} for _ in variables]
    for seen in subject.observe(observe, subject.training(), IMAGES, variables):
        for path, calls in seen.result.items():
            found = ranges[seen.network].setdefault(path, Ranges())
            for values in calls:
                found.add(np.asarray(values)[seen.weights > 0])
    return ranges


def _check_folded(subject: Subject, source: _Source) -> None:
    """Check that folded networks compute what they did, and that all of their kernels are known.

    Raises:
      ValueError: one of them has other logits than before, or ones that are not finite, or the
        kernel of an unknown layer.
    """
    network, scaling = Network(source.program.spec), source.program.scaling

    def logits(variables: Any, knobs: Any, images: jax.Array) -> Any:
        return network.apply(variables, augment.scale(images, scaling), knobs=knobs)

    images = subject.training()
    of_folded = subject.observe(logits, images, _CHECKED, source.variables)
    for own, other in zip(subject.observe(logits, images, _CHECKED), of_folded, strict=True):
        run, before, after = subject.runs[own.network], own.result, other.result
        ranges = source.ranges[own.network]
        if unknown := quantisation.unknown(source.variables[own.network], ranges):
            raise ValueError(
                f"run {run}: the kernel of {'/'.join(unknown[0])} would not be rounded; expected "
                f"layers of mnv2_jax.nn.layers, or Flax's Conv and Dense"
            )
        if not np.isfinite(before).all():
            raise ValueError(f"run {run}: its logits are not finite; expected numbers")
        if not np.abs(after - before).max() <= _SAME * np.abs(before).max():
            raise ValueError(
                f"run {run}: its logits change where BatchNorms are folded into kernels; expected "
                f"a BatchNorm LAYER_norm right behind LAYER"
            )


def _drops(
    subject: Subject, lanes: Mapping[str, tuple[Variant, _Source]]
) -> list[dict[str, float]]:
    """Return each network's accuracy and drops by name, all of one spec by one program."""
    found: dict[str, np.ndarray] = {}
    predictions: list[Predictions] = []
    count = len(subject.networks)
    for spec in dict.fromkeys(source.program.spec for _, source in lanes.values()):
        own = {name: lane for name, lane in lanes.items() if lane[1].program.spec == spec}
        variables = [
            {**network, _FORMATS: _formats(variant, network, ranges)}
            for variant, source in own.values()
            for network, ranges in zip(source.variables, source.ranges, strict=True)
        ]
        program = next(iter(own.values()))[1].program
        accuracies = np.array([one["accuracy"] for one in subject.measure(program, variables)])
        predictions += subject.predictions
        found |= dict(zip(own, accuracies.reshape(len(own), count), strict=True))
    subject.predictions = predictions[:count]  # Of float32, as `accuracy`.
    accuracy = found["accuracy"]
    measures = [{"accuracy": float(one)} for one in accuracy]
    for name, (variant, _) in lanes.items():
        if name != "accuracy":
            label = "ReLU for ReLU6" if name == "relu" else variant.label
            subject.describe(f"{name}_drop", f"drop, {label}", "%", "lower", 1)
            for one, drop in zip(measures, accuracy - found[name], strict=True):
                one[f"{name}_drop"] = float(drop)
    return measures


def _formats(
    variant: Variant, variables: Mapping[str, Any], ranges: Mapping[Path, Ranges]
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Return the formats of kernels and inputs by layer, as a tree of dicts."""
    kernels = quantisation.kernels(variables, list(ranges))
    return {
        "/".join(path): {
            "kernel": _of_kernel(variant, kernels[path])._asdict(),
            "input": _of_input(variant, of_input)._asdict(),
        }
        for path, of_input in ranges.items()
    }


def _of_kernel(variant: Variant, kernel: np.ndarray) -> Format:
    """Return the format of a kernel, arrays `[output channels]`."""
    largest = quantisation.largest(kernel)
    bits = variant.weights
    if isinstance(bits, str) or not bits:
        format = FLOATS[bits] if isinstance(bits, str) else EXACT
    else:
        format = quantisation.symmetric(bits, largest if variant.per_channel else largest.max())
    return Format(*(np.broadcast_to(part, largest.shape).astype(np.float32) for part in format))


def _of_input(variant: Variant, ranges: Ranges) -> Format:
    bits = variant.inputs
    if isinstance(bits, str) or not bits:
        return FLOATS[bits] if isinstance(bits, str) else EXACT
    return quantisation.affine(
        bits, *(ranges.percentiles if variant.percentile else ranges.extremes)
    )


def _explained(
    subject: Subject,
    variables: Sequence[Mapping[str, Any]],
    ranges: Sequence[Mapping[Path, Ranges]],
) -> list[dict[str, float]]:
    """Return each network's widest ranges; set those of each block's layers."""
    for name, label in _OF_LAYERS.items():
        subject.describe(name, label, "", "lower", 1)
    names = subject.program.spec.parts[1 : len(subject.program.spec.blocks) + 1]
    summaries, per_block = [], []
    for own, of in zip(variables, ranges, strict=True):
        by_path = _by_layer(own, of)
        # The stem's input is an image.
        inner = [numbers for path, numbers in by_path.items() if path != ("stem",)]
        summaries.append({name: max(numbers[name] for numbers in inner) for name in _OF_LAYERS})
        blocks: dict[str, dict[str, float]] = {name: {} for name in names}
        for (part, *layer), numbers in by_path.items():
            if part in blocks:
                own_name = "_".join(layer)
                blocks[part] |= {f"{what}_of_{own_name}": one for what, one in numbers.items()}
        per_block.append(list(blocks.values()))
    for name in {name for blocks in per_block for block in blocks for name in block}:
        what, _, of_layer = name.partition("_of_")
        label = f"{_OF_LAYERS[what]}, {of_layer.replace('_', ' ')}"
        subject.describe(name, label, "", "lower", 1, of_blocks=True)
    subject.per_block = per_block
    return summaries


def _by_layer(
    variables: Mapping[str, Any], ranges: Mapping[Path, Ranges]
) -> dict[Path, dict[str, float]]:
    """Return the largest input of each layer, and how far its output channels' ranges differ.

    Channels whose kernel is 0 have no range.
    """
    found = {}
    for path, kernel in quantisation.kernels(variables, list(ranges)).items():
        of_channels = quantisation.largest(kernel)
        used = of_channels[of_channels > 0]
        widest = float(used.max()) if used.size else 0.0
        found[path] = {
            "activation": max(map(abs, ranges[path].extremes)),
            "kernel_ratio": widest / float(used.min()) if used.size else 1.0,
            "kernel_to_median": widest / float(np.median(used)) if used.size else 1.0,
        }
    return found
