"""One run of a grid in PyTorch, as `mnv2_jax.train.loop` trains a lane."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from experiments.benchmarks import torch_network
from experiments.benchmarks.settings import Sgd
from mnv2_jax import arch

Splits = dict[str, tuple[np.ndarray, np.ndarray]]


def train(
    spec: arch.NetworkSpec, splits: Splits, batch: int, epochs: int, shift: int, sgd: Sgd
) -> tuple[float, float]:
    """Train with a cosine schedule; evaluate validation after each epoch, all splits at the end.

    Args:
      spec: the network.
      splits: images uint8 `[count, height, width, channels]` and labels int32 `[count]` of
        "train", "validation" and "test".
      batch: images per step; an epoch leaves out an incomplete last batch.
      epochs: passes over the training split.
      shift: maximal shift of training images, in pixels.
      sgd: the optimizer, its learning rate that of the first step.

    Returns:
      Seconds, and the accuracy on the test split.
    """
    start = time.perf_counter()
    torch.manual_seed(0)
    tensors = {name: _tensors(*split) for name, split in splits.items()}
    model = torch_network.Network(spec)
    trainer = torch_network.Trainer(model, sgd)
    images, labels = tensors["train"]
    per_epoch = len(labels) // batch
    steps = epochs * per_epoch
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(labels))
        moved = shifted(images, shift)
        losses = []
        for step in range(per_epoch):
            done = epoch * per_epoch + step
            for group in trainer.optimizer.param_groups:
                group["lr"] = sgd.learning_rate * (1 + math.cos(math.pi * done / steps)) / 2
            chosen = order[step * batch : (step + 1) * batch]
            losses.append(trainer.step(moved[chosen], labels[chosen]))
        torch.stack(losses).mean().item()
        _evaluate(model, *tensors["validation"])
    _evaluate(model, *tensors["train"])
    accuracy = _evaluate(model, *tensors["test"])
    return time.perf_counter() - start, accuracy


def _evaluate(model: Any, images: Any, labels: Any) -> float:
    """Return the accuracy in inference mode; the loss is computed too, as ours is."""
    model.eval()
    with torch.inference_mode():
        logits = model(images)
        functional.cross_entropy(logits, labels).item()
        return (logits.argmax(1) == labels).float().mean().item()


def _tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    scaled = torch.tensor(images.transpose(0, 3, 1, 2)).float() / 127.5 - 1
    return scaled, torch.tensor(labels).long()


def shifted(images: Any, pixels: int) -> Any:
    """Shift every image by up to `pixels` rows and columns; borders become black, which is -1."""
    if not pixels:
        return images
    count, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4, value=-1.0)
    rows, columns = (
        torch.randint(0, 2 * pixels + 1, (count, 1)) + torch.arange(size)
        for size in (height, width)
    )
    places = torch.arange(count)[:, None, None]
    moved = padded[places, :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
