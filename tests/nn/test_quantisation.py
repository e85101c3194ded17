"""Quantisation: number formats by hand and against casts, folding, equalisation, int8."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import arch
from mnv2_jax.nn import depthwise, quantisation
from mnv2_jax.nn.blocks import BLOCKS
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.quantisation import FLOATS, Format, Ranges
from tests.nn.test_probes import drawn, images_for, small

quantise = jax.jit(quantisation.quantise)

TYPES = {
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float8_e4m3": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def rounded(values, format):
    return np.asarray(quantise(jnp.asarray(values, jnp.float32), format))


def test_symmetric_integers_by_hand():
    format = quantisation.symmetric(3, 3.0)
    assert [float(part) for part in format] == [1.0, 127.0, -3.0, 3.0]
    values = [-9.0, -2.5, -1.5, -0.5, -0.2, 0.0, 0.5, 0.51, 1.5, 2.5, 9.0, np.inf]
    assert rounded(values, format).tolist() == [-3, -2, -2, 0, 0, 0, 0, 1, 2, 2, 3, 3]
    per_channel = quantisation.symmetric(2, np.array([1.0, 0.0, 4.0], np.float32))
    # A channel of zeros has nothing to round.
    assert rounded([[0.6, 0.0, 1.9], [0.4, 0.0, -2.1]], per_channel).tolist() == [
        [1, 0, 0],
        [0, 0, -4],
    ]


def test_affine_integers_by_hand():
    format = quantisation.affine(2, -1.0, 2.0)
    assert rounded([-5.0, -0.5, 0.0, 0.5, 1.5, 2.4, 7.0], format).tolist() == [-1, 0, 0, 0, 2, 2, 2]
    # The range moves by 0.4, so that 0 is a number: four of them from -1 to 2.
    moved = quantisation.affine(2, -0.6, 2.4)
    assert rounded([-9.0, 0.0, 9.0], moved).tolist() == [-1, 0, 2]
    # One that excludes 0 is extended; one without width has nothing to round.
    assert rounded([0.0, 9.0], quantisation.affine(8, 1.0, 2.55)).tolist() == [0, np.float32(2.55)]
    assert rounded([0.0, 1.0], quantisation.affine(8, 0.0, 0.0)).tolist() == [0, 1]


@given(st.integers(2, 8), st.floats(-100, 10, width=32), st.floats(2**-6, 100, width=32))
@settings(deadline=None)
def test_integers_are_near_and_few_and_0_is_one_of_them(bits, low, width):
    for format in (
        quantisation.affine(bits, low, low + width),
        quantisation.symmetric(bits, width),
    ):
        values = np.linspace(format.low, format.high, 1001).astype(np.float32)
        found = rounded(values, format)
        unit = float(format.unit)
        assert np.abs(found - values).max() <= unit * 0.5001
        assert len(np.unique(found)) <= 2**bits
        assert (np.diff(found) >= 0).all()
        assert rounded([0.0], format).item() == 0
        np.testing.assert_array_equal(rounded(found, format), found)


@pytest.mark.parametrize("name", TYPES)
@given(st.lists(st.floats(-60000, 60000, width=32), min_size=1), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_floats_are_rounded_as_casts_round_them(name, values, seed):
    generator = np.random.default_rng(seed)
    more = generator.normal(size=500) * 2.0 ** generator.integers(-30, 8, 500)
    x = np.concatenate([np.array(values, np.float32), more.astype(np.float32)])
    most = float(FLOATS[name].high)
    x = x[(np.abs(x) <= most) & ((np.abs(x) >= 2.0**-53) | (x == 0))]
    padded = np.zeros(600, np.float32)
    padded[: len(x)] = x[:600]
    expected = padded.astype(TYPES[name]).astype(np.float32)
    np.testing.assert_array_equal(rounded(padded, FLOATS[name]), expected)


@pytest.mark.parametrize("name", TYPES)
def test_floats_beyond_the_largest_are_clipped_to_it(name):
    most = float(ml_dtypes.finfo(TYPES[name]).max)
    beyond = [most, np.inf, -np.inf]
    assert rounded(beyond, FLOATS[name]).tolist() == [most, most, -most]
    assert np.isnan(rounded([np.nan], FLOATS[name])).all()


def test_all_formats_are_arguments_of_one_program():
    traced = []

    @jax.jit
    def program(x, format):
        traced.append(format)
        return quantisation.quantise(x, format)

    x = np.linspace(-2, 2, 9, dtype=np.float32)
    integers = [quantisation.symmetric(bits, 2.0) for bits in range(2, 9)]
    for format in (*integers, *FLOATS.values(), quantisation.affine(8, 0, 6), quantisation.EXACT):
        program(x, Format(*format))
    assert len(traced) == 1
    np.testing.assert_array_equal(program(x, quantisation.EXACT), x)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("conventions", ["default", "torchvision"])
def test_a_folded_network_agrees(block, conventions):
    spec = dataclasses.replace(
        small(block=block, squeeze_excite=True, projection="relu6"),
        conventions=arch.CONVENTIONS[conventions],
    )
    variables, images = drawn(spec), images_for(spec)
    folded = quantisation.fold(variables, spec.conventions.norm_epsilon)
    infer = jax.jit(lambda variables: Network(spec).apply(variables, images))
    expected, found = infer(variables), infer(folded)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    flat = traverse_util.flatten_dict(folded["params"], sep="/")
    scales = [leaf for name, leaf in flat.items() if name.endswith("_norm/scale")]
    assert all((scale == 1).all() for scale in scales)
    before = traverse_util.flatten_dict(variables["params"], sep="/")
    assert (flat["stem/kernel"] != before["stem/kernel"]).any()


def test_inputs_of_all_layers_are_observed_and_rounded():
    spec = small(squeeze_excite=True)
    variables, images = drawn(spec), images_for(spec)
    network: Any = Network(spec)
    seen = quantisation.observe(network, variables, None, images)
    logits = network.apply(variables, images)
    layers = ["expand", "depthwise", "squeeze_excite/reduce", "squeeze_excite/gate", "project"]
    blocks = [f"{block}/{layer}" for block in ("block_01", "block_02") for layer in layers]
    assert ["/".join(path) for path in seen] == ["stem", *blocks, "head", "classifier"]
    assert [one.shape for one in seen["stem",]] == [images.shape]
    exact = dict.fromkeys(seen, quantisation.EXACT)
    with quantisation.quantised_inputs(exact):
        np.testing.assert_array_equal(network.apply(variables, images), logits)
    coarse = exact | {("block_02", "project"): quantisation.affine(2, 0, 6)}
    with quantisation.quantised_inputs(coarse):
        inputs = quantisation.observe(network, variables, None, images)
        (found,) = inputs["block_02", "project"]
        assert set(np.unique(found)) <= {0.0, 2.0, 4.0, 6.0}
        assert not np.array_equal(network.apply(variables, images), logits)
    some = [path for path in seen if path != ("block_01", "expand")]
    assert quantisation.unknown(variables, some) == [("block_01", "expand")]
    kernels: dict[quantisation.Path, Format] = {
        ("block_02", "project"): quantisation.symmetric(2, 1.0)
    }
    rounded_ones = quantisation.quantised_kernels(variables, kernels)
    assert set(np.unique(rounded_ones["params"]["block_02"]["project"]["kernel"])) <= {
        -1.0,
        0.0,
        1.0,
    }


def test_int8_arithmetic_agrees_on_a_block():
    """A pointwise and a depthwise convolution in int8 x int8 -> int32, as on hardware."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 5, 5, 6)).astype(np.float32)
    wide, deep = generator.normal(size=(6, 12)), generator.normal(size=(3, 3, 12))
    wide, deep = wide.astype(np.float32), deep.astype(np.float32)

    def integers(values, format):
        """Return int32 counts of units, checked to fit 8 bits."""
        counts = np.rint(quantise(values, format) / format.unit).astype(np.int32)
        assert np.ptp(counts) <= 255
        return counts

    for per_channel in (False, True):
        of_x = quantisation.affine(8, float(x.min()), float(x.max()))
        ranges = quantisation.largest(wide) if per_channel else np.abs(wide).max()
        of_wide = quantisation.symmetric(8, ranges)
        sums = np.einsum("nhwi,io->nhwo", integers(x, of_x), integers(wide, of_wide))
        y = sums * (of_x.unit * of_wide.unit)
        fake = np.einsum("nhwi,io->nhwo", quantise(x, of_x), quantise(wide, of_wide))
        np.testing.assert_allclose(y, fake, rtol=1e-5, atol=1e-4)
        y = np.clip(fake, 0, 6)
        of_y = quantisation.affine(8, 0.0, 6.0)
        ranges = quantisation.largest(deep) if per_channel else np.abs(deep).max()
        of_deep = quantisation.symmetric(8, ranges)
        convolve = functools.partial(depthwise.depthwise_conv, stride=2)
        sums = np.asarray(convolve(jnp.asarray(integers(y, of_y)), integers(deep, of_deep)))
        assert sums.dtype == np.int32
        expected = convolve(quantise(y, of_y), quantise(deep, of_deep))
        np.testing.assert_allclose(
            sums * (of_y.unit * of_deep.unit), expected, rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("expansion", [1, 2])
def test_equalised_channels_have_one_range_and_results_stay(expansion):
    spec = small(activation="relu", expansion=expansion)
    folded = quantisation.fold(drawn(spec), spec.conventions.norm_epsilon)
    equalised = quantisation.equalise(folded, spec)
    infer = jax.jit(lambda variables: Network(spec).apply(variables, images_for(spec)))
    np.testing.assert_allclose(infer(equalised), infer(folded), rtol=1e-4, atol=1e-5)
    for block in ("block_01", "block_02"):
        parts = equalised["params"][block]
        largest = quantisation.largest(parts["depthwise"]["kernel"])
        behind = quantisation.largest(parts["project"]["kernel"].T)
        np.testing.assert_allclose(largest, behind, rtol=3e-3)
        if expansion > 1:
            before = quantisation.largest(parts["expand"]["kernel"])
            np.testing.assert_allclose(before, largest, rtol=3e-3)
    assert (equalised["params"]["stem"]["kernel"] == folded["params"]["stem"]["kernel"]).all()


def test_channels_without_a_range_keep_their_scale():
    spec = small(activation="relu")
    folded = quantisation.fold(drawn(spec), spec.conventions.norm_epsilon)
    folded["params"]["block_01"]["expand"]["kernel"][:, 0] = 0
    equalised = quantisation.equalise(folded, spec)
    leaves = jax.tree.leaves(equalised)
    assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize(
    "knobs",
    [
        {"activation": "relu6"},
        {"activation": "silu"},
        {"activation": "relu", "squeeze_excite": True},
        {"activation": "relu", "shortcut": "expansion"},
        {"activation": "relu", "spatial_conv": "standard"},
        {"activation": "relu", "block": "sandglass"},
    ],
)
def test_what_scales_would_change_is_not_equalised(knobs):
    spec = small(**knobs)
    assert not any(map(quantisation.can_equalise, spec.blocks))
    folded = quantisation.fold(drawn(spec), spec.conventions.norm_epsilon)
    jax.tree.map(np.testing.assert_array_equal, quantisation.equalise(folded, spec), folded)


def test_ranges_of_batches_are_those_of_all_images():
    values = np.random.default_rng(0).normal(size=(7, 4, 4, 50)).astype(np.float32)
    whole, parts = Ranges(), Ranges()
    whole.add(values)
    for part in (values[:3], values[3:3], values[3:]):
        parts.add(part)
    assert whole.extremes == (values.min(), values.max()) == parts.extremes
    by_image = np.percentile(values.reshape(7, -1), [0.1, 99.9], axis=1)
    np.testing.assert_allclose(whole.percentiles, by_image.mean(1), rtol=1e-6)
    np.testing.assert_allclose(parts.percentiles, whole.percentiles, rtol=1e-6)
    by_hand = Ranges()
    by_hand.add(np.arange(1001.0)[None])
    assert by_hand.extremes == (0, 1000)
    assert by_hand.percentiles == pytest.approx((1, 999))
