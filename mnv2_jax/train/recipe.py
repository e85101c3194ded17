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
from mnv2_jax.neutral import renamed
from mnv2_jax.train import optimizers
from mnv2_jax.train.optimizers import MASKS, NAMES, WEIGHT_DECAY_MASKS
from mnv2_jax.train.state import Packed, Packing

Array = jax.Array

SCHEDULES = ("cosine", "exponential")
"""Half a cosine to 0; or, as in slim, a staircase: times `decay_rate` every `decay_epochs`."""

COMPUTE_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Types of activations and products. Parameters, their updates, BatchNorm's moments and the loss
are always float32."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Training config that all lanes of a program share.

    Attributes:
      epochs: passes over the training split.
      batch_size: images per step.
      evaluation_batch_size: images per evaluation batch; affects speed and memory, not results.
      grad_accum_steps: parts of a batch that are computed one after another, to save memory;
        gradients are averaged. BatchNorm sees one part at a time.
      compute_dtype: of activations and products: one of `COMPUTE_DTYPES`. The rest is float32.
      optimizer: one of `mnv2_jax.train.optimizers.OPTIMIZERS`, or FILE.py:FUNCTION.
      momentum: of SGD and RMSProp, Adam's b1; 0 or more, below 1.
      nesterov: whether momentum is Nesterov's.
      b2: decay of the squared gradients' mean: RMSProp's decay, Adam's b2; 0 or more, below 1.
      epsilon: added to the squared gradients' mean, inside RMSProp's root, outside Adam's; above 0
        where it is read.
      schedule: of the learning rate: one of `SCHEDULES`.
      warmup_epochs: epochs of linear warm-up, after which the schedule begins; 0 for none.
      decay_rate: factor of the exponential schedule, above 0, at most 1; 0 for cosine.
      decay_epochs: epochs between two factors of the exponential schedule; 0 for cosine.
      weight_decay_mask: parameters that decay: one of `WEIGHT_DECAY_MASKS`.
      clip: largest global norm of a gradient; 0 does not clip.
      ema: decay of the average of parameters and running moments that is evaluated; 0 for none. In
        the first steps it is at most (1 + step) / (10 + step), as in TensorFlow.

    Raises:
      ValueError: a value is out of range, or set although optimizer or schedule do not read it;
        the message names the field and what is expected.
    """

    epochs: int
    batch_size: int
    evaluation_batch_size: int
    grad_accum_steps: int = renamed(1, was="accumulation")
    compute_dtype: str = renamed("float32", was="precision")
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    b2: float = renamed(0.0, was="second_moment")
    epsilon: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    decay_rate: float = 0.0
    decay_epochs: float = 0.0
    weight_decay_mask: str = renamed("kernels", was="decayed")
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_batch_size", "grad_accum_steps"):
            check_whole(name, getattr(self, name))
        check_choice("compute_dtype", self.compute_dtype, tuple(COMPUTE_DTYPES))
        optimizers.find(self.optimizer)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("weight_decay_mask", self.weight_decay_mask, tuple(WEIGHT_DECAY_MASKS))
        for name in ("momentum", "b2", "ema"):
            self._check(name, 0 <= getattr(self, name) < 1, "0 or more, below 1")
        for name in ("epsilon", "decay_epochs", "clip"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("decay_rate", 0 <= self.decay_rate <= 1, "0 to 1")
        fits = 0 <= self.warmup_epochs < self.epochs
        self._check("warmup_epochs", fits, f"0 or more, below epochs={self.epochs}")
        divides = self.batch_size % self.grad_accum_steps == 0
        self._check("grad_accum_steps", divides, f"a divisor of the batch size, {self.batch_size}")
        self._check_unread()

    def _check_unread(self) -> None:
        # With a field that has no effect, an axis of a grid would compare a run with itself.
        reads = optimizers.find(self.optimizer).reads
        for name in NAMES:
            value = getattr(self, name)
            if name not in reads:
                expected = f"{type(value)(0)}, since {self.optimizer} does not read it"
                self._check(name, not value, expected)
            elif name in ("b2", "epsilon"):
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
    """Return the learning rate as a function of the step, counted from 0.

    Args:
      recipe: its schedule, epochs and warm-up are read.
      learning_rate: the highest; may be traced.
      steps_per_epoch: steps in an epoch.
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    # optax types the initial value as a float; a traced one works too.
    rate: Any = learning_rate
    if recipe.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, recipe.epochs * steps_per_epoch - warmup)
    else:
        every = max(1, round(recipe.decay_epochs * steps_per_epoch))
        main = optax.exponential_decay(rate, every, recipe.decay_rate, staircase=True)
    if not warmup:
        return main
    # The first step has the first share of the rate, since a step at rate 0 would do nothing.
    rising = optax.linear_schedule(rate / warmup, rate, warmup - 1)
    return optax.join_schedules([rising, main], [warmup])


def optimizer(
    recipe: Recipe,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    mask: Packed,
    steps_per_epoch: int,
) -> optax.GradientTransformation:
    """Build the recipe's optimizer over the vector of packed parameters.

    The gradient is clipped by its global norm, before decay is added.

    Args:
      recipe: the recipe.
      learning_rate: see `schedule`; may be traced.
      weight_decay: may be traced.
      mask: 1 where a parameter decays and 0 elsewhere, packed like the parameters; see
        `decay_mask`.
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
    if chosen.elementwise:  # A vector has no leaves to mask: each number has its own decay.
        decay: Any = weight_decay * mask.vector
        leaf_mask = None
    else:
        decay = weight_decay
        leaf_mask = jax.tree.map(lambda leaf: bool(leaf.any()), mask.tree)
    before = []
    if "weight_decay" in chosen.arguments:
        arguments["weight_decay"] = decay
        arguments |= {name: leaf_mask for name in MASKS if name in chosen.arguments}
    else:
        before.append(optax.add_decayed_weights(decay, leaf_mask))
    made = optax.chain(*before, chosen.make(**arguments))
    over_vectors = made if chosen.elementwise else _on_trees(made, mask.packing)
    clip = [optax.clip_by_global_norm(recipe.clip)] if recipe.clip else []
    return optax.chain(*clip, over_vectors)


def _on_trees(
    inner: optax.GradientTransformation, packing: Packing
) -> optax.GradientTransformation:
    """Turn a transformation of trees into one of vectors; its state stays one of trees."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        tree = None if params is None else packing.tree(params)
        updates, state = inner.update(packing.tree(updates), state, tree)
        return ravel_pytree(updates)[0], state

    return optax.GradientTransformation(lambda params: inner.init(packing.tree(params)), update)
