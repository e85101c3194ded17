import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax import arch


@given(st.floats(0.1, 5000), st.integers(1, 64))
def test_rounded_channels_are_multiples_and_never_fall_below_nine_tenths(wanted, divisor):
    channels = arch.round_channels(wanted, divisor)
    assert channels % divisor == 0
    assert channels >= max(divisor, 0.9 * wanted)
    # The nearest multiple, or the one above it.
    nearest = max(divisor, math.floor(wanted / divisor + 0.5) * divisor)
    assert channels in (nearest, nearest + divisor)
    assert arch.round_channels(channels, divisor) == channels


def test_expanded_and_reduced_channels():
    assert arch.BlockSpec(expansion=1).expanded_channels(13) == 13
    assert arch.BlockSpec(expansion=1).reduced_channels(13) == 13
    assert arch.BlockSpec(expansion=6).expanded_channels(16) == 96
    assert arch.BlockSpec(expansion=6).reduced_channels(96) == 16
    assert arch.BlockSpec(expansion=0.25).expanded_channels(256) == 64  # Section 3.4.
    assert arch.BlockSpec(expansion=6).reduced_channels(24) == 8  # Never below the divisor.


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"expansion": 0}, "expansion=0: expected a number above 0, at most 10"),
        ({"expansion": -1}, "expansion=-1: expected a number above 0, at most 10"),
        ({"expansion": 10.5}, "expansion=10.5: expected a number above 0, at most 10"),
        ({"expansion": float("nan")}, "expansion=nan"),
        ({"projection": 6}, "projection=6: expected a name"),
        ({"block": None}, "block=None: expected a name"),
        ({"projection_placement": "beside"}, "projection_placement='beside': expected one of befo"),
        ({"shortcut": "sideways"}, "shortcut='sideways': expected one of"),
        ({"activation": "gelu"}, "activation='gelu': expected one of relu6, relu, silu, hard_swi"),
        ({"kernel_size": 2}, "kernel_size=2: expected an odd number"),
        ({"spatial_conv": "grouped"}, "spatial_conv='grouped': expected one of depthwise, stand"),
        ({"squeeze_excite": "yes"}, "squeeze_excite='yes': expected one of False, True"),
        ({"stride": 3}, "stride=3: expected one of 1, 2"),
        ({"out_channels": 0}, "out_channels=0: expected a whole number"),
        ({"projection_slope": 1.5}, "projection_slope=1.5: expected a number from 0 to 1"),
        ({"shortcut_weight": -0.1}, "shortcut_weight=-0.1: expected a number from 0 to 1"),
        ({"projection_bias": float("inf")}, "projection_bias=inf: expected a finite number"),
        (
            {"projection": "gelu", "projection_slope": 0.1},
            "projection_slope=0.1: expected 0 with projection 'gelu', which is none of linear, re",
        ),
        (
            {"shortcut": "expansion", "shortcut_weight": 0.5},
            "shortcut_weight=0.5: expected 1 with shortcut 'expansion'",
        ),
    ],
)
def test_a_wrong_knob_is_named_with_the_right_values(knobs, message):
    with pytest.raises(ValueError, match="^" + message):
        arch.BlockSpec(**knobs)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("padding", "VALID", "padding='VALID': expected one of SAME, SYMMETRIC"),
        ("initializer", "zeros", "initializer='zeros': expected one of he_normal, truncated_norm"),
        ("dropout", 1.0, "dropout=1.0: expected 0 or more, below 1"),
        ("norm_momentum", -0.1, "norm_momentum=-0.1: expected 0 or more, below 1"),
        ("norm_epsilon", 0.0, "norm_epsilon=0.0: expected a number above 0"),
    ],
)
def test_a_wrong_convention_is_named(field, value, message):
    with pytest.raises(ValueError, match="^" + message):
        arch.Conventions(**{field: value})


@pytest.mark.parametrize(
    ("cls", "argument", "message"),
    [
        (arch.BlockSpec, "expansions", "BlockSpec has no such argument; did you mean expansion?"),
        (arch.Conventions, "drop_out", "Conventions has no such argument; did you mean dropout?"),
        (arch.NetworkSpec, "resolutoin", "NetworkSpec has no such .* did you mean resolution?"),
        (arch.BlockSpec, "xxxxxxxxx", "BlockSpec has no such argument; expected block, out_chan"),
    ],
)
def test_an_unknown_argument_is_named_with_the_nearest(cls, argument, message):
    with pytest.raises(TypeError, match=f"^{argument}=6: {message}"):
        cls(**{argument: 6})


@pytest.mark.parametrize(
    ("projection", "slope", "clip"),
    [
        ("relu6", 0.0, (0.0, 6.0, 0.0)),
        ("relu6", 0.25, (0.0, 6.0, 0.25)),
        ("relu6", 1.0, (-math.inf, math.inf, 0.0)),
        ("relu", 0.5, (0.0, math.inf, 0.5)),
        ("leaky_relu", 0.5, (0.0, math.inf, 0.505)),  # Half of the way from 0.01 to 1.
        ("linear", 0.5, (-math.inf, math.inf, 0.0)),
        ("gelu", 0.0, None),
    ],
)
def test_a_slope_mixes_the_identity_into_a_clip(projection, slope, clip):
    found = arch.BlockSpec(projection=projection, projection_slope=slope).clip
    assert found == (None if clip is None else pytest.approx(clip))


@given(st.integers(1, 20), st.data())
def test_texts_choose_blocks(count, data):
    numbers = st.integers(1, count)
    ranges = data.draw(st.lists(st.tuples(numbers, numbers).map(sorted), min_size=1))
    text = ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in ranges)
    chosen = {number for a, b in ranges for number in range(a, b + 1)}
    every = set(range(1, count + 1))
    assert arch.block_numbers("f", text, count) == chosen
    assert arch.block_numbers("f", f"all but {text}", count) == every - chosen
    assert arch.block_numbers("f", "all", count) == every
    assert arch.block_numbers("f", "none", count) == set()


WRONG = ["", "0", "4", "1-4", "3-1", "-1", "1,", "1-", "01", "one", "all but", "1.5"]


@pytest.mark.parametrize("text", [*WRONG, "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}"])
def test_a_wrong_choice_of_blocks_is_named(text):
    expected = r"^projection_blocks='.*': expected all, none, or numbers of the 3 blocks, such as "
    with pytest.raises(ValueError, match=expected):
        arch.block_numbers("projection_blocks", text, 3)
