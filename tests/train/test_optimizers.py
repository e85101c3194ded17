"""Optimizers by name: the fields that they read, and optax's results."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from mnv2_jax.train import optimizers, recipe
from mnv2_jax.train.optimizers import OPTIMIZERS, Optimizer
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import Packed

READ = {"momentum": 0.9, "nesterov": False, "b2": 0.99, "epsilon": 1e-6}
UNREAD = {"momentum": 0.0, "nesterov": False, "b2": 0.0, "epsilon": 0.0}


def tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "expand": {"kernel": rng.normal(size=(4, 6))},
        "norm": {"scale": rng.normal(size=6), "bias": rng.normal(size=6)},
        "depthwise": {"kernel": rng.normal(size=(3, 3, 6))},
    }


def recipe_of(name):
    reads = OPTIMIZERS[name].reads if name in OPTIMIZERS else {"momentum"}
    fields: dict[str, Any] = {field: (READ if field in reads else UNREAD)[field] for field in READ}
    return Recipe(10, 8, 8, optimizer=name, **fields)


def follow(parts, steps=5):
    """Parameters after some steps, in the precision of jax."""
    params = jax.tree.map(jnp.asarray, tree(0))
    packed = Packed.pack(jax.tree.map(np.asarray, params))
    mask = optimizers.decay_mask(params, "kernels")
    decayed = Packed.pack(jax.tree.map(np.float64, mask))
    optimizer = recipe.optimizer(parts, 0.1, 0.01, decayed, 10)
    vector = jnp.asarray(packed.vector)
    state = optimizer.init(vector)
    for step in range(1, steps + 1):
        gradient = jnp.asarray(Packed.pack(tree(step)).vector)
        updates, state = optimizer.update(gradient, state, vector)
        vector = optax.apply_updates(vector, updates)
    return packed.with_vector(np.asarray(vector)).tree


def of_optax(parts, steps=5):
    """The same by optax alone, of the tree."""
    params = jax.tree.map(jnp.asarray, tree(0))
    rate = recipe.schedule(parts, 0.1, 10)
    mask = jax.tree.map(lambda ones: bool(ones.any()), optimizers.decay_mask(params, "kernels"))
    decay = {"eps": parts.epsilon, "weight_decay": 0.01}
    if parts.optimizer == "muon":
        decay["weight_decay_mask"] = mask
        made = optax.contrib.muon(rate, beta=parts.momentum, nesterov=False, **decay)
    else:
        function = getattr(optax, parts.optimizer)
        made = function(rate, b1=parts.momentum, b2=parts.b2, mask=mask, **decay)
    state = made.init(params)
    for step in range(1, steps + 1):
        updates, state = made.update(jax.tree.map(jnp.asarray, tree(step)), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_flat_and_tree_states_agree_in_float64(name):
    # In `test_recipe`, others are compared with their formulas.
    with jax.enable_x64():
        found, expected = follow(recipe_of(name)), of_optax(recipe_of(name))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14), found, expected
        )


def test_each_reads_the_fields_that_optax_has_a_name_for():
    reads = {name: optimizer.reads for name, optimizer in OPTIMIZERS.items()}
    assert reads == {
        "sgd": {"momentum", "nesterov"},
        "rmsprop": {"momentum", "b2", "epsilon"},
        "adamw": {"momentum", "b2", "epsilon"},
        "lamb": {"momentum", "b2", "epsilon"},
        "muon": {"momentum", "nesterov", "epsilon"},
    }


def test_only_an_elementwise_optimizer_has_a_flat_state():
    packed = Packed.pack(tree(0))
    decayed = packed.with_vector(np.ones_like(packed.vector))
    shapes = {}
    for name in ("adamw", "lamb"):
        optimizer = recipe.optimizer(recipe_of(name), 0.1, 0.01, decayed, 10)
        leaves = jax.tree.leaves(optimizer.init(jnp.asarray(packed.vector)))
        shapes[name] = {leaf.shape for leaf in leaves if leaf.ndim}
    assert shapes["adamw"] == {packed.vector.shape}
    assert shapes["lamb"] == {leaf.shape for leaf in jax.tree.leaves(tree(0))}


def test_one_line_registers_an_optimizer(monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "lion", Optimizer(optax.lion, elementwise=True))
    parts = Recipe(10, 8, 8, optimizer="lion", nesterov=False, b2=0.99)
    flat = traverse_util.flatten_dict(follow(parts))
    assert all(np.isfinite(leaf).all() for leaf in flat.values())
    with pytest.raises(ValueError, match=r"epsilon=1e-08: expected 0.0, since lion does not read"):
        Recipe(10, 8, 8, optimizer="lion", nesterov=False, b2=0.99, epsilon=1e-8)


def test_an_optimizer_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import optax\n"
        "def half(learning_rate, momentum):\n"
        "    return optax.chain(optax.scale(0.5), optax.sgd(learning_rate, momentum))\n"
    )
    name = f"{path}:half"
    mine = Recipe(10, 8, 8, optimizer=name, momentum=0.0, nesterov=False)
    plain = Recipe(10, 8, 8, momentum=0.0, nesterov=False)

    def moved(parts):
        return jax.tree.map(np.subtract, follow(parts, steps=1), tree(0))

    # Decay comes before it, as for every optimizer that does not take one.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        jax.tree.map(lambda leaf: 2 * leaf, moved(mine)),
        moved(plain),
    )
    with pytest.raises(ValueError, match="the file has no such third; expected half"):
        Recipe(10, 8, 8, optimizer=f"{path}:third")
