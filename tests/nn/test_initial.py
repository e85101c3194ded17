import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.nn.initial import Initialiser
from mnv2_jax.nn.network import Network


@pytest.fixture(scope="module")
def drawn(tiny):
    network = Network(presets.build(tiny, expansion=2))

    def variables(seed):
        return network.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))

    return jax.jit(variables), Initialiser(variables)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_it_draws_the_values_of_flax(drawn, seed):
    variables, initialiser = drawn
    expected = variables(np.uint32(seed))
    jax.tree.map(np.testing.assert_array_equal, initialiser(seed), expected)


def test_a_seed_does_not_affect_the_next(drawn):
    _, initialiser = drawn
    first, other, again = (initialiser(seed) for seed in (3, 4, 3))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["params"]["stem"]["kernel"], other["params"]["stem"]["kernel"])


def test_shapes_are_those_of_the_result(drawn):
    _, initialiser = drawn
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), initialiser.shapes)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), initialiser(0))


def test_values_independent_of_the_seed():
    initialiser = Initialiser(lambda seed: {"fixed": jnp.arange(3) * 2, "seed": seed + 1})
    for seed in (1, 5):
        values = initialiser(seed)
        np.testing.assert_array_equal(values["fixed"], [0, 2, 4])
        assert values["seed"] == seed + 1
