"""What one lane does: initialise, train for some steps, evaluate a batch. Pure functions of arrays.

Nothing here knows of other lanes; `mnv2_jax.train.parallel` puts lanes together, and says whether
devices share a lane's batches.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from mnv2_jax import arch
from mnv2_jax.data import augment, pipeline
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.network import Network
from mnv2_jax.train import initial, vectors
from mnv2_jax.train.recipe import PRECISIONS, Recipe, decay_mask, optimizer, schedule

Array = jax.Array

BATCH_AXIS = "batch"
"""The mapped axis along which devices hold parts of one batch."""


_COLLECTIONS = ("params", "batch_stats")


class LaneValues(NamedTuple):
    """What may differ between the lanes of one compiled program: scalars, one set per run.

    Attributes:
      seed: of initial weights and dropout.
      data_seed: of the order of images and their augmentation.
      knobs: see there.
      learning_rate: the schedule's highest.
      weight_decay: see `mnv2_jax.train.recipe.optimizer`.
      label_smoothing: Szegedy et al. 2016.
    """

    seed: Any
    data_seed: Any
    knobs: Knobs
    learning_rate: Any
    weight_decay: Any
    label_smoothing: Any


class Epoch(NamedTuple):
    """Training since the epoch began: float32 scalars.

    Attributes:
      loss: mean over the steps so far, of augmented images in training mode.
      accuracy: likewise, a fraction of 1.
      learning_rate: of the last step.
    """

    loss: Any
    accuracy: Any
    learning_rate: Any


class State(NamedTuple):
    """A lane's training state, each part laid end to end in one vector.

    A network this small has some 170 parameters and moments. Updating, slicing out and writing
    back every one of them by itself would cost more to compile than the network does, and more
    memory traffic than it has; see `LaneProgram.variables` for the tree.

    Attributes:
      params: float32 `[parameters]`.
      batch_stats: float32 `[running moments]`.
      optimizer: optax's state over `params`.
      ema: averages of the first two, or () where the recipe keeps none.
      epoch: the epoch's metrics so far.
    """

    params: Array | np.ndarray
    batch_stats: Array | np.ndarray
    optimizer: Any
    ema: Any
    epoch: Epoch


class EvaluationSums(NamedTuple):
    """Sums over the images of a batch, so that batches add up exactly: float32 scalars."""

    loss: Array
    correct: Array
    images: Array


@dataclasses.dataclass(frozen=True)
class LaneProgram:
    """The functions of one lane, for a network and a recipe.

    Attributes:
      spec: the network; lanes may override its projection and shortcut.
      recipe: what lanes share.
      steps_per_epoch: whole batches in the training split.
      augmentation: of training images.
      scaling: of all images, one of `mnv2_jax.data.augment.SCALINGS`.
      parts: the devices that share each batch, along `BATCH_AXIS`; with 1 there is no such axis.
    """

    spec: arch.NetworkSpec
    recipe: Recipe
    steps_per_epoch: int
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    scaling: str = "symmetric"
    parts: int = 1

    @property
    def network(self) -> Network:
        """The module whose parameters a lane trains."""
        return Network(self.spec, None if self.parts == 1 else BATCH_AXIS)

    @property
    def steps(self) -> int:
        """Steps of a whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    def initialise(self, seed: int) -> State:
        """A lane's initial state on the host, from its seed alone."""
        variables = self._initialiser(seed)
        params, batch_stats = (vectors.ravel(variables[name]) for name in _COLLECTIONS)
        momenta = self._optimizer(learning_rate=0.0, weight_decay=0.0).init(params)
        ema = (params, batch_stats) if self.recipe.ema else ()
        zero = np.float32(0.0)
        return State(params, batch_stats, jax.device_get(momenta), ema, Epoch(zero, zero, zero))

    def variables(self, state: State) -> dict[str, Any]:
        """The tree of parameters and running moments that `Network.apply` takes in training."""
        return self._tree(state.params, state.batch_stats)

    def evaluated_variables(self, state: State) -> dict[str, Any]:
        """Those that are evaluated: the averages, where the recipe keeps them."""
        return self._tree(*(state.ema or (state.params, state.batch_stats)))

    def train(
        self,
        state: State,
        values: LaneValues,
        order: Array,
        first: Array,
        start: Array,
        stop: Array,
        images: Array,
        labels: Array,
    ) -> State:
        """Trains a lane from step `start` to before step `stop`, within one epoch.

        The bounds are arguments, so that one program runs any number of steps: what a state comes
        to does not depend on where the caller paused.

        Args:
          state: the lane's state.
          values: the lane's values.
          order: where the images of the steps from `first` on are among `images`, step by step and
            row by row, int32 `[places]`. Rows of other devices are not looked up.
          first: int32 scalar, counted from 0 through all epochs.
          start: likewise; `first` or later.
          stop: likewise; at most the end of the epoch that `start` lies in.
          images: a split, or what steps take of it, uint8 `[count, height, width, channels]`.
          labels: int32 `[count]`.
        """
        key = jax.random.key(values.seed)
        data_key = jax.random.key(values.data_seed)
        size = self.recipe.batch_size // self.parts
        part = lax.axis_index(BATCH_AXIS) if self.parts > 1 else 0
        rows = part * size + jnp.arange(size)

        def step(number: Array, state: State) -> State:
            chosen = order[(number - first) * self.recipe.batch_size + rows]
            batch = pipeline.train_batch(
                data_key,
                number,
                rows,
                chosen,
                (images, labels),
                self.augmentation,
                self.scaling,
                self.spec.classes,
            )
            dropout = jax.random.fold_in(pipeline.stream(key, "dropout"), number)
            dropout = jax.random.fold_in(dropout, part)
            return self._train_step(state, values, number, batch, dropout)

        return lax.fori_loop(start, stop, step, state)

    def evaluate(
        self, state: State, values: LaneValues, images: Array, labels: Array, weights: Array
    ) -> EvaluationSums:
        """Sums loss and hits over a batch, or a device's part of it.

        The network runs in inference mode; the loss is the plain cross-entropy.

        Args:
          state: the lane's state.
          values: the lane's values.
          images: uint8 `[batch, height, width, channels]`.
          labels: int32 `[batch]`.
          weights: float32 `[batch]`: 1 for an image, 0 for what is not to be counted.
        """
        logits = self._logits(
            self.evaluated_variables(state),
            augment.scale(images, self.scaling),
            knobs=values.knobs,
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        hits = logits.argmax(-1) == labels
        sums = EvaluationSums(jnp.sum(losses * weights), jnp.sum(hits * weights), jnp.sum(weights))
        return lax.psum(sums, BATCH_AXIS) if self.parts > 1 else sums

    @functools.cached_property
    def _initialiser(self) -> initial.Initialiser:
        def variables(seed: Array) -> Any:
            key = pipeline.stream(jax.random.key(seed), "parameters")
            return self.network.init(key, jnp.zeros((1, *self.spec.input_shape)))

        return initial.Initialiser(variables)

    @functools.cached_property
    def _packings(self) -> dict[str, vectors.Packing]:
        shapes = self._initialiser.shapes
        return {name: vectors.Packing.of(shapes[name]) for name in _COLLECTIONS}

    def _tree(self, params: Any, batch_stats: Any) -> dict[str, Any]:
        laid = zip(self._packings.items(), (params, batch_stats), strict=True)
        return {name: packing.tree(vector) for (name, packing), vector in laid}

    def _optimizer(self, learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        mask = decay_mask(self._initialiser.shapes["params"], self.recipe.decayed)
        decayed = vectors.ravel(mask)
        return optimizer(self.recipe, learning_rate, weight_decay, decayed, self.steps_per_epoch)

    def _logits(self, variables: Any, images: Array, **options: Any) -> Any:
        """What the network gives for float32 images, in the recipe's precision, then float32."""
        precision = PRECISIONS[self.recipe.precision]
        result = self.network.apply(variables, images.astype(precision), **options)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), result)

    def _train_step(
        self,
        state: State,
        values: LaneValues,
        number: Array,
        batch: tuple[Array, Array, Array],
        dropout: Array,
    ) -> State:
        gradient, batch_stats, measured = self._accumulated(state, values, batch, dropout)
        if self.parts > 1:
            gradient, measured = lax.pmean((gradient, measured), BATCH_AXIS)
        updates, momenta = self._optimizer(values.learning_rate, values.weight_decay).update(
            gradient, state.optimizer, state.params
        )
        params: Any = optax.apply_updates(state.params, updates)
        ema = state.ema
        if self.recipe.ema:
            keep = jnp.minimum(self.recipe.ema, (1 + number) / (10 + number))
            ema = jax.tree.map(
                lambda old, new: old + (1 - keep) * (new - old), ema, (params, batch_stats)
            )
        position = number % self.steps_per_epoch
        # Means so far, which begin anew where position is 0 whatever they were, were they NaN.
        loss, accuracy = (
            jnp.where(position == 0, new, mean + (new - mean) / (position + 1))
            for mean, new in zip(state.epoch[:2], measured, strict=True)
        )
        rate = schedule(self.recipe, values.learning_rate, self.steps_per_epoch)(number)
        return State(params, batch_stats, momenta, ema, Epoch(loss, accuracy, rate))

    def _accumulated(
        self, state: State, values: LaneValues, batch: tuple[Array, Array, Array], dropout: Array
    ) -> tuple[Array, Array | np.ndarray, tuple[Array, Array]]:
        """Gradient, new running moments and metrics of a batch, computed as the recipe splits it.

        The running moments move part by part, as BatchNorm sees one part at a time.
        """
        count = self.recipe.accumulation
        if count == 1:
            return self._gradient(state, values, batch, dropout)

        def add(carried: Any, part: Any) -> tuple[Any, None]:
            batch_stats, total = carried
            *batch, number = part
            gradient, batch_stats, measured = self._gradient(
                state._replace(batch_stats=batch_stats),
                values,
                tuple(batch),
                jax.random.fold_in(dropout, number),
            )
            share = jax.tree.map(lambda a, b: a + b / count, total, (gradient, measured))
            return (batch_stats, share), None

        parts = [whole.reshape(count, -1, *whole.shape[1:]) for whole in batch]
        zero = jnp.zeros(())
        nothing = (jnp.zeros_like(state.params), (zero, zero))
        (batch_stats, (gradient, measured)), _ = lax.scan(
            add, (state.batch_stats, nothing), (*parts, jnp.arange(count))
        )
        return gradient, batch_stats, measured

    def _gradient(
        self, state: State, values: LaneValues, batch: tuple[Array, Array, Array], dropout: Array
    ) -> tuple[Array, Array | np.ndarray, tuple[Array, Array]]:
        images, labels, targets = batch
        variables = self.variables(state)

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, updated = self._logits(
                {**variables, "params": params},
                images,
                train=True,
                knobs=values.knobs,
                mutable=["batch_stats"],
                rngs={"dropout": dropout} if self.spec.conventions.dropout else None,
            )
            smoothed = optax.smooth_labels(targets, values.label_smoothing)
            loss = optax.softmax_cross_entropy(logits, smoothed).mean()
            accuracy = jnp.mean(logits.argmax(-1) == labels)
            return loss, (accuracy, updated["batch_stats"])

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (accuracy, batch_stats)), gradients = gradient(variables["params"])
        return ravel_pytree(gradients)[0], ravel_pytree(batch_stats)[0], (loss, accuracy)
