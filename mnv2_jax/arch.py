"""Networks as data: block specifications, conventions and channel arithmetic.

Plain Python, without jax: a network is a value that can be compared, hashed, stored with a result
and expanded into a grid. `mnv2_jax.nn` builds Flax modules from it; `mnv2_jax.presets` has the
tables of named networks.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381, Tables 1 and 2.
"""

import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from mnv2_jax.neutral import added, renamed

T = TypeVar("T")


class Clip(NamedTuple):
    """A leaky clip: `clip(x, low, high) + slope * (x - clip(x, low, high))`."""

    low: float
    high: float
    slope: float = 0.0


CLIPS = {
    "linear": Clip(-math.inf, math.inf),
    "relu6": Clip(0.0, 6.0),
    "relu": Clip(0.0, math.inf),
    "leaky_relu": Clip(0.0, math.inf, 0.01),  # Maas et al. 2013
}
"""Projections that may differ between the lanes of one program, which takes these numbers as
arguments. All others are functions; see `mnv2_jax.nn.projections`.

A projection is the activation after the normalised projecting convolution (sections 3.2 and 6.4).
"""

PLACEMENTS = ("before", "after")
"""The projection's activation comes before or after the shortcut is added. The paper does not say
which its Figure 6a has."""

SHORTCUTS = ("bottleneck", "none", "expansion")
"""Tensors that the residual connection joins (Figure 6b): bottlenecks, none, or expanded ones."""

ACTIVATIONS = ("relu6", "relu", "silu", "hard_swish")
"""The nonlinearity inside a block: ReLU6 and ReLU, SiLU (Elfwing et al. 2017, arXiv 1702.03118),
hard-swish (Howard et al. 2019, arXiv 1905.02244, section 5.2)."""

SPATIAL_CONVS = ("depthwise", "standard")
"""The spatial convolution between expansion and projection."""

PADDINGS = ("SAME", "SYMMETRIC")
"""Zero padding of convolutions: TensorFlow's "SAME", which puts an odd row or column below or
right, or the same number on both sides. They differ only where the stride is 2."""

INITIALIZERS = ("he_normal", "truncated_normal", "glorot_uniform", "kaiming_normal")
"""Distributions of initial kernels; see `mnv2_jax.nn.initializers`."""


def check_arguments(function: str, arguments: dict[str, Any], known: Collection[str]) -> None:
    """Raise TypeError for the first unknown argument of a function, naming the nearest known one.

    Args:
      function: its name in the message, such as "presets.build".
      arguments: by name.
      known: the names that the function takes.
    """
    for name, value in arguments.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            raise TypeError(f"{name}={value!r}: {function} has no such argument; {hint}")


def checked_arguments(cls: type[T]) -> type[T]:
    """Decorate a dataclass, such that unknown arguments raise as in `check_arguments`."""
    init = cls.__init__
    known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]

    @functools.wraps(init)
    def __init__(self: T, *args: Any, **kwargs: Any) -> None:
        check_arguments(cls.__name__, kwargs, known)
        init(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[assignment]
    return cls


def check_choice(field: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{field}={value!r}: expected one of {', '.join(map(str, allowed))}")


def check_whole(field: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number, 1 or more."""
    if value < 1 or value != int(value):
        raise ValueError(f"{field}={value!r}: expected a whole number, 1 or more")


def check_share(field: str, value: float) -> None:
    """Raise ValueError unless `value` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{field}={value!r}: expected a number from 0 to 1")


def check_multiplier(field: str, value: float) -> None:
    """Raise ValueError unless `value` is above 0 and at most 10."""
    if not 0 < value <= 10:
        raise ValueError(f"{field}={value!r}: expected a number above 0, at most 10")


@checked_arguments
@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """The knobs of one block. A block need not read every knob.

    Attributes:
      block: one of `mnv2_jax.nn.blocks.BLOCKS`, or FILE.py:CLASS.
      out_channels: channels of the output.
      stride: of the spatial convolution, 1 or 2.
      expansion: t, expanded over input channels, above 0; 1 has no expansion layer. Below 1 the
        inverted residual is the classical one (section 3.4). Blocks from wide to narrow divide by
        it.
      kernel_size: odd side of the spatial kernel.
      projection: activation after the projection: one of `CLIPS`, one of
        `mnv2_jax.nn.projections.FUNCTIONS`, or FILE.py:FUNCTION.
      projection_placement: that activation before or after the shortcut is added: one of
        `PLACEMENTS`.
      projection_slope: share s of the identity in the projection, (1 - s) f(x) + s x: 0 leaves it
        as it is named, 1 makes it linear. Above 0 only for one of `CLIPS`; of a linear one it
        changes nothing.
      projection_bias: initial bias of the projection's BatchNorm, whose scale starts at 1.
      shortcut: tensors that the residual connection joins: one of `SHORTCUTS`.
      shortcut_weight: the weight of the shortcut between bottlenecks, from 0 to 1.
      activation: nonlinearity inside the block: one of `ACTIVATIONS`.
      spatial_conv: convolution between expansion and projection: one of `SPATIAL_CONVS`.
      squeeze_excite: gate the spatial convolution's output by its own mean. Hu et al. 2018.
      divisor: expanded channels are rounded to multiples of it.

    Raises:
      ValueError: a value is out of range.
    """

    block: str = "inverted_residual"
    out_channels: int = 16
    stride: int = 1
    expansion: float = 6
    kernel_size: int = 3
    projection: str = "linear"
    projection_placement: str = "before"
    shortcut: str = "bottleneck"
    activation: str = "relu6"
    spatial_conv: str = renamed("depthwise", was="middle")
    squeeze_excite: bool = False
    divisor: int = 8
    projection_slope: float = added(0.0, "0.3")
    projection_bias: float = added(0.0, "0.3")
    shortcut_weight: float = added(1.0, "0.3")

    def __post_init__(self) -> None:
        for name in ("block", "projection"):  # `mnv2_jax.nn` checks that they exist.
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a name")
        check_choice("projection_placement", self.projection_placement, PLACEMENTS)
        check_choice("shortcut", self.shortcut, SHORTCUTS)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("spatial_conv", self.spatial_conv, SPATIAL_CONVS)
        check_choice("squeeze_excite", self.squeeze_excite, (False, True))
        check_choice("stride", self.stride, (1, 2))
        check_whole("out_channels", self.out_channels)
        check_whole("divisor", self.divisor)
        check_multiplier("expansion", self.expansion)
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size!r}: expected an odd number, 1 or more")
        check_share("projection_slope", self.projection_slope)
        check_share("shortcut_weight", self.shortcut_weight)
        if not math.isfinite(self.projection_bias):
            raise ValueError(f"projection_bias={self.projection_bias!r}: expected a finite number")
        if self.projection_slope and self.projection not in CLIPS:
            raise ValueError(
                f"projection_slope={self.projection_slope!r}: expected 0 with projection "
                f"{self.projection!r}, which is none of {', '.join(CLIPS)}"
            )
        if self.shortcut_weight != 1 and self.shortcut == "expansion":
            raise ValueError(
                f"shortcut_weight={self.shortcut_weight!r}: expected 1 with shortcut 'expansion'"
            )

    @property
    def clip(self) -> Clip | None:
        """The projection as a leaky clip, with its slope mixed in; None if it is a function."""
        named = CLIPS.get(self.projection)
        if named is None:
            return None
        # Not the formula at slope 1, which rounds.
        if self.projection_slope == 1 or named == CLIPS["linear"]:
            return CLIPS["linear"]
        return named._replace(slope=named.slope + self.projection_slope * (1 - named.slope))

    def expanded_channels(self, in_channels: int) -> int:
        """Return the channels of the expanded tensor for an input of `in_channels`."""
        if self.expansion == 1:
            return in_channels
        return round_channels(in_channels * self.expansion, self.divisor)

    def reduced_channels(self, wide_channels: int) -> int:
        """Return the channels of the narrow tensor of a block whose outer tensors are wide."""
        if self.expansion == 1:
            return wide_channels
        return round_channels(wide_channels / self.expansion, self.divisor)


KNOBS = tuple(
    field.name
    for field in dataclasses.fields(BlockSpec)
    if field.name not in ("out_channels", "stride", "divisor")
)
"""The fields of `BlockSpec` that have one value in all blocks of a network."""


@checked_arguments
@dataclasses.dataclass(frozen=True)
class Conventions:
    """Details in which implementations of the same network differ.

    Attributes:
      padding: one of `PADDINGS`.
      norm_momentum: the share of BatchNorm's running moments that a step keeps.
      norm_epsilon: added to the variance by BatchNorm.
      dropout: the share of the classifier's inputs that training drops.
      initializer: one of `INITIALIZERS`.
    """

    padding: str = "SAME"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-3
    dropout: float = 0.0
    initializer: str = "he_normal"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, PADDINGS)
        check_choice("initializer", self.initializer, INITIALIZERS)
        for name in ("norm_momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected 0 or more, below 1")
        if not self.norm_epsilon > 0:
            raise ValueError(f"norm_epsilon={self.norm_epsilon!r}: expected a number above 0")


CONVENTIONS = {
    # For runs of minutes: running moments over tens of steps, no dropout.
    "default": Conventions(),
    # The authors' code (slim): `training_scope` of mobilenet.py, epsilon from slim's batch_norm.
    "slim": Conventions("SAME", 0.997, 1e-3, 0.2, "truncated_normal"),
    # keras.applications.MobileNetV2.
    "keras": Conventions("SAME", 0.999, 1e-3, 0.0, "glorot_uniform"),
    # torchvision.models.mobilenet_v2.
    "torchvision": Conventions("SYMMETRIC", 0.9, 1e-5, 0.2, "kaiming_normal"),
}
"""The conventions of three reference implementations, and of the small experiments."""


@checked_arguments
@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A network: stem convolution, blocks, last pointwise convolution, classifier.

    Attributes:
      resolution: height and width of the input, in pixels.
      in_channels: channels of the input image.
      stem_channels: channels of the 3x3 stem convolution.
      stem_stride: 1 or 2.
      blocks: in order.
      head_channels: channels of the last pointwise convolution; 0 has none (MobileNetV1).
      classes: outputs of the classifier.
      conventions: padding, normalisation, dropout, initial weights.

    Raises:
      ValueError: a value is out of range.
    """

    resolution: int
    in_channels: int
    stem_channels: int
    stem_stride: int
    blocks: tuple[BlockSpec, ...]
    head_channels: int
    classes: int
    conventions: Conventions = CONVENTIONS["default"]

    def __post_init__(self) -> None:
        for name in ("resolution", "in_channels", "stem_channels", "classes"):
            check_whole(name, getattr(self, name))
        if self.head_channels:
            check_whole("head_channels", self.head_channels)
        check_choice("stem_stride", self.stem_stride, (1, 2))
        if not self.blocks:
            raise ValueError("blocks=(): expected at least one block")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts in order: stem, blocks, last convolution, classifier."""
        blocks = [f"block_{number:02}" for number in range(1, len(self.blocks) + 1)]
        return ("stem", *blocks, *(["head"] if self.head_channels else []), "classifier")

    @property
    def features(self) -> int:
        """Number of the classifier's inputs."""
        return self.head_channels or self.blocks[-1].out_channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the input image."""
        return (self.resolution, self.resolution, self.in_channels)


_BLOCKS = re.compile("([1-9][0-9]*)(?:-([1-9][0-9]*))?")
"""A block's number, or a range of them."""


def block_numbers(field: str, text: str, count: int) -> frozenset[int]:
    """Return the numbers of blocks, from 1, that a text chooses.

    Args:
      field: the name of the text in messages.
      text: "all" or "none"; numbers and ranges of them, such as "1,3-5"; or all but some: "all but
        2".
      count: the number of blocks.

    Raises:
      ValueError: the text is none of these, or names a block that does not exist.
    """
    everything = frozenset(range(1, count + 1))
    if text in ("all", "none"):
        return everything if text == "all" else frozenset()
    listed = text.removeprefix("all but ")
    chosen: set[int] = set()
    for part in listed.split(","):
        ends = _BLOCKS.fullmatch(part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not (first <= last and {first, last} <= everything):
            raise ValueError(
                f"{field}={text!r}: expected all, none, or numbers of the {count} blocks, such as "
                f"1,3-{count} or all but 2"
            )
        chosen |= set(range(first, last + 1))
    return everything - chosen if listed != text else frozenset(chosen)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, at least `divisor` and never below 0.9 `channels`.

    The rule of the authors' implementation (slim's `_make_divisible`): halves round up.

    Raises:
      ValueError: `channels` or `divisor` is not positive.
    """
    if not channels > 0 or math.isinf(channels):
        raise ValueError(f"channels={channels!r}: expected a positive number")
    check_whole("divisor", divisor)
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
