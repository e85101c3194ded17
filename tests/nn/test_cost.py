import math

import flax.linen as nn
import jax.numpy as jnp
import pytest

from mnv2_jax import presets
from mnv2_jax.nn import layers
from mnv2_jax.nn.cost import module_cost, network_cost, separations

# (width, resolution): multiply-adds, parameters without BatchNorm's, and with them. Rows of the
# table in slim's mobilenet README, computed exactly: every width and every resolution.
SLIM = {
    (1.4, 224): (582_195_824, 6_060_840, 6_108_776),
    (1.3, 224): (509_374_560, 5_342_536, 5_386_792),
    (1.0, 224): (300_774_272, 3_470_760, 3_504_872),
    (1.0, 192): (221_316_608, 3_470_760, 3_504_872),
    (0.75, 224): (209_069_792, 2_609_784, 2_636_424),
    (0.75, 160): (107_295_200, 2_609_784, 2_636_424),
    (0.5, 224): (97_131_840, 1_950_136, 1_968_680),
    (0.5, 128): (32_578_560, 1_950_136, 1_968_680),
    (0.35, 224): (59_285_808, 1_663_048, 1_677_128),
    (0.35, 96): (11_934_128, 1_663_048, 1_677_128),
}
# The paper's own figures: 300 M and 585 M multiply-adds, 3.4 M and 6.9 M parameters (Table 4). The
# first pair is these rows cut short; the second cannot be had from Table 2 at width 1.4.


def without_norm(cost):
    return sum(layer.params for layer in cost.layers if layer.kind != "BatchNorm")


@pytest.mark.parametrize(("width", "resolution"), SLIM)
def test_costs_of_published_networks(width, resolution):
    cost = network_cost(presets.build("mobilenet_v2", width=width, resolution=resolution))
    assert (cost.madds, without_norm(cost), cost.params) == SLIM[width, resolution]


@pytest.mark.parametrize(
    ("width", "total"),
    [(0.35, 1_691_208), (0.5, 1_987_224), (1.0, 3_538_984), (1.4, 6_156_712)],
)
def test_parameters_with_statistics_are_those_of_keras(width, total):
    assert network_cost(presets.build("mobilenet_v2", width=width)).params_with_statistics == total


def test_mobilenet_v1():
    cost = network_cost(presets.build("mobilenet_v1"))
    assert cost.madds == 568_740_352
    assert without_norm(cost) == 4_210_088
    assert (cost.params, cost.params_with_statistics) == (4_231_976, 4_253_864)


def test_mobilenet_v1_of_full_convolutions():
    # Howard et al. 2017, Table 4: "Conv MobileNet", 4866 M multiply-adds, 29.3 M parameters.
    cost = network_cost(presets.build("mobilenet_v1", block="standard"))
    assert cost.madds // 10**6 == 4867  # The paper's without the classifier's 1.024 M.
    assert cost.layers[-1].madds == 1_024_000
    assert round(cost.params / 10**6, 1) == 29.3


@pytest.mark.parametrize("preset", ["mobilenet_v2", "mobilenet_v2_32px"])
def test_ten_classes(preset):
    assert network_cost(presets.build(preset, classes=10)).params == 2_236_682


# timm's mobilenetv2_110d and _120d.
@pytest.mark.parametrize(("width", "depth", "params"), [(1.1, 1.2, 4.52), (1.2, 1.4, 5.83)])
def test_deep_networks(width, depth, params):
    cost = network_cost(presets.build("mobilenet_v2", width=width, depth=depth))
    assert round(cost.params / 10**6, 2) == params


def layers_of(*arguments, **options):
    cost = network_cost(presets.build(*arguments, **options))
    return {layer.path: layer for layer in cost.layers}


def test_shapes_are_those_of_table_2():
    layers = layers_of("mobilenet_v2")
    # The first block of each row, and what goes into it.
    for block, shape in {
        1: (112, 112, 32),
        2: (112, 112, 16),
        4: (56, 56, 24),
        7: (28, 28, 32),
        11: (14, 14, 64),
        14: (14, 14, 96),
        17: (7, 7, 160),
    }.items():
        first = "depthwise" if block == 1 else "expand"
        assert layers[f"block_{block:02}/{first}"].input == shape
    assert layers["head"].input == (7, 7, 320)
    assert layers["head"].output == (7, 7, 1280)
    assert layers["classifier"].input == (1280,)
    assert layers["classifier"].output == (1000,)


def kilobytes(resolution, channels):
    return resolution**2 * channels * 2 / 1000


def test_table_3_for_mobilenet_v1():
    largest = network_cost(presets.build("mobilenet_v1")).largest_tensors()
    # The paper's unit "Kb" is 1000 bytes, cut or rounded; at 7x7 it prints 199 for what is 100.
    paper = {112: (64, 1600), 56: (128, 800), 28: (256, 400), 14: (512, 200), 1: (1024, 2)}
    for resolution, (channels, memory) in paper.items():
        assert largest[resolution] == channels
        assert kilobytes(resolution, channels) == pytest.approx(memory, rel=0.03)
    assert largest[7] == 1024
    assert kilobytes(7, 1024) == pytest.approx(100.4, rel=1e-3)


def test_table_3_for_mobilenet_v2():
    largest = network_cost(presets.build("mobilenet_v2")).largest_tensors()
    # At 56, 28 and 14 pixels the paper prints 32, 64 and 160 channels: what the stages that begin
    # there give, but at the resolution before their stride.
    assert {side: largest[side] for side in (56, 28, 14, 1)} == {56: 24, 28: 32, 14: 96, 1: 1280}
    # At 112 and 7 pixels it counts bottlenecks alone, 16 and 320; stem and head have more.
    assert (largest[112], largest[7]) == (32, 1280)
    layers = layers_of("mobilenet_v2")
    assert layers["block_01/project"].output == (112, 112, 16)
    assert kilobytes(112, 16) == pytest.approx(400, rel=0.01)
    assert layers["block_17/project"].output == (7, 7, 320)
    assert kilobytes(7, 320) == pytest.approx(32, rel=0.03)


def test_peak_memory_of_mobilenet_v2():
    cost = network_cost(presets.build("mobilenet_v2"))
    # The first bottleneck: input, output, a channel before the depthwise convolution, one after.
    assert cost.peak_bytes == 2 * 112**2 * (32 + 16 + 1 + 1)
    # Layer by layer: the second one's depthwise convolution, of 96 channels and stride 2.
    assert cost.peak_bytes_by_layer == 2 * (112**2 * 96 + 56**2 * 96)


@pytest.mark.parametrize(
    ("knobs", "one_operator"),
    [
        ({}, True),
        ({"spatial_conv": "standard"}, False),
        ({"squeeze_excite": True}, False),
        ({"block": "bottleneck"}, False),
    ],
)
def test_blocks_computed_channel_by_channel_are_one_operator(tiny, knobs, one_operator):
    operators = network_cost(presets.build(tiny, **knobs)).operators()
    assert ("block_01" in [operator.path for operator in operators]) == one_operator


def test_separable_over_standard_is_one_over_channels_plus_one_over_taps():
    cost = network_cost(presets.build("mobilenet_v1"))
    rows = separations(cost)
    assert [row.separable for row in rows] == [False] + 13 * [True]
    pointwise = [layer for layer in cost.layers if layer.path.endswith("/pointwise")]
    for row, layer in zip(rows[1:], pointwise, strict=True):
        assert row.ratio == pytest.approx(1 / layer.output[-1] + 1 / 9, abs=1e-12)
    full = network_cost(presets.build("mobilenet_v1", block="standard"))
    assert [row.standard_madds for row in separations(full)] == [row.standard_madds for row in rows]
    assert sum(row.separable_madds for row in rows[1:]) == cost.madds - 10_838_016 - 1_024_000
    assert not any(row.separable for row in separations(full))


def test_expansion_one_has_no_expansion_layer(tiny):
    assert not any("expand" in path for path in layers_of(tiny, expansion=1))


@pytest.mark.parametrize(
    "knobs",
    [
        {"projection": "relu6", "shortcut": "none"},
        {"projection": "relu", "projection_placement": "after"},
        {"shortcut": "expansion"},
        {"activation": "silu"},
        {"conventions": "torchvision"},
    ],
)
def test_knobs_that_change_no_shape_change_no_cost(tiny, knobs):
    assert network_cost(presets.build(tiny, **knobs)) == network_cost(presets.build(tiny))


def test_a_layer_called_twice_has_its_parameters_once():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = layers.Pointwise(x.shape[-1], name="shared")
            return layer(layer(x))

    cost = module_cost(Twice(), jnp.zeros((1, 2, 2, 3)))
    assert (cost.params, cost.madds) == (9, 2 * 4 * 9)


def test_a_grouped_flax_convolution_counts_as_depthwise():
    cost = module_cost(
        nn.Conv(6, (3, 3), feature_group_count=6, use_bias=False), jnp.zeros((1, 4, 4, 6))
    )
    (layer,) = cost.layers
    assert (layer.role, layer.madds) == ("depthwise", 16 * 9 * 6)
    assert math.prod(layer.kernel) == layer.params == 54


def test_two_parallel_depthwise_convolutions_are_not_separable():
    class Mixed(nn.Module):
        @nn.compact
        def __call__(self, x):
            halves = (x[..., ::2], x[..., 1::2])
            y = [layers.Depthwise(3, name=f"depthwise_{n}")(half) for n, half in enumerate(halves)]
            return layers.Pointwise(4, name="project")(jnp.concatenate(y, axis=-1))

    assert separations(module_cost(Mixed(), jnp.zeros((1, 4, 4, 6)))) == []
