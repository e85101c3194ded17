"""Blocks in pieces: the same outputs and multiply-adds as whole ones, and less memory."""

import contextlib
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import arch, presets
from mnv2_jax.nn import depthwise, pieces
from mnv2_jax.nn.blocks.base import PROBES, Knobs
from mnv2_jax.nn.blocks.inverted_residual import InvertedResidual
from mnv2_jax.nn.cost import network_cost
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.pieces import Pieces
from tests.nn.test_probes import drawn, images_for, small

QUICK = {"xla_backend_optimization_level": 0}

CHANNELS, PATCHES = Pieces("channels", 3), Pieces("patches", 2)


def network(resolution=9, padding="SAME", **knobs):
    """A block of stride 2 and one with a shortcut, for sides of 9 and 5 pixels."""
    spec = small(**{"expansion": 6, **knobs})
    conventions = dataclasses.replace(spec.conventions, padding=padding)
    return dataclasses.replace(spec, resolution=resolution, conventions=conventions)


def applied(spec, way, knobs=None, variables=None, dtype="f4"):
    """The logits of a network in pieces."""

    def logits(variables, images):
        with pieces.applied(way):
            return Network(spec).apply(variables, images, knobs=knobs)

    return jax.jit(logits, compiler_options=QUICK)(
        variables or drawn(spec), jnp.asarray(images_for(spec), dtype)
    )


def assert_equal_to_whole(spec, *ways, **options):
    expected = applied(spec, None, **options)
    scale = np.abs(expected).max()
    for way in ways:
        found = applied(spec, way, **options)
        np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("resolution", "padding", "kernel_size"),
    [(9, "SAME", 3), (8, "SAME", 5), (9, "SYMMETRIC", 5), (8, "SYMMETRIC", 3)],
)
def test_outputs_are_those_of_whole_blocks(resolution, padding, kernel_size):
    spec = network(resolution, padding, kernel_size=kernel_size)
    assert_equal_to_whole(spec, CHANNELS, PATCHES)


@pytest.mark.parametrize(
    "knobs",
    [
        {"expansion": 1},
        {"expansion": 0.5},
        {"projection": "relu6"},
        {"projection": "relu6", "projection_placement": "after"},
        {"projection": "gelu"},
        {"projection": "leaky_relu", "shortcut_weight": 0.5},
        {"activation": "hard_swish", "shortcut": "none"},
    ],
    ids=str,
)
def test_outputs_whatever_the_knobs(knobs):
    assert_equal_to_whole(network(**knobs), Pieces("channels", 5), Pieces("patches", 3))


def test_knobs_of_lanes_override_the_spec():
    spec = network(projection="leaky_relu")
    knobs = Knobs.of_blocks(network(projection="relu6", shortcut_weight=0.25).blocks)
    assert_equal_to_whole(spec, CHANNELS, PATCHES, Pieces("channels", None), knobs=knobs)
    assert np.abs(applied(spec, None, knobs=knobs) - applied(spec, None)).max() > 1e-3


def test_lanes_side_by_side():
    spec = network()
    variables = [drawn(spec, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *variables)

    def logits(variables):
        with pieces.applied(PATCHES):
            return Network(spec).apply(variables, images_for(spec))

    for found, own in zip(
        jax.jit(jax.vmap(logits), compiler_options=QUICK)(stacked), variables, strict=True
    ):
        expected = applied(spec, None, variables=own)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near():
    spec = network()
    expected = applied(spec, None, dtype=jnp.bfloat16)
    for way in (CHANNELS, PATCHES):
        found = applied(spec, way, dtype=jnp.bfloat16)
        assert found.dtype == jnp.bfloat16
        assert float(jnp.abs(found - expected).max() / jnp.abs(expected).max()) < 0.05


@settings(max_examples=6)
@given(
    st.sampled_from(["channels", "patches"]),
    st.integers(1, 9),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 5),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from(arch.PADDINGS),
)
def test_a_block_of_any_shape(by, count, sides, channels, stride, kernel_size, padding):
    spec = arch.BlockSpec(
        out_channels=3, stride=stride, expansion=2.5, kernel_size=kernel_size, divisor=1
    )
    conventions = arch.Conventions(padding=padding)
    block = InvertedResidual(spec, conventions)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, *sides, channels)).astype("f4")
    carry = pieces.Carry()
    variables = block.init(jax.random.key(0), x, carry, train=False)
    variables = jax.tree.map(
        lambda leaf: leaf + generator.uniform(0, 0.5, leaf.shape).astype("f4"), variables
    )
    whole, _ = block.apply(variables, x, carry, train=False)
    with pieces.applied(Pieces(by, count)):
        found: Any
        after: Any
        found, after = block.apply(variables, x, carry, train=False)
    scale = max(1, np.abs(whole).max())
    np.testing.assert_allclose(found / scale, whole / scale, rtol=0, atol=1e-5)
    assert (after.expanded is None) == (count > 1)


@given(
    st.integers(1, 40),
    st.integers(1, 8),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
    st.sampled_from(arch.PADDINGS),
)
def test_tiles_cover_the_output_once_and_see_what_they_need(rows, count, kernel, stride, padding):
    outputs = depthwise.output_size(rows, stride)
    before, _ = depthwise.pad_width(rows, kernel, stride, padding)
    groups = pieces.tile(rows, count, kernel, stride, padding)
    covered = [
        row for one in groups for start in one.start for row in range(start, start + one.size)
    ]
    assert covered == list(range(outputs))
    assert sum(len(one.start) for one in groups) == min(count, outputs)
    for one in groups:
        for start, begin, shift in zip(one.start, one.begin, one.shift, strict=True):
            assert begin >= 0
            assert begin + one.region <= rows
            padded = [None] * one.pads[0] + list(range(begin, begin + one.region))
            padded += [None] * one.pads[1]
            seen = padded[shift : shift + one.window]
            needed = range(start * stride - before, start * stride - before + one.window)
            assert seen == [row if 0 <= row < rows else None for row in needed]


@given(st.integers(1, 100), st.integers(1, 20))
def test_groups_are_as_equal_as_possible(size, count):
    runs = pieces.equal_runs(size, count)
    parts = [length for _, length, repeats in runs for _ in range(repeats)]
    assert sum(parts) == size
    assert len(parts) == min(size, count)
    assert max(parts) - min(parts) <= 1
    for start, length, _ in runs:
        assert start in (0, sum(part for part in parts if part > length))


@pytest.mark.parametrize(
    "knobs",
    [
        {"block": "sandglass"},
        {"block": "separable"},
        {"squeeze_excite": True},
        {"spatial_conv": "standard"},
        {"shortcut": "expansion", "expansion": 2},
    ],
    ids=str,
)
def test_blocks_that_cannot_be_cut_run_whole(knobs):
    spec = network(**knobs)
    assert not any(pieces.is_cut(spec, block) for block in spec.blocks)
    assert pieces.added_madds(spec, PATCHES) == {}
    assert_equal_to_whole(spec, CHANNELS, PATCHES)


def test_a_block_before_one_with_a_shortcut_between_expansions_runs_whole():
    spec = network(shortcut="expansion", expansion=2)
    first = dataclasses.replace(spec.blocks[0], shortcut="none", out_channels=4)
    spec = dataclasses.replace(spec, blocks=(first, spec.blocks[1]))
    assert not pieces.is_cut(spec, first)
    assert_equal_to_whole(spec, CHANNELS)


class Own(InvertedResidual):
    """A user's subclass, whose method is not ours to replace."""

    def __call__(self, x, carry, *, train):
        return x, carry


def test_subclasses_and_training_are_left_as_they_are():
    x, carry = np.ones((2, 4, 4, 3), "f4"), pieces.Carry()
    spec = arch.BlockSpec(out_channels=3, divisor=1)
    with pieces.applied(CHANNELS):
        np.testing.assert_array_equal(Own(spec).apply({}, x, carry, train=False)[0], x)
    block = InvertedResidual(spec)
    variables = block.init(jax.random.key(0), x, carry, train=False)
    for context in (contextlib.nullcontext(), pieces.applied(CHANNELS)):
        with context:
            result, updated = block.apply(variables, x, carry, train=True, mutable=["batch_stats"])
        assert result[1].expanded is not None
        assert np.abs(updated["batch_stats"]["expand_norm"]["mean"]).max() > 0


def test_projections_are_probed():
    spec = network(projection="relu6")
    with pieces.applied(CHANNELS):
        _, sown = Network(spec).apply(drawn(spec), images_for(spec), mutable=[PROBES])
    assert len(sown[PROBES]) == 2


def dots(jaxpr, times=1):
    """The multiply-adds of a program's matrix products."""
    found = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            found += times * depth * equation.outvars[0].aval.size
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found += dots(inner, times * repeats)
    return found


@pytest.mark.parametrize("resolution", [8, 9])
@pytest.mark.parametrize(
    "way", [CHANNELS, Pieces("channels", 5), PATCHES, Pieces("patches", 3)], ids=str
)
def test_multiply_adds_of_products(way, resolution):
    """The program's own count is that of the whole network and `added_madds`."""
    spec = network(resolution)
    one = np.zeros((1, *spec.input_shape), "f4")

    def count(way):
        with pieces.applied(way):
            return dots(jax.make_jaxpr(Network(spec).apply)(drawn(spec), one).jaxpr)

    assert count(way) == count(None) + sum(pieces.added_madds(spec, way).values())


def test_the_halo_by_hand():
    """Of 8 x 8 pixels, 2 x 2 tiles of 4 x 4 outputs see 5 x 5 pixels each."""
    spec = network(8)
    spec = dataclasses.replace(spec, blocks=spec.blocks[1:])
    expand = network_cost(spec).layers[2]
    assert expand.path == "block_01/expand"
    assert expand.madds == 8 * 8 * 4 * 24
    assert pieces.added_madds(spec, PATCHES) == {"block_01": (4 * 5 * 5 - 64) * 4 * 24}
    assert pieces.added_madds(spec, CHANNELS) == pieces.added_madds(spec, None) == {}


@pytest.mark.parametrize("text", ["channels:3", "channels:t", "patches:2"])
def test_texts_are_parsed(text):
    found = pieces.parse(text)
    assert found is not None
    assert str(found) == text
    assert found.name == text.replace(":", "")
    assert pieces.parse("whole") is None


def test_t_is_the_expansion_rounded_up():
    assert Pieces("channels", None).of(arch.BlockSpec(expansion=2.5)) == 3
    assert CHANNELS.of(arch.BlockSpec(expansion=2.5)) == 3


@pytest.mark.parametrize(
    "text", ["", "channels", "channels:0", "channels:-1", "patches:t", "rows:2", "patches:1.5"]
)
def test_other_texts_are_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"^--pieces=") as caught:
        pieces.parse(text, "--pieces")
    assert "expected whole, channels:N, channels:t or patches:N" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_compiled_peak_is_at_most_half():
    """Of the compiler's own count, for MobileNetV2 at a resolution that compiles in seconds."""
    spec = presets.build("mobilenet_v2", depth=0.3, resolution=128)
    variables = jax.eval_shape(
        Network(spec).init, jax.random.key(0), jnp.zeros((1, *spec.input_shape))
    )
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)

    def peak(way):
        def logits(variables, images):
            with pieces.applied(way):
                return Network(spec).apply(variables, images)

        analysis = jax.jit(logits).lower(variables, images).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    whole = peak(None)
    assert peak(Pieces("channels", None)) <= whole / 2
    assert peak(PATCHES) <= whole / 2
