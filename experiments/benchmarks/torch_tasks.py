"""Tasks in PyTorch, for `experiments.benchmarks.workers`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from experiments.benchmarks import torch_network
from experiments.benchmarks.settings import Sgd, TorchWay
from mnv2_jax import arch


def training(
    spec: arch.NetworkSpec, batch: int, steps: int, sgd: Sgd, way: TorchWay
) -> Callable[[], None]:
    """Return a function that trains on random images, which are in memory and scaled.

    Args:
      spec: the network.
      batch: images per step.
      steps: per call.
      sgd: the optimizer.
      way: settings of PyTorch.
    """
    device = _device(way)
    torch.manual_seed(0)
    model = torch_network.Network(spec)
    shape = (batch, spec.in_channels, spec.resolution, spec.resolution)
    images = (torch.rand(shape) * 2 - 1).to(device)
    labels = torch.randint(0, spec.classes, (batch,)).to(device)
    model = model.to(device).train()
    if way.channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    trainer = torch_network.Trainer(
        torch.compile(model) if way.compiled else model, sgd, bfloat16=way.bfloat16
    )

    def run() -> None:
        for _ in range(steps):
            trainer.step(images, labels)
        _wait(way)

    run()  # The first call compiles, and fails here if it cannot.
    return run


def depthwise(shape: Sequence[int], in_a_row: int, way: TorchWay) -> Callable[[], None]:
    """Return a function that runs 3x3 depthwise convolutions in a row, forward and backward.

    Args:
      shape: `[batch, height, width, channels]`.
      in_a_row: convolutions per call.
      way: settings of PyTorch.
    """
    device = _device(way)
    count, height, width, channels = shape
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    start, slope = (
        torch.zeros((count, channels, height, width), device=device).contiguous(
            memory_format=layout
        )
        for _ in range(2)
    )
    taps = torch.zeros((channels, 1, 3, 3), device=device)

    def run() -> None:
        x, kernel, gradient = start, taps, slope
        for _ in range(in_a_row):
            x, kernel = x.requires_grad_(), kernel.requires_grad_()
            y = functional.conv2d(x, kernel, padding=1, groups=channels)
            x, kernel = torch.autograd.grad(y, (x, kernel), gradient)
            gradient = y.detach()
        _wait(way)

    run()  # The first call compiles, and fails here if it cannot.
    return run


def runs(
    specs: Sequence[arch.NetworkSpec],
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    batch: int,
    epochs: int,
    shift: int,
    sgd: Sgd,
) -> Callable[[], list[tuple[float, float]]]:
    """Return a function that trains runs in turn, and returns the seconds and accuracy of each."""
    from experiments.benchmarks import torch_run

    def train_all() -> list[tuple[float, float]]:
        return [torch_run.train(spec, splits, batch, epochs, shift, sgd) for spec in specs]

    return train_all


def _device(way: TorchWay) -> Any:
    if way.gpu and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU, and ours runs on one")
    return torch.device("cuda" if way.gpu else "cpu")


def _wait(way: TorchWay) -> None:
    if way.gpu:
        torch.cuda.synchronize()
