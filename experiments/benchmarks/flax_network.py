"""The same network in plain Flax: `nn.Conv` with `feature_group_count`, and `nn.BatchNorm`.

It stands for what one writes without this package; its parameters have the names that ours have,
and ours fit it once they are reshaped (kernels here are `[k, k, in, out]` throughout).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.settings import Sgd
from mnv2_jax import arch

Array = jax.Array


class PlainNetwork(nn.Module):
    """Stem, inverted residuals, last convolution, average pooling, classifier.

    Attributes:
      spec: what the network is; blocks are inverted residuals with a shortcut between bottlenecks
        or none, and ReLU6 inside.
    """

    spec: arch.NetworkSpec

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Maps images `[batch, height, width, channels]` to logits `[batch, classes]`."""
        spec = self.spec
        activated = functools.partial(_normalised, spec.conventions, train)
        x = nn.relu6(activated(images, spec.stem_channels, "stem", 3, spec.stem_stride))
        for number, block in enumerate(spec.blocks, start=1):
            x = PlainBlock(block, spec.conventions, name=f"block_{number:02}")(x, train=train)
        if spec.head_channels:
            x = nn.relu6(activated(x, spec.head_channels, "head"))
        return nn.Dense(spec.classes, name="classifier")(x.mean((1, 2)))


class PlainBlock(nn.Module):
    """An inverted residual.

    Attributes:
      spec: of the block.
      ways: padding and normalisation.
    """

    spec: arch.BlockSpec
    ways: arch.Conventions

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to the block's output."""
        spec = self.spec
        normalised = functools.partial(_normalised, self.ways, train)
        y, wide = x, spec.expanded_channels(x.shape[-1])
        if spec.expansion != 1:
            y = nn.relu6(normalised(y, wide, "expand"))
        y = normalised(y, wide, "depthwise", spec.kernel_size, spec.stride, groups=wide)
        y = normalised(nn.relu6(y), spec.out_channels, "project")
        arch.check_choice("projection", spec.projection, ("linear", "relu6", "relu"))
        clip = arch.CLIPS[spec.projection]
        y = jnp.clip(y, clip.low, clip.high)
        keeps = spec.shortcut == "bottleneck" and spec.stride == 1 and x.shape == y.shape
        return x + y if keeps else y


def _normalised(
    ways: arch.Conventions,
    train: bool,
    x: Array,
    channels: int,
    name: str,
    side: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> Array:
    padding: Any = "SAME" if ways.padding == "SAME" else [(side // 2, side // 2)] * 2
    conv = nn.Conv(
        *(channels, (side, side), stride, padding),
        feature_group_count=groups,
        use_bias=False,
        name=name,
    )
    norm = nn.BatchNorm(
        not train, momentum=ways.norm_momentum, epsilon=ways.norm_epsilon, name=f"{name}_norm"
    )
    return norm(conv(x))


def training_step(
    spec: arch.NetworkSpec,
    images: np.ndarray,
    labels: np.ndarray,
    sgd: Sgd,
    device: jax.Device,
) -> Callable[[], Any]:
    """Compiles a step of SGD with Nesterov's momentum, one network on one device.

    Args:
      spec: the network.
      images: uint8 `[batch, height, width, channels]`.
      labels: int32 `[batch]`.
      sgd: the optimizer; its learning rate stays what it is.
      device: where.

    Returns:
      A function that takes a step from where the last one ended, and gives its loss.
    """
    network = PlainNetwork(spec)
    optimizer = optax.chain(
        optax.add_decayed_weights(
            sgd.weight_decay, lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
        ),
        optax.sgd(sgd.learning_rate, sgd.momentum, nesterov=True),
    )

    def start(key: Array) -> tuple[Any, Any]:
        variables = network.init(key, jnp.zeros((1, *spec.input_shape)))
        return variables, optimizer.init(variables["params"])

    def step(state: tuple[Any, Any], images: Array, labels: Array) -> tuple[tuple[Any, Any], Array]:
        variables, moments = state

        def loss_of(params: Any) -> tuple[Array, Any]:
            scaled = images.astype(jnp.float32) / 127.5 - 1
            logits, updated = network.apply(
                {**variables, "params": params}, scaled, train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        (loss, updated), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        updates, moments = optimizer.update(gradients, moments, variables["params"])
        params = optax.apply_updates(variables["params"], updates)
        return ({"params": params, **updated}, moments), loss

    # Shapes only, then zeros: to compile the drawing of weights would take as long again, and what
    # the weights are does not change how long a step takes.
    state = jax.tree.map(
        lambda leaf: np.full(leaf.shape, 0.01, leaf.dtype), jax.eval_shape(start, jax.random.key(0))
    )
    state, *batch = jax.device_put((state, images, labels), device)
    compiled = jax.jit(step, donate_argnums=0).lower(state, *batch).compile()

    def take() -> Array:
        nonlocal state
        state, loss = compiled(state, *batch)
        return loss

    return take
