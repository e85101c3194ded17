"""A network of inverted residuals in idiomatic PyTorch, and its training step.

It imports PyTorch but no jax, so that a process that trains in PyTorch loads nothing else. Images
are `[batch, channels, height, width]`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.settings import Sgd
from mnv2_jax import arch


class Convolution(nn.Module):
    """Convolution without bias, padded by the network's rule."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        stride: int = 1,
        padding: str = "SAME",
        groups: int = 1,
    ) -> None:
        super().__init__()
        # TensorFlow's rule differs where the stride is 2, and PyTorch has no argument for it.
        self._uneven = padding == "SAME" and stride > 1 and side > 1
        self._side, self._stride = side, stride
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            side,
            stride,
            padding=0 if self._uneven else side // 2,
            groups=groups,
            bias=False,
        )

    def forward(self, x: Any) -> Any:
        """Convolve `[batch, inputs, height, width]`."""
        if self._uneven:
            (top, bottom), (left, right) = (self._pads(size) for size in x.shape[2:])
            x = functional.pad(x, (left, right, top, bottom))
        return self.conv(x)

    def _pads(self, size: int) -> tuple[int, int]:
        total = max((-(-size // self._stride) - 1) * self._stride + self._side - size, 0)
        return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """`mnv2_jax.nn.blocks.inverted_residual`, with its shortcut between bottlenecks or without."""

    def __init__(self, inputs: int, spec: arch.BlockSpec, ways: arch.Conventions) -> None:
        super().__init__()
        _check(spec)
        wide = spec.expanded_channels(inputs)
        self._expands = spec.expansion != 1
        if self._expands:
            self.expand = Convolution(inputs, wide, 1)
            self.expand_norm = _norm(wide, ways)
        self.depthwise = Convolution(
            wide, wide, spec.kernel_size, spec.stride, ways.padding, groups=wide
        )
        self.depthwise_norm = _norm(wide, ways)
        self.project = Convolution(wide, spec.out_channels, 1)
        self.project_norm = _norm(spec.out_channels, ways)
        self._projection = {
            "linear": nn.Identity(),
            "relu6": nn.ReLU6(inplace=True),
            "relu": nn.ReLU(inplace=True),
        }[spec.projection]
        self._adds = (
            spec.shortcut == "bottleneck" and spec.stride == 1 and inputs == spec.out_channels
        )

    def forward(self, x: Any) -> Any:
        """Map `[batch, inputs, height, width]` to the block's output."""
        y = x
        if self._expands:
            y = functional.relu6(self.expand_norm(self.expand(y)), inplace=True)
        y = functional.relu6(self.depthwise_norm(self.depthwise(y)), inplace=True)
        y = self._projection(self.project_norm(self.project(y)))
        return x + y if self._adds else y


class Network(nn.Module):
    """`mnv2_jax.nn.network.Network` in PyTorch, with the same names of modules.

    Raises:
      ValueError: a block has a knob that this network does not support.
    """

    def __init__(self, spec: arch.NetworkSpec) -> None:
        super().__init__()
        ways = spec.conventions
        self.stem = Convolution(
            spec.in_channels, spec.stem_channels, 3, spec.stem_stride, ways.padding
        )
        self.stem_norm = _norm(spec.stem_channels, ways)
        channels = spec.stem_channels
        self._blocks = []
        for number, block in enumerate(spec.blocks, start=1):
            name = f"block_{number:02}"
            self.add_module(name, InvertedResidual(channels, block, ways))
            self._blocks.append(name)
            channels = block.out_channels
        self._has_head = spec.head_channels > 0
        if self._has_head:
            self.head = Convolution(channels, spec.head_channels, 1)
            self.head_norm = _norm(spec.head_channels, ways)
            channels = spec.head_channels
        self.dropout = nn.Dropout(ways.dropout)
        self.classifier = nn.Linear(channels, spec.classes)
        self.apply(_initialise)

    def forward(self, images: Any) -> Any:
        """Map images `[batch, channels, height, width]` to logits `[batch, classes]`."""
        x = functional.relu6(self.stem_norm(self.stem(images)), inplace=True)
        for name in self._blocks:
            x = getattr(self, name)(x)
        if self._has_head:
            x = functional.relu6(self.head_norm(self.head(x)), inplace=True)
        return self.classifier(self.dropout(x.mean((2, 3))))

    def load(self, variables: Mapping[tuple[str, ...], np.ndarray]) -> None:
        """Copy the weights of our network.

        Args:
          variables: by their paths: collection, modules, name.
        """
        state = dict(_renamed(path, np.asarray(value)) for path, value in variables.items())
        result = self.load_state_dict(state, strict=False)
        left = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
        if left or result.unexpected_keys:
            raise ValueError(f"weights do not fit: {left + list(result.unexpected_keys)}")


class Trainer:
    """Steps of SGD with Nesterov's momentum; kernels decay, scales and biases do not.

    Attributes:
      model: the network, compiled or not.
      optimizer: PyTorch's.
    """

    def __init__(self, model: Any, sgd: Sgd, *, bfloat16: bool = False) -> None:
        self.model = model
        kernels = [value for value in model.parameters() if value.ndim > 1]
        others = [value for value in model.parameters() if value.ndim == 1]
        self.optimizer = torch.optim.SGD(
            [{"params": kernels, "weight_decay": sgd.weight_decay}, {"params": others}],
            lr=sgd.learning_rate,
            momentum=sgd.momentum,
            nesterov=True,
            fused=True,  # One kernel for all parameters, the fastest that PyTorch has.
        )
        self._smoothing = sgd.label_smoothing
        self._bfloat16 = bfloat16

    def step(self, images: Any, labels: Any) -> Any:
        """Train on float images `[batch, channels, height, width]`; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bfloat16):
            loss = functional.cross_entropy(
                self.model(images), labels, label_smoothing=self._smoothing
            )
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def _check(spec: arch.BlockSpec) -> None:
    for knob, known in (
        ("block", ("inverted_residual",)),
        ("projection", ("linear", "relu6", "relu")),
        ("shortcut", ("bottleneck", "none")),
        ("projection_placement", ("before",)),
        ("activation", ("relu6",)),
        ("spatial_conv", ("depthwise",)),
        ("squeeze_excite", (False,)),
    ):
        arch.check_choice(knob, getattr(spec, knob), known)


def _norm(channels: int, ways: arch.Conventions) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, ways.norm_epsilon, 1 - ways.norm_momentum)


def _initialise(module: nn.Module) -> None:
    """Initialise kernels as `mnv2_jax.nn.initializers.he_normal` does, the classifier's smaller."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.out_channels // module.groups * module.kernel_size[0] ** 2
        nn.init.normal_(module.weight, 0.0, (2 / fan_out) ** 0.5)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)


_NAMES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _renamed(path: tuple[str, ...], value: np.ndarray) -> tuple[str, Any]:
    """Return a variable of ours as an entry of a state dict: name and tensor."""
    _, *modules, name = path
    module = ".".join(modules)
    if name != "kernel":
        return f"{module}.{_NAMES[name]}", torch.tensor(value)
    if modules == ["classifier"]:
        return f"{module}.weight", torch.tensor(value.T)
    if value.ndim == 3:  # Depthwise, [k, k, channels].
        value = value[:, :, None]
    elif value.ndim == 2:  # Pointwise, [in, out].
        value = value[None, None]
    return f"{module}.conv.weight", torch.tensor(value.transpose(3, 2, 0, 1))
