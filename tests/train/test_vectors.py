import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from mnv2_jax.train import vectors

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
TREES = st.recursive(
    SHAPES, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, min_size=1), max_leaves=6
)


def filled(shapes):
    numbers = iter(range(10_000))
    return jax.tree.map(
        lambda shape: np.array(
            [next(numbers) for _ in range(int(np.prod(shape)))], np.float32
        ).reshape(shape),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


@given(TREES)
def test_a_tree_comes_out_of_its_vector_as_it_went_in(shapes):
    tree = filled(shapes)
    vector = vectors.ravel(tree)
    np.testing.assert_array_equal(vector, ravel_pytree(tree)[0])
    packing = vectors.Packing.of(jax.eval_shape(lambda: tree))
    jax.tree.map(np.testing.assert_array_equal, packing.tree(vector), tree)
    assert packing == vectors.Packing.of(tree)
