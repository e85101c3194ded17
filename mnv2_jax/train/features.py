"""Features of images, computed once by a base that does not change, to train a classifier on."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import (
    EpochPermutations,
    InputPipeline,
    Inputs,
    PipelineArgs,
    StepInputs,
    evaluation_batch,
)
from mnv2_jax.train.parallel import Layout, Program
from mnv2_jax.train.recipe import COMPUTE_DTYPES
from mnv2_jax.train.state import TrainState
from mnv2_jax.train.step import BATCH_AXIS, LaneProgram

Array = jax.Array


def suffices(program: LaneProgram) -> bool:
    """Return whether all epochs have the same features: nothing but the classifier trains."""
    tuning = program.tuning
    frozen = tuning is not None and tuning.first == "classifier" and tuning.norm != "all"
    return frozen and program.augmentation == Augmentation()


class ClassifierProgram(LaneProgram):
    """Trains the classifier of a frozen network: what stands for images are their features."""

    def features(self, state: TrainState, values: HParams, images: Array) -> Array:
        """Return the features of a batch, or of a device's part of it, whole on each device.

        Args:
          state: the lane's state.
          values: the lane's values.
          images: uint8 `[batch, height, width, channels]`.

        Returns:
          float32 `[batch, features]`.
        """
        inputs = super()._evaluated(images).astype(COMPUTE_DTYPES[self.recipe.compute_dtype])
        variables = state.variables.tree
        result: Any = self.network.apply(variables, inputs, knobs=values.knobs, only="features")
        found = result.astype(jnp.float32)
        return lax.all_gather(found, BATCH_AXIS, tiled=True) if self.axis_size > 1 else found

    def _batch(
        self, key: Array, number: Array, rows: Array, chosen: Array, data: tuple[Array, Array]
    ) -> tuple[Array, Array, Array]:
        features, labels = (whole[chosen] for whole in data)
        return features, labels, jax.nn.one_hot(labels, self.classes)

    def _evaluated(self, images: Array) -> Array:
        return images

    def _logits(self, variables: Any, images: Array, **options: Any) -> Any:
        return super()._logits(variables, images, only="classifier", **options)


class _Split(NamedTuple):
    """A split's features for each lane: host arrays `[lanes, count, ...]`."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class Features(InputPipeline):
    """Every lane has the features of its own images by its own base, whole on the devices."""

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        seeds: Sequence[int],
        bases: Sequence[str],
        of_lanes: Callable[[np.ndarray], np.ndarray],
        tell: Callable[[str], None],
    ) -> None:
        """Bring features of the training and the validation split to the devices.

        Args:
          program: what is fed.
          dataset: its splits; they are decoded the first time.
          layout: of the lanes.
          seeds: of each lane's data.
          bases: what tells each lane's base from others; equal ones share their work.
          of_lanes: maps a batch of images of each lane, with the rows of `layout.host_rows`, to
            features: host arrays `[lanes, rows, height, width, channels]` to
            `[lanes, batch, features]`.
          tell: called with a line for people.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """
        super().__init__(program, dataset, layout, tell)
        self._seeds = seeds
        self._bases = bases
        self._of_lanes = of_lanes
        self._splits: dict[str, _Split] = {}
        train = self._split("train")
        self._train = layout.device_put(layout.shard_lanes((train.features, train.labels)))
        # Each lane's features lie in the order of its images.
        everything = np.arange(dataset.training_images, dtype=np.int32)
        self._orders = EpochPermutations(program, layout, seeds, dict.fromkeys(seeds, everything))
        self._validation = [layout.device_put(batch) for batch in self._evaluation("validation")]

    @classmethod
    def begin(cls, args: PipelineArgs) -> "Features":
        """See `InputPipeline`."""
        layout, prepared, lanes = args.layout, args.prepared, args.lanes
        assert prepared is not None  # By `prepare`.

        def of_lanes(images: np.ndarray) -> np.ndarray:
            found = prepared.run(*lanes, layout.shard_batch_to_lanes(images))
            return np.asarray(layout.collect(found)[: len(args.values)])

        bases = _bases(args)
        return cls(*args[:3], args.seeds, bases, of_lanes, args.tell)

    @classmethod
    def prepare(
        cls, program: LaneProgram, dataset: Dataset, layout: Layout, lanes: tuple[Any, Any]
    ) -> Program:
        """See `InputPipeline`: what computes features."""
        assert isinstance(program, ClassifierProgram)  # By `program`.
        size = evaluation_batch(program, layout) // layout.axis_size
        images = jax.ShapeDtypeStruct((size, *dataset.train.shape), np.uint8)
        return layout.compile(program.features, (*lanes, layout.shapes(images)))

    @classmethod
    def program(cls, program: LaneProgram) -> LaneProgram:
        """See `InputPipeline`."""
        fields = dataclasses.fields(program)
        return ClassifierProgram(**{field.name: getattr(program, field.name) for field in fields})

    @classmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        count = dataset.training_images
        order = jax.ShapeDtypeStruct((count,), np.int32)
        return Inputs(layout.shapes((order, *_features(program, count))), ())

    @classmethod
    def evaluation_shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        size = evaluation_batch(program, layout) // layout.axis_size
        weights = jax.ShapeDtypeStruct((size,), np.float32)
        return Inputs(layout.shapes((weights, *_features(program, size))), ())

    def take(self, step: int, steps: int) -> StepInputs:
        """See `InputPipeline`."""
        stop = min(self._end_of_epoch(step), step + steps)
        order, first = self._orders.at(step)
        return StepInputs(stop, first, Inputs((order, *self._train), ()))

    def evaluation(self, split: str) -> Iterator[Inputs]:
        """See `InputPipeline`."""
        return iter(self._validation if split == "validation" else self._evaluation(split))

    def close(self) -> None:
        """See `InputPipeline`."""
        del self._train, self._validation

    def _evaluation(self, split: str) -> Iterator[Inputs]:
        found = self._split(split)
        count = found.labels.shape[1]
        for places in self._batches(count):
            chosen = places % count
            weights = found.weights[:, chosen] * (places < count)
            batch = (weights, found.features[:, chosen], found.labels[:, chosen])
            yield Inputs(self._layout.shard_batch_to_lanes(batch), ())

    def _batches(self, count: int) -> Iterator[np.ndarray]:
        """Return the places of this process's rows of batches; what fills up lies beyond them."""
        size = evaluation_batch(self._program, self._layout)
        for start in range(0, count, size):
            yield start + self._layout.host_rows(size)

    def _split(self, name: str) -> _Split:
        if name not in self._splits:
            arrays = self._arrays(name)
            everything = np.arange(len(arrays.labels))
            of_lanes = [
                self._dataset.chosen(seed) if name == "train" else everything
                for seed in self._seeds
            ]
            chosen = np.stack(of_lanes)
            features = self._features(arrays.images, chosen)
            self._splits[name] = _Split(features, arrays.labels[chosen], arrays.weights[chosen])
        return self._splits[name]

    def _features(self, images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Features `[lanes, count, features]` of the images that lanes chose, `[lanes, count]`.

        Lanes that have a base and all images in common each compute some of them.
        """
        groups: dict[tuple[str, bytes], list[int]] = {}
        for lane, base in enumerate(self._bases):
            groups.setdefault((base, chosen[lane].tobytes()), []).append(lane)
        lanes, count = chosen.shape
        most = max(-(-count // len(members)) for members in groups.values())
        places = np.empty((lanes, most), int)
        for members in groups.values():
            for rank, lane in enumerate(members):
                places[lane] = (rank + len(members) * np.arange(most)) % count
        wanted = np.take_along_axis(chosen, places, axis=1)
        parts = [self._of_lanes(images[wanted[:, rows % most]]) for rows in self._batches(most)]
        found = np.concatenate(parts, axis=1)[:, :most]
        features = np.empty((lanes, count, found.shape[-1]), found.dtype)
        for members in groups.values():
            for lane in members:
                features[np.ix_(members, places[lane])] = found[lane]
        return features


def _bases(args: PipelineArgs) -> list[str]:
    """Return a text that is equal for lanes whose features of an image are equal."""
    state, _ = args.lanes
    vectors = np.asarray(state.frozen.vector)
    frozen = vectors.reshape(-1, vectors.shape[-1])  # By lanes; what fills up comes last.
    return [
        f"{hashlib.sha256(of_lane.tobytes()).hexdigest()} {lane.knobs}"
        for of_lane, lane in zip(frozen, args.values, strict=False)
    ]


def _features(program: LaneProgram, count: int) -> tuple[Any, Any]:
    """Return the shapes of so many images' features and labels."""
    return (
        jax.ShapeDtypeStruct((count, program.spec.features), np.float32),
        jax.ShapeDtypeStruct((count,), np.int32),
    )
