"""What a network is, as data: block specifications, stage tables and channel arithmetic.

Everything here is plain Python, without jax: a network is a value that can be compared, hashed,
stored with a result and expanded into a grid. `mnv2_jax.nn` turns it into Flax modules.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381, Tables 1 and 2.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

PROJECTIONS = {"linear": (-math.inf, math.inf), "relu6": (0.0, 6.0), "relu": (0.0, math.inf)}
"""What follows the normalised projection, before the shortcut is added (sections 3.2 and 6.4):
the bounds that values are clipped to."""

SHORTCUTS = ("bottleneck", "none", "expansion")
"""Where the residual connection runs (Figure 6b): between bottlenecks, nowhere, or between
expanded tensors."""

ACTIVATIONS = {"relu6": (0.0, 6.0), "relu": (0.0, math.inf)}
"""The nonlinearity after the expansion and after the depthwise convolution, as bounds likewise."""


class Stage(NamedTuple):
    """A row of Table 2: `repeats` blocks, of which the first has the stride."""

    expansion: float
    channels: int
    repeats: int
    stride: int


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One bottleneck block of Table 1: expand, filter depthwise, project.

    Attributes:
      kind: the block's name in `mnv2_jax.nn.blocks.BLOCKS`.
      out_channels: channels of the block's output.
      stride: 1 or 2, taken by the depthwise convolution.
      expansion: t, the ratio of expanded to input channels; 1 has no expansion layer.
      kernel_size: odd side of the depthwise kernel.
      projection: one of `PROJECTIONS`.
      shortcut: one of `SHORTCUTS`.
      activation: one of `ACTIVATIONS`.
      divisor: expanded channels are rounded to multiples of it.
    """

    kind: str = "inverted_residual"
    out_channels: int = 16
    stride: int = 1
    expansion: float = 6
    kernel_size: int = 3
    projection: str = "linear"
    shortcut: str = "bottleneck"
    activation: str = "relu6"
    divisor: int = 8

    def __post_init__(self) -> None:
        _choice("projection", self.projection, tuple(PROJECTIONS))
        _choice("shortcut", self.shortcut, SHORTCUTS)
        _choice("activation", self.activation, tuple(ACTIVATIONS))
        _choice("stride", self.stride, (1, 2))
        _whole("out_channels", self.out_channels)
        _whole("divisor", self.divisor)
        if not 1 <= self.expansion <= 10:
            raise ValueError(f"expansion={self.expansion!r}: expected a number from 1 to 10")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size!r}: expected an odd number, 1 or more")

    def expanded_channels(self, in_channels: int) -> int:
        """Channels of the expanded tensor for an input of `in_channels` channels."""
        if self.expansion == 1:
            return in_channels
        return round_channels(in_channels * self.expansion, self.divisor)


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A network: stem convolution, blocks, last pointwise convolution, classifier.

    Attributes:
      resolution: height and width of the input, in pixels.
      in_channels: channels of the input image.
      stem_channels: channels of the 3x3 stem convolution.
      stem_stride: stride of the stem convolution.
      blocks: the blocks, in order.
      head_channels: channels of the last pointwise convolution.
      classes: outputs of the classifier.
      padding: "SAME" (TensorFlow's: what is left over goes below and right) or "SYMMETRIC".
    """

    resolution: int
    in_channels: int
    stem_channels: int
    stem_stride: int
    blocks: tuple[BlockSpec, ...]
    head_channels: int
    classes: int
    padding: str = "SAME"

    def __post_init__(self) -> None:
        for name in ("resolution", "in_channels", "stem_channels", "head_channels", "classes"):
            _whole(name, getattr(self, name))
        _choice("stem_stride", self.stem_stride, (1, 2))
        _choice("padding", self.padding, ("SAME", "SYMMETRIC"))
        if not self.blocks:
            raise ValueError("blocks=(): expected at least one block")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the input image."""
        return (self.resolution, self.resolution, self.in_channels)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A family of networks: the stage table and what surrounds it.

    Attributes:
      stages: the (t, c, n, s) table for a given expansion.
      divisor: channels are rounded to multiples of it (8 in the paper).
    """

    resolution: int
    in_channels: int
    stem_channels: int
    stem_stride: int
    stages: Callable[[float], tuple[Stage, ...]]
    head_channels: int
    classes: int
    divisor: int


def _mobilenet_v2_stages(t: float) -> tuple[Stage, ...]:
    return (
        Stage(1, 16, 1, 1),
        Stage(t, 24, 2, 2),
        Stage(t, 32, 3, 2),
        Stage(t, 64, 4, 2),
        Stage(t, 96, 3, 1),
        Stage(t, 160, 3, 2),
        Stage(t, 320, 1, 1),
    )


def _digits_stages(t: float) -> tuple[Stage, ...]:
    return (Stage(1, 4, 1, 1), Stage(t, 4, 2, 1), Stage(t, 6, 3, 2), Stage(t, 8, 3, 2))


PRESETS: dict[str, Preset] = {
    # Table 2 of the paper: 17 bottlenecks (the text's 19 is a slip), 10 of them with a shortcut.
    "mobilenet_v2": Preset(224, 3, 32, 2, _mobilenet_v2_stages, 1280, 1000, divisor=8),
    # Small enough for minutes on a laptop. Narrow bottlenecks show the effect of a nonlinear
    # projection; channels are as asked for, since rounding to 8 would make them all alike.
    "digits": Preset(8, 1, 8, 1, _digits_stages, 64, 10, divisor=1),
}


def build(
    preset: str,
    *,
    expansion: float = 6,
    width: float = 1.0,
    kind: str = "inverted_residual",
    kernel_size: int = 3,
    projection: str = "linear",
    shortcut: str = "bottleneck",
    activation: str = "relu6",
    padding: str = "SAME",
    resolution: int | None = None,
    in_channels: int | None = None,
    classes: int | None = None,
) -> NetworkSpec:
    """Builds the network of a preset with every block of it set to the same knobs.

    The first stage keeps expansion 1 whatever `expansion` says (Table 2), and a width below 1
    leaves the last convolution as wide as it is (section 4). `resolution`, `in_channels` and
    `classes` default to the preset's.

    Raises:
      ValueError: a value is out of range; the message names it and what would be right.
    """
    _choice("preset", preset, tuple(PRESETS))
    if not 0 < width <= 10:
        raise ValueError(f"width={width!r}: expected a number above 0, at most 10")
    family = PRESETS[preset]
    shared = BlockSpec(
        kind=kind,
        expansion=expansion,
        kernel_size=kernel_size,
        projection=projection,
        shortcut=shortcut,
        activation=activation,
        divisor=family.divisor,
    )
    blocks = []
    for stage in family.stages(expansion):
        for repeat in range(stage.repeats):
            blocks.append(
                dataclasses.replace(
                    shared,
                    out_channels=round_channels(stage.channels * width, family.divisor),
                    expansion=stage.expansion,
                    stride=stage.stride if repeat == 0 else 1,
                )
            )
    return NetworkSpec(
        resolution=family.resolution if resolution is None else resolution,
        in_channels=family.in_channels if in_channels is None else in_channels,
        stem_channels=round_channels(family.stem_channels * width, family.divisor),
        stem_stride=family.stem_stride,
        blocks=tuple(blocks),
        head_channels=round_channels(family.head_channels * max(width, 1.0), family.divisor),
        classes=family.classes if classes is None else classes,
        padding=padding,
    )


def round_channels(wish: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `wish`, at least `divisor` and never below 0.9 `wish`.

    The rule of the authors' implementation (slim's `_make_divisible`): halves round up.

    Raises:
      ValueError: `wish` or `divisor` is not positive.
    """
    if not wish > 0 or math.isinf(wish):
        raise ValueError(f"channels={wish!r}: expected a positive number")
    _whole("divisor", divisor)
    channels = max(divisor, int(wish + divisor / 2) // divisor * divisor)
    return channels + divisor if channels < 0.9 * wish else channels


def _choice(field: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field}={value!r}: expected one of {', '.join(map(str, allowed))}")


def _whole(field: str, value: int) -> None:
    if value < 1 or value != int(value):
        raise ValueError(f"{field}={value!r}: expected a whole number, 1 or more")
