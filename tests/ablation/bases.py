"""Bases of random weights, and transfers of them by a small network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs import transfer
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.trained import Trained


def random_network(spec, seed=0, **fields):
    """A network of random weights, and of as many names as it tells classes apart."""
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    shapes = jax.eval_shape(Network(spec).init, jax.random.key(0), images)
    draw = np.random.default_rng(seed)
    variables = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape, np.float32), shapes)
    names = tuple(map(str, range(max(2, spec.classes))))
    return Trained(spec, variables, names, "imagenet", 1.0, **fields)


def assert_is_base_of(start, variables):
    """A start holds a network's features, bit for bit, no classifier and no optimizer."""
    found, whole = (
        traverse_util.flatten_dict(tree, sep="/") for tree in (start.variables, variables)
    )
    assert found.keys() == {name for name in whole if not name.startswith("params/classifier/")}
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, whole[name])
    assert start.optimizer == ()


def refusal(call, *arguments):
    """The one line of an error."""
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def config(**changes):
    """One of fine-tuning by a small network; a base is trained first.

    A change is called by its path, such as `train__epochs`.
    """
    found = transfer.get_config()
    found.model.preset = "tiny"
    found.model.expansion = 2.0
    found.transfer.first = "block_02"
    for path, value in changes.items():
        section, _, field = path.partition("__")
        found[section].update({field: value})
    return found
