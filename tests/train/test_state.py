import jax
import numpy as np
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from mnv2_jax.train.state import Packed, join, ravel, split

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


@settings(max_examples=25)
@given(TREES)
def test_packing_keeps_a_tree(shapes):
    tree = filled(shapes)
    packed = Packed.pack(tree)
    np.testing.assert_array_equal(packed.vector, ravel_pytree(tree)[0])
    jax.tree.map(np.testing.assert_array_equal, packed.tree, tree)
    doubled = packed.with_vector(2 * packed.vector)
    jax.tree.map(lambda two, one: np.testing.assert_array_equal(two, 2 * one), doubled.tree, tree)
    assert doubled.packing == packed.packing


def test_a_tree_without_leaves_has_no_vector():
    packed = Packed.pack({})
    assert packed.vector is None
    assert packed.tree == {}
    assert jax.tree.leaves(packed) == []


@given(st.sets(st.sampled_from(["a/x", "a/y", "b/x", "b/y/z", "c/x"]), min_size=1), st.data())
def test_join_undoes_split(paths, data):
    flat = {tuple(path.split("/")): np.full(2, number) for number, path in enumerate(sorted(paths))}
    tree = traverse_util.unflatten_dict(flat)
    mask = {path: data.draw(st.booleans()) for path in flat}
    chosen, rest = split(tree, mask)
    assert {path for path, is_chosen in mask.items() if is_chosen} == {
        *traverse_util.flatten_dict(chosen)
    }
    jax.tree.map(np.testing.assert_array_equal, join(chosen, rest), tree)


def test_a_module_has_a_place_in_the_vector():
    tree = {"a": {"x": np.zeros(3), "y": np.zeros((2, 2))}, "b": {"x": np.zeros(5)}}
    packing = Packed.pack(tree).packing
    assert (packing.place("a"), packing.place("b"), packing.size) == (slice(0, 7), slice(7, 12), 12)
    np.testing.assert_array_equal(ravel(tree["b"]), np.zeros(5))
