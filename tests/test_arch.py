import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax import arch, presets


def test_mobilenet_v2_is_table_2():
    spec = presets.build("mobilenet_v2")
    rows = [(b.expansion, b.out_channels, b.stride) for b in spec.blocks]
    expected = []
    for t, c, n, s in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        expected += [(t, c, s)] + [(t, c, 1)] * (n - 1)
    assert rows == expected
    assert len(rows) == 17  # The text's 19 is a slip.
    assert (spec.stem_channels, spec.head_channels, spec.classes) == (32, 1280, 1000)


def test_digits_is_small_and_unrounded():
    spec = presets.build("digits", expansion=1)
    assert [b.out_channels for b in spec.blocks] == [4, 4, 4, 6, 6, 6, 8, 8, 8]
    assert all(b.expansion == 1 for b in spec.blocks)
    assert spec.input_shape == (8, 8, 1)


@pytest.mark.parametrize(("width", "head"), [(0.35, 1280), (0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_narrow_networks_keep_the_last_convolution(width, head):
    assert presets.build("mobilenet_v2", width=width).head_channels == head


@given(st.floats(0.1, 5000), st.integers(1, 64))
def test_rounded_channels_are_multiples_and_never_fall_below_nine_tenths(wish, divisor):
    channels = arch.round_channels(wish, divisor)
    assert channels % divisor == 0
    assert channels >= max(divisor, 0.9 * wish)
    # The nearest multiple, or the one above it.
    assert channels <= max(divisor, math.floor(wish / divisor + 0.5) * divisor + divisor)


@given(st.integers(1, 400), st.integers(1, 16))
def test_multiples_stay_as_they_are(times, divisor):
    assert arch.round_channels(times * divisor, divisor) == times * divisor


def test_expansion_one_expands_nothing():
    assert arch.BlockSpec(expansion=1).expanded_channels(13) == 13
    assert arch.BlockSpec(expansion=6, divisor=8).expanded_channels(16) == 96


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"expansion": 0}, "expansion=0: expected a number above 0, at most 10"),
        ({"expansion": -1}, "expansion=-1: expected a number above 0, at most 10"),
        ({"expansion": float("nan")}, "expansion=nan"),
        ({"projection": "tanh"}, "projection='tanh': expected one of linear, relu6, relu"),
        ({"shortcut": "sideways"}, "shortcut='sideways': expected one of"),
        ({"activation": "gelu"}, "activation='gelu': expected one of"),
        ({"kernel_size": 2}, "kernel_size=2: expected an odd number"),
        ({"width": 0}, "width=0: expected a number above 0"),
        ({"resolution": 0}, "resolution=0: expected a whole number"),
        ({"conventions": "pytorch"}, "conventions='pytorch': expected one of default, slim, keras"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(knobs, message):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        presets.build("mobilenet_v2", **knobs)


def test_unknown_preset():
    with pytest.raises(ValueError, match="preset='v3': expected one of mobilenet_v2, "):
        presets.build("v3")


def test_specifications_are_values():
    assert presets.build("digits") == presets.build("digits")
    assert hash(presets.build("digits")) == hash(presets.build("digits"))
    assert presets.build("digits") != presets.build("digits", projection="relu6")
