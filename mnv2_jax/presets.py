"""Named networks as stage tables, without jax. A new network is a line in `PRESETS`."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mnv2_jax import arch
from mnv2_jax.arch import BlockSpec, NetworkSpec, round_channels


class Stage(NamedTuple):
    """A row of Table 2: `repeats` blocks, of which the first has the stride."""

    expansion: float
    channels: int
    repeats: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Preset:
    """A family of networks. Fields not described here are those of `NetworkSpec`, at width 1.

    Attributes:
      stages: the (t, c, n, s) table for an expansion.
      block: the default knobs of every block. All channels are rounded to multiples of its divisor,
        8 in the paper.
    """

    resolution: int
    in_channels: int
    stem_channels: int
    stem_stride: int
    stages: Callable[[float], tuple[Stage, ...]]
    head_channels: int
    classes: int
    block: BlockSpec = BlockSpec()  # noqa: RUF009 -- it is frozen.


def _mobilenet_v2(t: float) -> tuple[Stage, ...]:
    return (
        Stage(1, 16, 1, 1),
        Stage(t, 24, 2, 2),
        Stage(t, 32, 3, 2),
        Stage(t, 64, 4, 2),
        Stage(t, 96, 3, 1),
        Stage(t, 160, 3, 2),
        Stage(t, 320, 1, 1),
    )


def _mobilenet_v2_32px(t: float) -> tuple[Stage, ...]:
    first, second, *others = _mobilenet_v2(t)
    return (first, second._replace(stride=1), *others)


def _mobilenet_v1(t: float) -> tuple[Stage, ...]:
    return (
        Stage(t, 64, 1, 1),
        Stage(t, 128, 2, 2),
        Stage(t, 256, 2, 2),
        Stage(t, 512, 6, 2),
        Stage(t, 1024, 2, 2),
    )


def _small_32px(t: float) -> tuple[Stage, ...]:
    return (
        Stage(1, 8, 1, 1),
        Stage(t, 12, 2, 1),
        Stage(t, 16, 3, 2),
        Stage(t, 24, 3, 2),
        Stage(t, 32, 1, 1),
    )


def _digits(t: float) -> tuple[Stage, ...]:
    return (Stage(1, 4, 1, 1), Stage(t, 4, 2, 1), Stage(t, 6, 3, 2), Stage(t, 8, 3, 2))


PRESETS: dict[str, Preset] = {
    # Table 2 of the paper: 17 bottlenecks (the text's 19 is a slip), 10 of them with a shortcut.
    "mobilenet_v2": Preset(224, 3, 32, 2, _mobilenet_v2, 1280, 1000),
    # The same without the first two strides, as usually trained on CIFAR's 32 pixels.
    "mobilenet_v2_32px": Preset(32, 3, 32, 1, _mobilenet_v2_32px, 1280, 10),
    # For grids at 32 pixels: a hundred networks in the time of one large one.
    "small_32px": Preset(32, 3, 16, 2, _small_32px, 128, 10, BlockSpec(divisor=4)),
    # Howard et al. 2017, arXiv 1704.04861, Table 1: no shortcuts, no last convolution. The 13
    # depthwise separable blocks each end in an activation, here ReLU6 as in the authors' code.
    "mobilenet_v1": Preset(
        resolution=224,
        in_channels=3,
        stem_channels=32,
        stem_stride=2,
        stages=_mobilenet_v1,
        head_channels=0,
        classes=1000,
        block=BlockSpec("separable", expansion=1, projection="relu6", shortcut="none"),
    ),
    # Small enough for minutes on a laptop. Narrow bottlenecks show the effect of a nonlinear
    # projection; channels are not rounded, since multiples of 8 would make them all equal.
    "digits": Preset(8, 1, 8, 1, _digits, 64, 10, BlockSpec(divisor=1)),
}


_ELSEWHERE: dict[str, dict[str, Any]] = {
    "projection": {"projection": "linear", "projection_slope": 0.0},
    "shortcut": {"shortcut": "none", "shortcut_weight": 1.0},
}
"""By knob, the knobs of blocks that are not chosen to have it."""


def build(
    preset: str,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int | None = None,
    in_channels: int | None = None,
    classes: int | None = None,
    conventions: str = "default",
    projection_blocks: str = "all",
    shortcut_blocks: str = "all",
    **knobs: Any,
) -> NetworkSpec:
    """Build the network of a preset, with the same knobs in all blocks, or in chosen ones.

    The first stage keeps expansion 1 whatever `expansion` is (Table 2), and a width below 1 does
    not narrow the last convolution (section 4).

    Args:
      preset: one of `PRESETS`.
      width: multiplies the channels (section 4: 0.35 to 1.4).
      depth: multiplies the repeats of all stages but the first and the last, rounded up. If it is
        not 1, stem and last convolution keep width 1. Both as in timm's mobilenetv2_110d and _120d
        (widths 1.1 and 1.2, depths 1.2 and 1.4).
      resolution: in pixels; None is the preset's, as for the next two.
      in_channels: of the images.
      classes: outputs of the classifier.
      conventions: one of `mnv2_jax.arch.CONVENTIONS`.
      projection_blocks: the blocks that have the projection, as `arch.block_numbers` reads them; it
        is linear in all others.
      shortcut_blocks: the blocks that have the shortcut, likewise.
      **knobs: of `mnv2_jax.arch.KNOBS`; the preset's by default.

    Raises:
      ValueError: a value is out of range.
      TypeError: an argument is unknown.
    """
    *own, _ = inspect.signature(build).parameters
    arch.check_arguments("presets.build", knobs, (*own, *arch.KNOBS))
    arch.check_choice("preset", preset, tuple(PRESETS))
    arch.check_choice("conventions", conventions, tuple(arch.CONVENTIONS))
    arch.check_multiplier("width", width)
    arch.check_multiplier("depth", depth)
    family = PRESETS[preset]
    shared = dataclasses.replace(family.block, **knobs)
    divisor = shared.divisor
    stages = family.stages(shared.expansion)
    outer_width = width if depth == 1 else 1.0
    blocks = []
    for number, stage in enumerate(stages):
        inner = 0 < number < len(stages) - 1
        # Rounded first, since 10 * 1.1 is 11.000000000000002, whose ceiling is 12.
        repeats = math.ceil(round(stage.repeats * depth, 6)) if inner else stage.repeats
        block = dataclasses.replace(
            shared,
            out_channels=round_channels(stage.channels * width, divisor),
            expansion=stage.expansion,
        )
        blocks += [dataclasses.replace(block, stride=stage.stride), *[block] * (repeats - 1)]
    for field, text in (("projection", projection_blocks), ("shortcut", shortcut_blocks)):
        chosen = arch.block_numbers(f"{field}_blocks", text, len(blocks))
        blocks = [
            block if number in chosen else dataclasses.replace(block, **_ELSEWHERE[field])
            for number, block in enumerate(blocks, start=1)
        ]
    head = family.head_channels * max(outer_width, 1.0)
    return NetworkSpec(
        resolution=family.resolution if resolution is None else resolution,
        in_channels=family.in_channels if in_channels is None else in_channels,
        stem_channels=round_channels(family.stem_channels * outer_width, divisor),
        stem_stride=family.stem_stride,
        blocks=tuple(blocks),
        head_channels=round_channels(head, divisor) if head else 0,
        classes=family.classes if classes is None else classes,
        conventions=arch.CONVENTIONS[conventions],
    )
