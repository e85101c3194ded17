import dataclasses
import itertools
import math
import re
from typing import Any

import pytest

from mnv2_jax import arch, presets


def rows(spec):
    """Blocks as (expansion, channels, repeats, stride)."""
    stages = itertools.groupby(spec.blocks, lambda block: (block.expansion, block.out_channels))
    for row, group in stages:
        blocks = list(group)
        assert all(block.stride == 1 for block in blocks[1:])
        yield (*row, len(blocks), blocks[0].stride)


def test_mobilenet_v2_is_table_2():
    spec = presets.build("mobilenet_v2")
    assert list(rows(spec)) == [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    assert len(spec.blocks) == 17  # The text's 19 is a slip.
    assert (spec.stem_channels, spec.head_channels, spec.classes) == (32, 1280, 1000)


def test_mobilenet_v1_has_thirteen_separable_blocks_without_shortcut():
    spec = presets.build("mobilenet_v1")
    assert [(block.out_channels, block.stride) for block in spec.blocks] == [
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ]
    assert {(block.block, block.shortcut) for block in spec.blocks} == {("separable", "none")}
    assert spec.head_channels == 0


def test_presets_for_32_pixels_end_at_four_by_four():
    full = presets.build("mobilenet_v2_32px")
    for spec in (full, presets.build("small_32px")):
        assert math.prod(block.stride for block in spec.blocks) * spec.stem_stride == 32 / 4
    original = presets.build("mobilenet_v2", resolution=32, classes=10)
    assert [dataclasses.replace(block, stride=1) for block in full.blocks] == [
        dataclasses.replace(block, stride=1) for block in original.blocks
    ]


def test_digits_is_small_and_unrounded():
    spec = presets.build("digits", expansion=1)
    assert [b.out_channels for b in spec.blocks] == [4, 4, 4, 6, 6, 6, 8, 8, 8]
    assert all(b.expansion == 1 for b in spec.blocks)
    assert spec.input_shape == (8, 8, 1)


def test_narrow_networks_keep_the_last_convolution():
    heads = [presets.build("mobilenet_v2", width=width).head_channels for width in (0.35, 1, 1.4)]
    assert heads == [1280, 1280, 1792]


# timm's mobilenetv2_110d and _120d: ceil(depth x repeats), first and last stage left as they are.
@pytest.mark.parametrize(
    ("width", "depth", "repeats"),
    [(1.1, 1.2, [1, 3, 4, 5, 4, 4, 1]), (1.2, 1.4, [1, 3, 5, 6, 5, 5, 1])],
)
def test_depth_multiplies_the_inner_stages_and_leaves_stem_and_head(width, depth, repeats):
    spec = presets.build("mobilenet_v2", width=width, depth=depth)
    assert [row[2] for row in rows(spec)] == repeats
    assert (spec.stem_channels, spec.head_channels) == (32, 1280)


def test_repeats_are_rounded_up_from_the_exact_product(monkeypatch):
    def stages(t):
        return (presets.Stage(1, 8, 1, 1), presets.Stage(t, 8, 10, 1), presets.Stage(t, 9, 1, 1))

    family = presets.Preset(8, 1, 8, 1, stages, 8, 10, arch.BlockSpec(divisor=1))
    monkeypatch.setitem(presets.PRESETS, "ten", family)
    assert len(presets.build("ten", depth=1.1).blocks) == 13  # 10 x 1.1 is a little above 11.
    assert len(presets.build("ten", depth=1.11).blocks) == 14


def test_knobs_reach_every_block():
    knobs: dict[str, Any] = {
        "block": "sandglass",
        "kernel_size": 5,
        "projection": "relu",
        "projection_placement": "after",
        "projection_slope": 0.5,
        "projection_bias": 3.0,
        "shortcut": "bottleneck",
        "shortcut_weight": 0.5,
        "activation": "hard_swish",
        "spatial_conv": "standard",
        "squeeze_excite": True,
    }
    assert {*knobs, "expansion"} == set(arch.KNOBS)
    spec = presets.build("mobilenet_v2", **knobs)
    for name, value in knobs.items():
        assert {getattr(block, name) for block in spec.blocks} == {value}


# From slim's mobilenet.py, keras.applications and torchvision.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slim", ("SAME", 0.997, 1e-3, 0.2, "truncated_normal")),
        ("keras", ("SAME", 0.999, 1e-3, 0.0, "glorot_uniform")),
        ("torchvision", ("SYMMETRIC", 0.9, 1e-5, 0.2, "kaiming_normal")),
    ],
)
def test_conventions(name, expected):
    conventions = presets.build("mobilenet_v2", conventions=name).conventions
    assert dataclasses.astuple(conventions) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width=0: expected a number above 0"),
        ({"depth": -1}, "depth=-1: expected a number above 0"),
        ({"depth": 11}, "depth=11: expected a number above 0, at most 10"),
        ({"resolution": 0}, "resolution=0: expected a whole number"),
        ({"classes": 0}, "classes=0: expected a whole number"),
        ({"conventions": "pytorch"}, "conventions='pytorch': expected one of default, slim, keras"),
        ({"projection": 6}, "projection=6: expected a name"),
    ],
)
def test_a_wrong_value_is_named_with_the_right_ones(arguments, message):
    with pytest.raises(ValueError, match="^" + message):
        presets.build("mobilenet_v2", **arguments)


def test_unknown_preset():
    with pytest.raises(ValueError, match="preset='v3': expected one of mobilenet_v2, "):
        presets.build("v3")


def test_specifications_are_values():
    assert presets.build("digits") == presets.build("digits")
    assert hash(presets.build("digits")) == hash(presets.build("digits"))
    assert presets.build("digits") != presets.build("digits", projection="relu6")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expansions": 6}, "presets.build has no such argument; did you mean expansion?"),
        ({"blok": "fused"}, "presets.build has no such argument; did you mean block?"),
        ({"resolutions": 8}, "presets.build has no such argument; did you mean resolution?"),
        ({"stride": 2}, "presets.build has no such argument; expected preset, width, depth, res"),
    ],
)
def test_an_unknown_argument_is_named_with_the_nearest(arguments, message):
    ((name, value),) = arguments.items()
    with pytest.raises(TypeError, match=f"^{name}={value!r}: {re.escape(message)}"):
        presets.build("digits", **arguments)


def test_projections_and_shortcuts_may_be_in_some_blocks():
    def places(**arguments):
        spec = presets.build("digits", projection="relu6", **arguments)
        blocks = enumerate(spec.blocks, start=1)
        return [(n, b.projection, b.shortcut) for n, b in blocks]

    whole = places()
    assert len(whole) == 9
    assert whole == places(projection_blocks="all", shortcut_blocks="1-9")
    some = places(projection_blocks="2,5-6", shortcut_blocks="all but 9")
    for number, projection, shortcut in some:
        assert projection == ("relu6" if number in (2, 5, 6) else "linear")
        assert shortcut == ("none" if number == 9 else "bottleneck")
    sloped = presets.build("digits", projection="relu", projection_slope=0.5, projection_blocks="1")
    assert [block.clip.slope for block in sloped.blocks if block.clip] == [0.5] + 8 * [0.0]
    half = presets.build("digits", shortcut_weight=0.5, shortcut_blocks="none")
    assert {(block.shortcut, block.shortcut_weight) for block in half.blocks} == {("none", 1.0)}
    with pytest.raises(ValueError, match=r"^shortcut_blocks='10': expected all, none, or numbers"):
        presets.build("digits", shortcut_blocks="10")
