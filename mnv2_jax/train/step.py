"""What one lane does: initialise, train for an epoch, evaluate a batch. Pure functions of arrays.

Nothing here knows of devices or of other lanes; `mnv2_jax.train.parallel` puts lanes together.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jax.interpreters import partial_eval

from mnv2_jax import arch
from mnv2_jax.data import augment, pipeline
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.network import Network
from mnv2_jax.train.recipe import Recipe, cosine, kernel_mask, sgd

Array = jax.Array


class LaneValues(NamedTuple):
    """What may differ between the lanes of one compiled program: scalars, one set per run."""

    seed: Any
    knobs: Knobs
    learning_rate: Any
    weight_decay: Any
    label_smoothing: Any


class State(NamedTuple):
    """A lane's training state, each part laid end to end in one vector.

    A network this small has some 170 parameters and moments. Updating, slicing out and writing
    back every one of them by itself would cost more to compile than the network does, and more
    memory traffic than it has; see `LaneProgram.variables` for the tree.

    Attributes:
      params: float32 `[parameters]`.
      batch_stats: float32 `[running moments]`.
      optimizer: optax's state over `params`.
    """

    params: Array | np.ndarray
    batch_stats: Array | np.ndarray
    optimizer: Any


class EpochMetrics(NamedTuple):
    """Training over one epoch: float32 scalars.

    Attributes:
      loss: mean over the epoch's steps, of augmented images in training mode.
      accuracy: likewise, a fraction of 1.
      learning_rate: of the epoch's last step.
    """

    loss: Array
    accuracy: Array
    learning_rate: Array


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
    """

    spec: arch.NetworkSpec
    recipe: Recipe
    steps_per_epoch: int

    @property
    def network(self) -> Network:
        """The module whose parameters a lane trains."""
        return Network(self.spec)

    @property
    def steps(self) -> int:
        """Steps of a whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    def initialise(self, seed: int) -> State:
        """A lane's initial state on the host, from its seed alone."""
        draw, shapes = self._initialiser
        variables = jax.tree.unflatten(
            jax.tree.structure(shapes), jax.device_get(draw(np.uint32(seed)))
        )
        params, batch_stats = (_ravel_on_host(variables[name]) for name in _COLLECTIONS)
        optimizer = self._optimizer(learning_rate=0.0, weight_decay=0.0)
        return State(params, batch_stats, jax.device_get(optimizer.init(params)))

    def variables(self, state: State) -> dict[str, Any]:
        """The tree of parameters and running moments that `Network.apply` takes."""
        parts = zip(_COLLECTIONS, self._unravel, (state.params, state.batch_stats), strict=True)
        return {name: unravel(vector) for name, unravel, vector in parts}

    @functools.cached_property
    def _initialiser(self) -> tuple[Callable[[Any], list[Array]], Any]:
        """Draws the leaves of the variables from a seed; and the tree of their shapes.

        Flax initialises a network by running it. Here the run is traced and cut out, and what is
        left, one draw per kernel, runs step by step: compiling it for every shape would take
        longer than an epoch of training.
        """

        def initialise(seed: Array) -> Any:
            key = pipeline.stream(jax.random.key(seed), "parameters")
            return self.network.init(key, jnp.zeros((1, *self.spec.input_shape)))

        traced, shapes = jax.make_jaxpr(initialise, return_shape=True)(np.uint32(0))
        draws, _ = partial_eval.dce_jaxpr(
            traced.jaxpr, [True] * len(traced.jaxpr.outvars), instantiate=True
        )
        return jaxpr_as_fun(traced.replace(jaxpr=draws)), shapes

    @functools.cached_property
    def _unravel(self) -> tuple[Callable[[Any], Any], ...]:
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._initialiser[1])
        with jax.ensure_compile_time_eval():
            return tuple(ravel_pytree(zeros[name])[1] for name in _COLLECTIONS)

    def train_epoch(
        self, state: State, values: LaneValues, epoch: Array, images: Array, labels: Array
    ) -> tuple[State, EpochMetrics]:
        """Trains a lane for one epoch.

        Args:
          state: the lane's state.
          values: the lane's values.
          epoch: int32 scalar, counted from 0.
          images: the training split, uint8 `[count, height, width, channels]`.
          labels: int32 `[count]`.
        """
        recipe = self.recipe
        key = jax.random.key(values.seed)
        batches = pipeline.epoch_batches(
            key, epoch, images, labels, recipe.batch_size, recipe.shift
        )

        dropout = None
        if self.spec.conventions.dropout:
            of_epoch = jax.random.fold_in(pipeline.stream(key, "dropout"), epoch)
            dropout = jax.random.split(of_epoch, self.steps_per_epoch)

        def step(state: State, batch: Any) -> tuple[State, tuple[Array, Array]]:
            return self._train_step(state, values, *batch)

        state, (losses, accuracies) = lax.scan(step, state, (*batches, dropout))
        last_step = (epoch + 1) * self.steps_per_epoch - 1
        rate = cosine(values.learning_rate, self.steps)(last_step)
        return state, EpochMetrics(losses.mean(), accuracies.mean(), rate)

    def evaluate(
        self, state: State, values: LaneValues, images: Array, labels: Array, weights: Array
    ) -> EvaluationSums:
        """Sums loss and hits over a batch of `mnv2_jax.data.pipeline.evaluation_batches`.

        The network runs in inference mode; the loss is the plain cross-entropy.
        """
        logits: Any = self.network.apply(
            self.variables(state), augment.scale(images), knobs=values.knobs
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        hits = logits.argmax(-1) == labels
        return EvaluationSums(jnp.sum(losses * weights), jnp.sum(hits * weights), jnp.sum(weights))

    def _optimizer(self, learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        decayed = _ravel_on_host(kernel_mask(self._initialiser[1]["params"]))
        return sgd(learning_rate, weight_decay, decayed, self.recipe.momentum, self.steps)

    def _train_step(
        self,
        state: State,
        values: LaneValues,
        images: Array,
        labels: Array,
        dropout: Array | None,
    ) -> tuple[State, tuple[Array, Array]]:
        variables = self.variables(state)

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, updated = self.network.apply(
                {**variables, "params": params},
                images,
                train=True,
                knobs=values.knobs,
                mutable=["batch_stats"],
                rngs=None if dropout is None else {"dropout": dropout},
            )
            targets = optax.smooth_labels(
                jax.nn.one_hot(labels, self.spec.classes), values.label_smoothing
            )
            loss = optax.softmax_cross_entropy(logits, targets).mean()
            accuracy = jnp.mean(logits.argmax(-1) == labels)
            return loss, (accuracy, updated["batch_stats"])

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (accuracy, batch_stats)), gradients = gradient(variables["params"])
        updates, optimizer = self._optimizer(values.learning_rate, values.weight_decay).update(
            ravel_pytree(gradients)[0], state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return State(params, ravel_pytree(batch_stats)[0], optimizer), (loss, accuracy)


_COLLECTIONS = ("params", "batch_stats")


def _ravel_on_host(tree: Any) -> np.ndarray:
    """What `ravel_pytree` gives, without asking a device."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
