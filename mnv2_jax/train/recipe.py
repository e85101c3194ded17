"""The training config that all lanes of a program share: batches, optimizer, schedule."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from mnv2_jax.arch import check_choice, check_whole
from mnv2_jax.train import optimizers
from mnv2_jax.train.optimizers import DECAYED, MASKS, NAMES
from mnv2_jax.train.state import Packed, Packing

Array = jax.Array

SCHEDULES = ("cosine", "exponential")
"""Half a cosine to 0; or times `decay_rate` every `decay_epochs`, in steps, as slim has it."""

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What activations and products are computed in. Parameters, their updates, BatchNorm's moments
and the loss are float32 in any case."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all lanes of a program share.

    Attributes:
      epochs: passes over the training split.
      batch_size: images per step.
      evaluation_batch_size: images per evaluation batch; changes speed and memory, no result.
      accumulation: parts that a batch is computed in one after another, gradients averaged; saves
        memory. BatchNorm sees a part at a time.
      precision: one of `PRECISIONS`.
      optimizer: one of `mnv2_jax.train.optimizers.OPTIMIZERS`, or `FILE.py:FUNCTION`.
      momentum: of SGD and RMSProp; Adam's beta 1.
      nesterov: Nesterov's momentum.
      second_moment: how much of the squared gradients' mean a step keeps: RMSProp's decay, Adam's
        beta 2.
      epsilon: added to that mean inside of RMSProp's root, or outside of Adam's.
      schedule: one of `SCHEDULES`.
      warmup_epochs: the learning rate rises evenly to its value in these, and the schedule begins
        after them.
      decay_rate: see `SCHEDULES`; 0 for cosine.
      decay_epochs: likewise.
      decayed: one of `DECAYED`: which parameters weight decay applies to.
      clip: the largest global norm of a gradient; 0 does not clip.
      ema: how much the average of parameters and running moments keeps in a step, less in the
        first ones: (1 + step) / (10 + step), as TensorFlow has it. What is evaluated is then the
        average. 0 keeps none.

    Raises:
      ValueError: a value is out of range, or is one that the optimizer or the schedule does not
        read; the message names it and what would be right.
    """

    epochs: int
    batch_size: int
    evaluation_batch_size: int
    accumulation: int = 1
    precision: str = "float32"
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    second_moment: float = 0.0
    epsilon: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    decay_rate: float = 0.0
    decay_epochs: float = 0.0
    decayed: str = "kernels"
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_batch_size", "accumulation"):
            check_whole(name, getattr(self, name))
        check_choice("precision", self.precision, tuple(PRECISIONS))
        optimizers.find(self.optimizer)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("decayed", self.decayed, tuple(DECAYED))
        for name in ("momentum", "second_moment", "ema"):
            self._check(name, 0 <= getattr(self, name) < 1, "0 or more, below 1")
        for name in ("epsilon", "decay_epochs", "clip"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("decay_rate", 0 <= self.decay_rate <= 1, "0 to 1")
        fits = 0 <= self.warmup_epochs < self.epochs
        self._check("warmup_epochs", fits, f"0 or more, below epochs={self.epochs}")
        divides = self.batch_size % self.accumulation == 0
        self._check("accumulation", divides, f"a divisor of the batch size, {self.batch_size}")
        self._check_what_is_not_read()

    def _check_what_is_not_read(self) -> None:
        # A value without effect would make an axis of a grid compare a run with itself.
        reads = optimizers.find(self.optimizer).reads
        for name in NAMES:
            value = getattr(self, name)
            if name not in reads:
                right = f"{type(value)(0)}, since {self.optimizer} does not read it"
                self._check(name, not value, right)
            elif name in ("second_moment", "epsilon"):
                self._check(name, value > 0, f"above 0 for {self.optimizer}")
        for name in ("decay_rate", "decay_epochs"):
            value = getattr(self, name)
            if self.schedule == "exponential":
                self._check(name, value > 0, "above 0 for the exponential schedule")
            else:
                self._check(name, value == 0, f"0, since {self.schedule} does not read it")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}={getattr(self, name)!r}: expected {expected}")


def schedule(
    recipe: Recipe, learning_rate: ArrayLike, steps_per_epoch: int
) -> Callable[[ArrayLike], Array]:
    """Return the learning rate by the step, counted from 0.

    Args:
      recipe: its schedule, epochs and warm-up.
      learning_rate: the highest; may be traced.
      steps_per_epoch: in a run of `recipe.epochs`.
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    # optax types the initial value as a float; a traced one works just as well.
    rate: Any = learning_rate
    if recipe.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, recipe.epochs * steps_per_epoch - warmup)
    else:
        every = max(1, round(recipe.decay_epochs * steps_per_epoch))
        main = optax.exponential_decay(rate, every, recipe.decay_rate, staircase=True)
    if not warmup:
        return main
    # From the first step's share on, since a step at rate 0 would do nothing.
    rising = optax.linear_schedule(rate / warmup, rate, warmup - 1)
    return optax.join_schedules([rising, main], [warmup])


def optimizer(
    recipe: Recipe,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    decayed: Packed,
    steps_per_epoch: int,
) -> optax.GradientTransformation:
    """Build the recipe's optimizer over the vector of packed parameters.

    The gradient is clipped by the norm of all of it, before decay is added.

    Args:
      recipe: what to build.
      learning_rate: see `schedule`; may be traced.
      weight_decay: may be traced.
      decayed: 1 where a parameter decays and 0 where not, packed as they are; see `decay_mask`.
      steps_per_epoch: for the schedule.
    """
    chosen = optimizers.find(recipe.optimizer)
    arguments: dict[str, Any] = {
        name: getattr(recipe, field)
        for field, names in NAMES.items()
        for name in names
        if name in chosen.arguments
    }
    arguments["learning_rate"] = schedule(recipe, learning_rate, steps_per_epoch)
    # A vector has no leaves to be masked: each number has a decay of its own.
    decay: Any = weight_decay * decayed.vector if chosen.elementwise else weight_decay
    mask = None if chosen.elementwise else jax.tree.map(lambda leaf: bool(leaf.any()), decayed.tree)
    before = []
    if "weight_decay" in chosen.arguments:
        arguments["weight_decay"] = decay
        arguments |= {name: mask for name in MASKS if name in chosen.arguments}
    else:
        before.append(optax.add_decayed_weights(decay, mask))
    made = optax.chain(*before, chosen.make(**arguments))
    over_vectors = made if chosen.elementwise else _on_trees(made, decayed.packing)
    clip = [optax.clip_by_global_norm(recipe.clip)] if recipe.clip else []
    return optax.chain(*clip, over_vectors)


def _on_trees(
    inner: optax.GradientTransformation, packing: Packing
) -> optax.GradientTransformation:
    """Show a transformation of vectors' trees: its state is that of the tree's leaves."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        given = None if params is None else packing.tree(params)
        updates, state = inner.update(packing.tree(updates), state, given)
        return ravel_pytree(updates)[0], state

    return optax.GradientTransformation(lambda params: inner.init(packing.tree(params)), update)
