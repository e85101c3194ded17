"""What belongs to one lane: the values it is given, its state in training, its sums over images."""

from typing import Any, NamedTuple

import jax
import numpy as np

from mnv2_jax.nn.blocks.base import Knobs

Array = jax.Array


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
      params: float32 `[parameters]`, of the parts that train.
      batch_stats: float32 `[running moments]` that move, or () where none does.
      optimizer: optax's state over `params`.
      ema: averages of the first two, or () where the recipe keeps none.
      epoch: the epoch's metrics so far.
      frozen: float32 `[parameters and running moments]` that stay as they are, or () where none
        does.
      best: a `mnv2_jax.train.best.Best` in checkpoints of runs that start from a trained network;
        else ().
    """

    params: Array | np.ndarray
    batch_stats: Any
    optimizer: Any
    ema: Any
    epoch: Epoch
    frozen: Any = ()
    best: Any = ()


class EvaluationSums(NamedTuple):
    """Sums over the images of a batch, so that batches add up exactly: float32 scalars."""

    loss: Array
    correct: Array
    images: Array
