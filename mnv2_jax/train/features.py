"""Features of images, computed once by a frozen base, to train a classifier on."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import SAMPLE, Inputs, OnDevice, evaluation_batch_size
from mnv2_jax.train.parallel import Layout, Program
from mnv2_jax.train.recipe import COMPUTE_DTYPES
from mnv2_jax.train.state import TrainState
from mnv2_jax.train.step import BATCH_AXIS, LaneProgram

Array = jax.Array


def are_constant(program: LaneProgram) -> bool:
    """Return whether features are the same in every epoch: only the classifier trains."""
    tuning = program.tuning
    frozen = tuning is not None and tuning.first == "classifier" and tuning.norm != "all"
    return frozen and program.augmentation == Augmentation()


class ClassifierProgram(LaneProgram):
    """Trains the classifier of a frozen network; its inputs are features in place of images."""

    def features(self, state: TrainState, values: HParams, images: Array) -> Array:
        """Compute the features of a batch; devices that share it all return the whole.

        Args:
          state: the lane's state.
          values: the lane's hyperparameters.
          images: uint8 `[batch, height, width, channels]`.

        Returns:
          float32 `[batch, features]`.
        """
        inputs = super()._scaled(images).astype(COMPUTE_DTYPES[self.recipe.compute_dtype])
        variables = state.variables.tree
        result: Any = self.network.apply(variables, inputs, knobs=values.knobs, only="features")
        features = result.astype(jnp.float32)
        return lax.all_gather(features, BATCH_AXIS, tiled=True) if self.axis_size > 1 else features

    def _batch(
        self, key: Array, number: Array, rows: Array, chosen: Array, data: tuple[Array, Array]
    ) -> tuple[Array, Array, Array]:
        features, labels = (split[chosen] for split in data)
        return features, labels, jax.nn.one_hot(labels, self.classes)

    def _scaled(self, images: Array) -> Array:
        return images

    def logits(self, variables: Any, images: Array, **options: Any) -> Any:
        """See `LaneProgram`: here images are features."""
        return super().logits(variables, images, only="classifier", **options)


class _Split(NamedTuple):
    """A split's features for each lane: host arrays `[lanes, count, ...]`."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class Features(OnDevice):
    """The features of each lane's images by the lane's own base lie whole on the devices."""

    def __post_init__(self, lanes: tuple[Any, Any]) -> None:
        self._lanes = lanes
        self._bases = _bases(self.layout.collect(lanes[0].frozen.vector), self.values)
        self._splits: dict[str, _Split] = {}
        layout, split = self.layout, self._split("train")
        train = layout.device_put(layout.shard_lanes((split.features, split.labels)))
        # Each lane's features lie in the order of its images.
        indices = np.arange(self.dataset.training_images, dtype=np.int32)
        self._start(Inputs(train, ()), dict.fromkeys(self.seeds, indices))

    @classmethod
    def adapt(cls, program: LaneProgram) -> LaneProgram:
        """See `InputPipeline`."""
        fields = dataclasses.fields(program)
        return ClassifierProgram(**{field.name: getattr(program, field.name) for field in fields})

    @classmethod
    def prepare(
        cls, program: LaneProgram, dataset: Dataset, layout: Layout, lanes: tuple[Any, Any]
    ) -> Program:
        """See `InputPipeline`: compiles the base."""
        assert isinstance(program, ClassifierProgram)  # By `adapt`.
        size = evaluation_batch_size(program, layout) // layout.axis_size
        images = jax.ShapeDtypeStruct((size, *dataset.train.shape), np.uint8)
        return layout.compile(program.features, (*lanes, layout.shapes(images)))

    @classmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        count = dataset.training_images
        order = jax.ShapeDtypeStruct((count,), np.int32)
        return Inputs(layout.shapes((order, *_shapes(program, count))), ())

    @classmethod
    def evaluation_shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        size = evaluation_batch_size(program, layout) // layout.axis_size
        weights = jax.ShapeDtypeStruct((size,), np.float32)
        return Inputs(layout.shapes((weights, *_shapes(program, size))), ())

    def _batches(self, name: str) -> Iterator[Inputs]:
        split = self._sample() if name == SAMPLE else self._split(name)
        count = split.labels.shape[1]
        for rows in self._rows(count):
            chosen = rows % count
            weights = split.weights[:, chosen] * (rows < count)
            batch = (weights, split.features[:, chosen], split.labels[:, chosen])
            yield Inputs(self.layout.shard_batch_to_lanes(batch), ())

    def _rows(self, count: int) -> Iterator[np.ndarray]:
        """Yield this process's rows of each batch; those from `count` on fill up the last one."""
        size = evaluation_batch_size(self.program, self.layout)
        for start in range(0, count, size):
            yield start + self.layout.host_rows(size)

    def _split(self, name: str) -> _Split:
        if name not in self._splits:
            arrays = self._arrays(name)
            everything = np.arange(len(arrays.labels))
            chosen = np.stack(
                [
                    self.dataset.chosen(seed) if name == "train" else everything
                    for seed in self.seeds
                ]
            )
            features = self._features(arrays.images, chosen)
            self._splits[name] = _Split(features, arrays.labels[chosen], arrays.weights[chosen])
        return self._splits[name]

    def _sample(self) -> _Split:
        """Return the part of each lane's training images that is evaluated in every epoch."""
        chosen, sample = (
            np.stack([of(seed) for seed in self.seeds])
            for of in (self.dataset.chosen, self.dataset.sample)
        )
        places = np.stack(list(map(np.searchsorted, chosen, sample)))
        return _Split(
            *(
                np.stack([whole[part] for whole, part in zip(of_lanes, places, strict=True)])
                for of_lanes in self._split("train")
            )
        )

    def _features(self, images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Compute features `[lanes, count, features]` of each lane's images, `[lanes, count]`.

        Lanes with the same base and images divide the work among them.
        """
        groups: dict[tuple[str, bytes], list[int]] = {}
        for lane, base in enumerate(self._bases):
            groups.setdefault((base, chosen[lane].tobytes()), []).append(lane)
        lanes, count = chosen.shape
        most = max(-(-count // len(members)) for members in groups.values())
        columns = np.empty((lanes, most), int)  # Of `chosen`: those that each lane computes.
        for members in groups.values():
            for rank, lane in enumerate(members):
                columns[lane] = (rank + len(members) * np.arange(most)) % count
        wanted = np.take_along_axis(chosen, columns, axis=1)
        parts = [self._compute(images[wanted[:, rows % most]]) for rows in self._rows(most)]
        computed = np.concatenate(parts, axis=1)[:, :most]
        features = np.empty((lanes, count, computed.shape[-1]), computed.dtype)
        for members in groups.values():
            for lane in members:
                features[np.ix_(members, columns[lane])] = computed[lane]
        return features

    def _compute(self, images: np.ndarray) -> np.ndarray:
        """Run the base on a batch of each lane's images, with the rows of `Layout.host_rows`.

        Args:
          images: `[lanes, rows, height, width, channels]`.

        Returns:
          `[lanes, batch, features]`.
        """
        assert self.prepared is not None  # By `prepare`.
        lanes = len(self.values)
        images = self.layout.shard_batch_to_lanes(images)
        features = self.prepared.run(lanes, *self._lanes, images)
        return np.asarray(self.layout.collect(features)[:lanes])


def _bases(vectors: np.ndarray, values: Sequence[HParams]) -> list[str]:
    """Return texts that are equal for lanes whose features of an image are equal.

    Args:
      vectors: the frozen variables of lanes, `[lanes, size]`; of more than have values.
      values: the lanes' hyperparameters.
    """
    return [
        f"{hashlib.sha256(vector.tobytes()).hexdigest()} {lane.knobs}"
        for vector, lane in zip(vectors, values, strict=False)
    ]


def _shapes(program: LaneProgram, count: int) -> tuple[Any, Any]:
    """Return the shapes of features and labels of `count` images."""
    return (
        jax.ShapeDtypeStruct((count, program.spec.features), np.float32),
        jax.ShapeDtypeStruct((count,), np.int32),
    )
