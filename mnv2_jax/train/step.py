"""What one lane does: initialise, train for some steps, evaluate a batch. Pure functions of arrays.

Nothing here knows of other lanes; `mnv2_jax.train.parallel` puts lanes together, and says whether
devices share a lane's batches.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from mnv2_jax import arch
from mnv2_jax.data import augment, pipeline
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.network import Network
from mnv2_jax.train import initial
from mnv2_jax.train.lane import Epoch, EvaluationSums, LaneValues, State
from mnv2_jax.train.recipe import PRECISIONS, Recipe, decay_mask, optimizer, schedule
from mnv2_jax.train.tuning import Partition, Start, Tuning, by_parameter, carried

Array = jax.Array

BATCH_AXIS = "batch"
"""The mapped axis along which devices hold parts of one batch."""


@dataclasses.dataclass(frozen=True)
class LaneProgram:
    """The functions of one lane, for a network and a recipe.

    Attributes:
      spec: the network; lanes may override its projection and shortcut.
      recipe: what lanes share.
      steps_per_epoch: whole batches in the training split.
      augmentation: of training images.
      scaling: of all images, one of `mnv2_jax.data.augment.SCALINGS`.
      tuning: how a trained network trains on; None trains all of a new one.
      parts: the devices that share each batch, along `BATCH_AXIS`; with 1 there is no such axis.
    """

    spec: arch.NetworkSpec
    recipe: Recipe
    steps_per_epoch: int
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    scaling: str = "symmetric"
    tuning: Tuning | None = None
    parts: int = 1

    @property
    def network(self) -> Network:
        """The module whose parameters a lane trains."""
        norms_from = self.tuning.norms_from if self.tuning else "stem"
        return Network(self.spec, None if self.parts == 1 else BATCH_AXIS, norms_from)

    @property
    def classes(self) -> int:
        """How many there are. One logit tells two apart: that of the second, the first's is 0."""
        return max(2, self.spec.classes)

    @property
    def steps(self) -> int:
        """Steps of a whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    def initialise(self, seed: int) -> State:
        """A lane's initial state on the host, from its seed alone."""
        return self._state(self._initialiser(seed))

    def begin(self, state: State, start: Start | None) -> State:
        """What an initial state becomes by what the lane starts from; parts that has not stay."""
        if start is None:
            return state
        drawn = self.variables(state)
        begun = self._state({name: {**drawn[name], **start.variables[name]} for name in drawn})
        if len(start.optimizer) != len(jax.tree.leaves(begun.optimizer)):
            return begun  # Of none, or of another kind of optimizer.
        size = begun.params.size
        momenta = carried(begun.optimizer, start.optimizer, size, self.partition.classifier)
        return begun._replace(optimizer=momenta)

    def variables(self, state: State) -> dict[str, Any]:
        """The tree of parameters and running moments that `Network.apply` takes in training."""
        return self._tree(state.params, state.batch_stats, state.frozen)

    def evaluated_variables(self, state: State) -> dict[str, Any]:
        """Those that are evaluated: the averages, where the recipe keeps them."""
        params, batch_stats = state.ema or (state.params, state.batch_stats)
        return self._tree(params, batch_stats, state.frozen)

    def train(
        self,
        state: State,
        values: LaneValues,
        order: Array,
        images: Array,
        labels: Array,
        first: Array,
        start: Array,
        stop: Array,
    ) -> State:
        """Trains a lane from step `start` to before step `stop`, within one epoch.

        The bounds are arguments, so that one program runs any number of steps: what a state comes
        to does not depend on where the caller paused.

        Args:
          state: the lane's state.
          values: the lane's values.
          order: where the images of the steps from `first` on are among `images`, step by step and
            row by row, int32 `[places]`. Rows of other devices are not looked up.
          images: a split, or what steps take of it, uint8 `[count, height, width, channels]`.
          labels: int32 `[count]`.
          first: int32 scalar, counted from 0 through all epochs.
          start: likewise; `first` or later.
          stop: likewise; at most the end of the epoch that `start` lies in.
        """
        key = jax.random.key(values.seed)
        data_key = jax.random.key(values.data_seed)
        size = self.recipe.batch_size // self.parts
        part = lax.axis_index(BATCH_AXIS) if self.parts > 1 else 0
        rows = part * size + jnp.arange(size)

        def step(number: Array, state: State) -> State:
            chosen = order[(number - first) * self.recipe.batch_size + rows]
            batch = self._batch(data_key, number, rows, chosen, (images, labels))
            dropout = jax.random.fold_in(pipeline.stream(key, "dropout"), number)
            dropout = jax.random.fold_in(dropout, part)
            return self._train_step(state, values, number, batch, dropout)

        return lax.fori_loop(start, stop, step, state)

    def evaluate(
        self, state: State, values: LaneValues, weights: Array, images: Array, labels: Array
    ) -> EvaluationSums:
        """Sums loss and hits over a batch, or a device's part of it.

        The network runs in inference mode; the loss is the plain cross-entropy.

        Args:
          state: the lane's state.
          values: the lane's values.
          weights: float32 `[batch]`: 1 for an image, 0 for what is not to be counted.
          images: uint8 `[batch, height, width, channels]`.
          labels: int32 `[batch]`.
        """
        inputs = self._evaluated(images)
        logits = self._logits(self.evaluated_variables(state), inputs, knobs=values.knobs)
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
    def partition(self) -> Partition:
        """Where the network's variables lie in a state's vectors."""
        return Partition(self._initialiser.shapes, self.spec, self.tuning)

    def _state(self, variables: Mapping[str, Any]) -> State:
        params, batch_stats, frozen = self.partition.split(variables)
        momenta = jax.device_get(self._optimizer(learning_rate=0.0, weight_decay=0.0).init(params))
        if self.tuning:
            momenta = by_parameter(momenta, params.size)
        ema = (params, batch_stats) if self.recipe.ema else ()
        zero = np.float32(0.0)
        return State(params, batch_stats, momenta, ema, Epoch(zero, zero, zero), frozen)

    def _tree(self, params: Any, batch_stats: Any, frozen: Any) -> dict[str, Any]:
        return self.partition.join(self.partition.params.tree(params), batch_stats, frozen)

    def _batch(
        self, key: Array, number: Array, rows: Array, chosen: Array, data: tuple[Array, Array]
    ) -> tuple[Array, Array, Array]:
        """Inputs, labels and targets of a step; see `mnv2_jax.data.pipeline.train_batch`."""
        return pipeline.train_batch(
            *(key, number, rows, chosen, data, self.augmentation, self.scaling, self.classes)
        )

    def _evaluated(self, images: Array) -> Array:
        """What the network is given of images that are evaluated."""
        return augment.scale(images, self.scaling)

    def _optimizer(self, learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        mask = decay_mask(self._initialiser.shapes["params"], self.recipe.decayed)
        decayed = self.partition.split({"params": mask, "batch_stats": {}})[0]
        return optimizer(self.recipe, learning_rate, weight_decay, decayed, self.steps_per_epoch)

    def _logits(self, variables: Any, images: Array, **options: Any) -> Any:
        """Logits for float32 images, computed in the recipe's precision, then float32."""
        precision = PRECISIONS[self.recipe.precision]
        result: Any = self.network.apply(variables, images.astype(precision), **options)
        logits, *updated = result if "mutable" in options else (result,)
        logits = logits.astype(jnp.float32)
        if self.spec.classes == 1:
            logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
        return (logits, *updated) if updated else logits

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
        return state._replace(
            params=params,
            batch_stats=batch_stats,
            optimizer=momenta,
            ema=ema,
            epoch=Epoch(loss, accuracy, rate),
        )

    def _accumulated(
        self, state: State, values: LaneValues, batch: tuple[Array, Array, Array], dropout: Array
    ) -> tuple[Array, Any, tuple[Array, Array]]:
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
    ) -> tuple[Array, Any, tuple[Array, Array]]:
        images, labels, targets = batch
        partition = self.partition

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, updated = self._logits(
                partition.join(params, state.batch_stats, state.frozen),
                images,
                train=True,
                knobs=values.knobs,
                mutable=["batch_stats"],
                rngs={"dropout": dropout} if self.spec.conventions.dropout else None,
            )
            smoothed = optax.smooth_labels(targets, values.label_smoothing)
            loss = optax.softmax_cross_entropy(logits, smoothed).mean()
            accuracy = jnp.mean(logits.argmax(-1) == labels)
            return loss, (accuracy, partition.moving(updated["batch_stats"]))

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (accuracy, moving)), gradients = gradient(partition.params.tree(state.params))
        batch_stats = ravel_pytree(moving)[0] if moving else ()
        return ravel_pytree(gradients)[0], batch_stats, (loss, accuracy)
