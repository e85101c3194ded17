"""Random weights, our network's results, and how far two results are apart."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax.nn.network import Network


def random_weights(name, shape, generator):
    """Random values for a weight of a peer, by the end of its name; they keep activations near 1.

    Shapes are PyTorch's or Keras's, told apart by the names they go with.
    """
    own = name.rpartition("/" if "/" in name else ".")[2]
    if own in ("running_var", "moving_variance", "gamma"):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    if own in ("running_mean", "moving_mean", "beta", "bias"):
        return generator.normal(0, 0.2, shape).astype(np.float32)
    if own == "kernel":
        inputs = math.prod(shape) / (shape[-2] if shape[-1] == 1 else shape[-1])
    elif len(shape) == 1:  # PyTorch calls BatchNorm's scale a weight.
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    else:
        inputs = math.prod(shape[1:])
    return generator.normal(0, math.sqrt(2 / inputs), shape).astype(np.float32)


def images_for(spec, count, seed=0):
    """Images `[count, height, width, channels]` in [-1, 1], as NumPy."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, (count, *spec.input_shape)).astype(np.float32)


def zeros(spec):
    """Variables of a network, all 0, unlike those of any file."""
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    shapes = jax.eval_shape(Network(spec).init, jax.random.key(0), images)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@functools.cache
def inference(spec):
    """The compiled network, `(variables, images) -> logits`."""
    return jax.jit(Network(spec).apply)


def worst(ours, theirs):
    """The largest difference relative to the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def initial_deviations(ours, theirs):
    """The ratio of standard deviations, ours over theirs, by kind of kernel.

    Every kernel's ratio must be 1 within five standard errors. What is not a kernel must be equal.
    """
    pooled: dict[str, list[tuple[float, int]]] = {}
    leaves = zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True)
    for (path, mine), other in leaves:
        *_, layer, name = (entry.key for entry in path)
        mine, other = np.asarray(mine), np.asarray(other)
        if name != "kernel":
            np.testing.assert_array_equal(mine, other, err_msg=f"{layer}/{name}")
            continue
        kind = layer if layer in ("stem", "depthwise", "classifier") else "pointwise"
        ratio = mine.std() / other.std()
        assert abs(ratio - 1) < 5 / math.sqrt(mine.size), f"{path}: {mine.std()}, {other.std()}"
        pooled.setdefault(kind, []).append((ratio**2, mine.size))
    return {
        kind: math.sqrt(sum(r * n for r, n in found) / sum(n for _, n in found))
        for kind, found in pooled.items()
    }
