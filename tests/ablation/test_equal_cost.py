import pytest

from mnv2_jax import presets
from mnv2_jax.ablation.equal_cost import width_of_equal_madds
from mnv2_jax.nn.cost import network_cost


def madds(preset, block, width, **knobs):
    return network_cost(presets.build(preset, width=width, block=block, **knobs)).madds


@pytest.mark.parametrize("block", ["separable", "fused"])
def test_no_width_comes_nearer_to_the_cost(block):
    knobs = {"expansion": 6.0}
    wanted = madds("digits", "inverted_residual", 1.0, **knobs)
    found = width_of_equal_madds("digits", 8, block, "inverted_residual", **knobs)
    distance = abs(madds("digits", block, found, **knobs) / wanted - 1)
    # Found as equal, or between two steps of the rounding of channels.
    for step in (-0.02, -0.01, 0.01, 0.02):
        other = abs(madds("digits", block, found + step, **knobs) / wanted - 1)
        assert distance < 0.01 or distance <= other + 0.02
    assert distance < 0.25


def test_a_block_costs_as_much_as_itself_at_width_1():
    assert width_of_equal_madds("digits", 8, "standard", "standard", expansion=6.0) == 1.0


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset"):
        width_of_equal_madds("none", 8, "standard", "standard")
