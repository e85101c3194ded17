import pytest

from mnv2_jax import presets
from mnv2_jax.nn.cost import network_cost

# Multiply-adds, parameters with BatchNorm's scale and bias: slim's README rows, computed exactly.
SLIM = {
    (1.4, 224): (582_195_824, 6_108_776),
    (1.3, 224): (509_374_560, 5_386_792),
    (1.0, 224): (300_774_272, 3_504_872),
    (1.0, 192): (221_316_608, 3_504_872),
    (0.75, 160): (107_295_200, 2_636_424),
    (0.5, 128): (32_578_560, 1_968_680),
    (0.35, 96): (11_934_128, 1_677_128),
}


@pytest.mark.parametrize(("width", "resolution"), SLIM)
def test_costs_of_the_published_networks(width, resolution):
    cost = network_cost(presets.build("mobilenet_v2", width=width, resolution=resolution))
    assert (cost.madds, cost.params) == SLIM[width, resolution]


def test_parameters_with_statistics_are_those_of_keras():
    assert network_cost(presets.build("mobilenet_v2")).params_with_statistics == 3_538_984


def test_a_bottleneck_costs_what_table_1_says():
    spec = presets.build("mobilenet_v2")
    layers = {layer.path: layer for layer in network_cost(spec).layers}
    # The second block of the 32-channel stage: h w d' t (d' + k^2 + d'') at stride 1.
    block = sum(layer.madds for path, layer in layers.items() if path.startswith("block_05/"))
    assert block == 28 * 28 * 32 * 6 * (32 + 9 + 32)
    assert layers["block_05/expand"].output == (28, 28, 192)
    assert layers["block_05/depthwise"].params == 9 * 192
    assert layers["classifier"].params == 1280 * 1000 + 1000


def test_expansion_one_has_no_expansion_layer():
    paths = [layer.path for layer in network_cost(presets.build("digits", expansion=1)).layers]
    assert not any("expand" in path for path in paths)


def test_knobs_that_change_no_shape_change_no_cost():
    base = network_cost(presets.build("digits"))
    assert network_cost(presets.build("digits", projection="relu6", shortcut="none")) == base
