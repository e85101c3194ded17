"""Optimizers and schedules, built from values that may differ from lane to lane."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from mnv2_jax.arch import check_choice, check_whole

Array = jax.Array

OPTIMIZERS = ("sgd", "rmsprop", "adamw")
"""SGD with momentum; RMSProp as TensorFlow has it; Adam with decoupled weight decay (Loshchilov and
Hutter 2019, arXiv 1711.05101)."""

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
      optimizer: one of `OPTIMIZERS`.
      momentum: of SGD and RMSProp; Adam's beta 1.
      nesterov: Nesterov's momentum; SGD alone.
      second_moment: how much of the squared gradients' mean a step keeps: RMSProp's decay, Adam's
        beta 2; 0 for SGD, which has none.
      epsilon: added to that mean inside of RMSProp's root, or outside of Adam's; 0 for SGD.
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
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
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
        if self.optimizer == "sgd":
            for name in ("second_moment", "epsilon"):
                self._check(name, getattr(self, name) == 0, "0, since SGD does not read it")
        else:
            self._check("nesterov", not self.nesterov, "False, since only SGD reads it")
            for name in ("second_moment", "epsilon"):
                self._check(name, getattr(self, name) > 0, f"above 0 for {self.optimizer}")
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
    """The learning rate by the step, counted from 0.

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
    decayed: ArrayLike,
    steps_per_epoch: int,
) -> optax.GradientTransformation:
    """The recipe's optimizer over one vector of parameters.

    Args:
      recipe: what to build.
      learning_rate: see `schedule`; may be traced.
      weight_decay: times the parameters; may be traced. SGD and RMSProp add that to the gradients,
        as PyTorch and slim do (L2 regularisation); AdamW subtracts it, times the learning rate.
      decayed: 1 where a parameter decays, 0 where not; see `decay_mask`.
      steps_per_epoch: for the schedule.
    """
    decay = optax.stateless(lambda updates, params: updates + weight_decay * decayed * params)
    rate = optax.scale_by_learning_rate(schedule(recipe, learning_rate, steps_per_epoch))
    clip = [optax.clip_by_global_norm(recipe.clip)] if recipe.clip else []
    if recipe.optimizer == "sgd":
        trace = optax.trace(decay=recipe.momentum, nesterov=recipe.nesterov)
        return optax.chain(*clip, decay, trace, rate)
    if recipe.optimizer == "rmsprop":
        # TensorFlow's: means of squares begin at 1, momentum gathers steps as long as they were.
        scale = optax.scale_by_rms(
            recipe.second_moment, recipe.epsilon, initial_scale=1.0, eps_in_sqrt=True
        )
        return optax.chain(*clip, decay, scale, rate, optax.trace(decay=recipe.momentum))
    scale = optax.scale_by_adam(recipe.momentum, recipe.second_moment, recipe.epsilon)
    return optax.chain(*clip, scale, decay, rate)


DECAYED: dict[str, Callable[[str, int, bool], bool]] = {
    "all": lambda name, rank, norm: True,
    "not_norm": lambda name, rank, norm: not norm,
    "kernels": lambda name, rank, norm: name == "kernel",
    "not_depthwise": lambda name, rank, norm: name == "kernel" and rank != 3,
}
"""Which parameters decay, by name, number of dimensions and whether they are BatchNorm's: all, all
but BatchNorm's, kernels alone, kernels but the depthwise ones `[k, k, channels]` (slim)."""


def decay_mask(params: Any, decayed: str) -> Any:
    """A tree like `params` with ones where weight decay applies, by `DECAYED`, and zeros elsewhere.

    Args:
      params: the parameters, or their shapes.
      decayed: one of `DECAYED`.
    """
    applies = DECAYED[decayed]

    def mask(tree: Any) -> Any:
        norm = "scale" in tree
        return {
            name: mask(node)
            if isinstance(node, dict)
            else np.full(node.shape, applies(name, len(node.shape), norm), np.float32)
            for name, node in tree.items()
        }

    return mask(params)
