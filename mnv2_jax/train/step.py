"""The program of one lane, pure functions of arrays: initialise, train steps, evaluate a batch.

Nothing here knows of other lanes; `mnv2_jax.train.parallel` runs lanes together and decides whether
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
from mnv2_jax.metrics import DEFAULT, METRICS, Metric
from mnv2_jax.nn import initial
from mnv2_jax.nn import pieces as in_pieces
from mnv2_jax.nn.network import Network, with_projection_bias
from mnv2_jax.predictions import LEFT_OUT
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.optimizers import decay_mask
from mnv2_jax.train.recipe import COMPUTE_DTYPES, Recipe, optimizer, schedule
from mnv2_jax.train.state import Epoch, Packed, TrainState, Variables, join, split
from mnv2_jax.train.tuning import Start, Tuning, by_parameter, carried, trainable_mask

Array = jax.Array

BATCH_AXIS = "batch"
"""The mapped axis along which devices hold parts of one batch."""


@dataclasses.dataclass(frozen=True)
class LaneProgram:
    """The functions of one lane, for a network and a recipe.

    Attributes:
      spec: the network; lanes may override its projection and shortcut.
      recipe: the training config that lanes share.
      steps_per_epoch: whole batches in the training split.
      augmentation: of training images.
      scaling: of all images, one of `mnv2_jax.data.augment.SCALINGS`.
      tuning: the tuning of a trained network; None trains all of a new one.
      metrics: the metrics of evaluated images.
      pieces: compute blocks piece by piece in evaluation; see `mnv2_jax.nn.pieces`.
      axis_size: the devices that share each batch, along `BATCH_AXIS`; with 1 there is no axis.
    """

    spec: arch.NetworkSpec
    recipe: Recipe
    steps_per_epoch: int
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    scaling: str = "symmetric"
    tuning: Tuning | None = None
    metrics: tuple[Metric, ...] = tuple(METRICS[name] for name in DEFAULT)
    pieces: in_pieces.Pieces | None = None
    axis_size: int = 1

    @property
    def network(self) -> Network:
        """The module whose parameters a lane trains."""
        norms_from = self.tuning.norms_from if self.tuning else "stem"
        return Network(self.spec, None if self.axis_size == 1 else BATCH_AXIS, norms_from)

    @property
    def classes(self) -> int:
        """The number of classes; of two, a network may have one logit, the second's."""
        return max(2, self.spec.classes)

    @property
    def steps(self) -> int:
        """Steps of a whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    def initialise(self, seed: int, projection_bias: float = 0.0) -> TrainState:
        """Draw a lane's initial state on the host, from its seed; see `HParams` for the bias."""
        drawn = self._initialiser(seed)
        if projection_bias:
            drawn = with_projection_bias(drawn, self.spec, projection_bias)
        return self._state(drawn)

    def begin(self, state: TrainState, start: Start | None) -> TrainState:
        """Overwrite an initial state with `start`, if any; parts missing there stay as drawn."""
        if start is None:
            return state
        drawn = state.variables.tree
        begun = self._state({name: {**drawn[name], **start.variables[name]} for name in drawn})
        if len(start.optimizer) != len(jax.tree.leaves(begun.opt_state)):
            return begun  # `start` has no optimizer, or another kind.
        packing = begun.params.packing
        opt_state = carried(
            begun.opt_state, start.optimizer, packing.size, packing.place("classifier")
        )
        return begun._replace(opt_state=opt_state)

    def pack(self, variables: Mapping[str, Any]) -> Variables:
        """Pack a tree of Flax variables on the host."""
        chosen, frozen = split(variables, self._mask)
        parts = (chosen.get("params", {}), chosen.get("batch_stats", {}), frozen)
        return Variables(*map(Packed.pack, parts))

    def train(
        self,
        state: TrainState,
        values: HParams,
        order: Array,
        images: Array,
        labels: Array,
        first: Array,
        start: Array,
        stop: Array,
    ) -> TrainState:
        """Train a lane from step `start` to before step `stop`, within one epoch.

        The bounds are arguments, so that one program runs any number of steps; how a run is cut
        into calls does not affect its result.

        Args:
          state: the lane's state.
          values: the lane's hyperparameters.
          order: indices into `images` of the steps from `first` on, step by step and row by row,
            int32 `[steps * batch]`. Those of rows of other devices are not read.
          images: a split or a part of it, uint8 `[count, height, width, channels]`.
          labels: int32 `[count]`.
          first: int32 scalar, counted from 0 through all epochs.
          start: likewise; `first` or later.
          stop: likewise; at most the end of the epoch of `start`.
        """
        key = jax.random.key(values.seed)
        data_key = jax.random.key(values.data_seed)
        size = self.recipe.batch_size // self.axis_size
        part = lax.axis_index(BATCH_AXIS) if self.axis_size > 1 else 0
        rows = part * size + jnp.arange(size)

        def step(number: Array, state: TrainState) -> TrainState:
            chosen = order[(number - first) * self.recipe.batch_size + rows]
            batch = self._batch(data_key, number, rows, chosen, (images, labels))
            dropout = jax.random.fold_in(pipeline.stream(key, "dropout"), number)
            dropout = jax.random.fold_in(dropout, part)
            return self._train_step(state, values, number, batch, dropout)

        return lax.fori_loop(start, stop, step, state)

    def evaluate(
        self,
        variables: Variables,
        values: HParams,
        weights: Array,
        images: Array,
        labels: Array,
    ) -> tuple[dict[str, Array], tuple[Array, Array, Array]]:
        """Sum the metrics over a batch, or a device's part of it, in inference mode.

        Args:
          variables: the lane's.
          values: the lane's hyperparameters.
          weights: float32 `[batch]`: 1 for images that count, 0 for others.
          images: uint8 `[batch, height, width, channels]`.
          labels: int32 `[batch]`.

        Returns:
          By metric its sums over images, float32; under "images" their number. Then the label,
          the prediction and the loss of each image of the whole batch, as
          `mnv2_jax.predictions.Predictions` has them; images of weight 0 are left out.
        """
        logits = self.logits(variables.tree, self._scaled(images), knobs=values.knobs)
        sums = {"images": jnp.sum(weights)}
        for metric in self.metrics:
            numbers = metric.per_image(logits, labels)
            weighted = numbers * weights.reshape(-1, *[1] * (numbers.ndim - 1))
            sums[metric.name] = jnp.sum(weighted, axis=0)
        predicted = jnp.where(weights > 0, logits.argmax(-1), LEFT_OUT).astype(jnp.int32)
        each = labels, predicted, METRICS["loss"].per_image(logits, labels)
        if self.axis_size > 1:
            sums = lax.psum(sums, BATCH_AXIS)
            each = lax.all_gather(each, BATCH_AXIS, tiled=True)
        return sums, each

    @functools.cached_property
    def _initialiser(self) -> initial.Initialiser:
        def variables(seed: Array) -> Any:
            key = pipeline.stream(jax.random.key(seed), "parameters")
            return self.network.init(key, jnp.zeros((1, *self.spec.input_shape)))

        return initial.Initialiser(variables)

    @functools.cached_property
    def _mask(self) -> Mapping[tuple[str, ...], bool]:
        """The variables that training changes, by path."""
        return trainable_mask(self._initialiser.shapes, self.spec, self.tuning)

    @functools.cached_property
    def _decay_mask(self) -> Packed:
        mask = decay_mask(self._initialiser.shapes["params"], self.recipe.weight_decay_mask)
        return Packed.pack(split({"params": mask}, self._mask)[0]["params"])

    def _state(self, variables: Mapping[str, Any]) -> TrainState:
        params, batch_stats, frozen = self.pack(variables)
        tx = self._optimizer(learning_rate=0.0, weight_decay=0.0)
        opt_state = jax.device_get(tx.init(params.vector))
        if self.tuning:
            opt_state = by_parameter(opt_state, params.packing.size)
        ema = (params, batch_stats) if self.recipe.ema else ()
        zero = np.float32(0.0)
        return TrainState(params, batch_stats, opt_state, ema, Epoch(zero, zero, zero), frozen)

    def _batch(
        self, key: Array, number: Array, rows: Array, chosen: Array, data: tuple[Array, Array]
    ) -> tuple[Array, Array, Array]:
        """Return input, labels and targets of a step; see `mnv2_jax.data.pipeline.train_batch`."""
        return pipeline.train_batch(
            key,
            step=number,
            rows=rows,
            chosen=chosen,
            data=data,
            augmentation=self.augmentation,
            scaling=self.scaling,
            classes=self.classes,
        )

    def _scaled(self, images: Array) -> Array:
        """Return the network's input for images in evaluation."""
        return augment.scale(images, self.scaling)

    def _optimizer(self, learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        return optimizer(
            self.recipe, learning_rate, weight_decay, self._decay_mask, self.steps_per_epoch
        )

    def logits(self, variables: Any, images: Array, **options: Any) -> Any:
        """Return float32 logits for float32 images, computed in the recipe's `compute_dtype`."""
        dtype = COMPUTE_DTYPES[self.recipe.compute_dtype]
        with in_pieces.applied(None if options.get("train") else self.pieces):
            result: Any = self.network.apply(variables, images.astype(dtype), **options)
        logits, *updated = result if "mutable" in options else (result,)
        logits = logits.astype(jnp.float32)
        if self.spec.classes == 1:
            logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
        return (logits, *updated) if updated else logits

    def _train_step(
        self,
        state: TrainState,
        values: HParams,
        number: Array,
        batch: tuple[Array, Array, Array],
        dropout: Array,
    ) -> TrainState:
        gradient, batch_stats, measured = self._accumulated(state, values, batch, dropout)
        if self.axis_size > 1:
            gradient, measured = lax.pmean((gradient, measured), BATCH_AXIS)
        updates, opt_state = self._optimizer(values.learning_rate, values.weight_decay).update(
            gradient, state.opt_state, state.params.vector
        )
        new: Any = optax.apply_updates(state.params.vector, updates)
        params = state.params.with_vector(new)
        ema = state.ema
        if self.recipe.ema:
            keep = jnp.minimum(self.recipe.ema, (1 + number) / (10 + number))
            ema = jax.tree.map(
                lambda old, new: old + (1 - keep) * (new - old), ema, (params, batch_stats)
            )
        position = number % self.steps_per_epoch
        # Running means; at position 0 the old ones are dropped, even if they are NaN.
        loss, accuracy = (
            jnp.where(position == 0, new, mean + (new - mean) / (position + 1))
            for mean, new in zip(state.epoch[:2], measured, strict=True)
        )
        rate = schedule(self.recipe, values.learning_rate, self.steps_per_epoch)(number)
        return state._replace(
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema,
            epoch=Epoch(loss, accuracy, rate),
        )

    def _accumulated(
        self, state: TrainState, values: HParams, batch: tuple[Array, Array, Array], dropout: Array
    ) -> tuple[Array, Any, tuple[Array, Array]]:
        """Return gradient, new running moments and metrics of a batch, part by part.

        The running moments move with each part, as BatchNorm sees one part at a time.
        """
        count = self.recipe.grad_accum_steps
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
            mean = jax.tree.map(lambda a, b: a + b / count, total, (gradient, measured))
            return (batch_stats, mean), None

        parts = [leaf.reshape(count, -1, *leaf.shape[1:]) for leaf in batch]
        zero = jnp.zeros(())
        zeros = (jnp.zeros_like(state.params.vector), (zero, zero))
        (batch_stats, (gradient, measured)), _ = lax.scan(
            add, (state.batch_stats, zeros), (*parts, jnp.arange(count))
        )
        return gradient, batch_stats, measured

    def _gradient(
        self, state: TrainState, values: HParams, batch: tuple[Array, Array, Array], dropout: Array
    ) -> tuple[Array, Any, tuple[Array, Array]]:
        images, labels, targets = batch

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, updated = self.logits(
                join(state.frozen.tree, {"params": params, "batch_stats": state.batch_stats.tree}),
                images,
                train=True,
                knobs=values.knobs,
                mutable=["batch_stats"],
                rngs={"dropout": dropout} if self.spec.conventions.dropout else None,
            )
            smoothed = optax.smooth_labels(targets, values.label_smoothing)
            loss = optax.softmax_cross_entropy(logits, smoothed).mean()
            accuracy = jnp.mean(logits.argmax(-1) == labels)
            moving = split({"batch_stats": updated["batch_stats"]}, self._mask)[0]
            return loss, (accuracy, moving)

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (accuracy, moving)), gradients = gradient(state.params.tree)
        moments = ravel_pytree(moving)[0] if moving else None
        batch_stats = state.batch_stats.with_vector(moments)
        return ravel_pytree(gradients)[0], batch_stats, (loss, accuracy)
