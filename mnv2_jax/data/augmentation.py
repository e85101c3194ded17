"""Augmentation of training images as values: fields of a config, each an axis of a grid.

`mnv2_jax.data.augment` applies them inside the compiled program; `mnv2_jax.data.crops` applies, on
the host, those that need the image as it is stored. Imports no jax.
"""

import dataclasses
import math

MAX_MAGNITUDE = 10
"""The strongest of RandAugment's distortions."""

_RANGES = {
    "crop_area": (1, "0 to 1"),
    "randaugment_layers": (math.inf, "0 or more"),
    "randaugment_magnitude": (MAX_MAGNITUDE, f"0 to {MAX_MAGNITUDE}"),
    "shift": (math.inf, "0 or more pixels"),
    "rotation": (180, "0 to 180 degrees"),
    "brightness": (1, "0 to 1"),
    "contrast": (1, "0 to 1"),
    "saturation": (1, "0 to 1"),
    "hue": (0.5, "0 to 0.5 turns"),
    "cutout": (math.inf, "0 or more pixels"),
    "mixup": (1000, "0 to 1000"),
}
"""The largest value of each field, and its range in words. The smallest is 0."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Augmentations of training images, in this order; by default none.

    Attributes:
      crop_area: least share of the area that a random-resized crop takes, 0 to 1; 0 takes the
        central square, as in evaluation. Szegedy et al. 2015, arXiv 1409.4842, section 6 (0.08).
      randaugment_layers: number of RandAugment distortions in a row; 0 for none. Cubuk et al. 2020,
        arXiv 1909.13719.
      randaugment_magnitude: strength of RandAugment's distortions, 0 to `MAX_MAGNITUDE`.
      shift: most pixels that an image is shifted by, either way; black moves in. The same as
        padding with so many pixels, then cropping at random.
      flip: mirror images left to right, each with chance 1/2.
      rotation: most degrees that an image is rotated by, either way, 0 to 180; black moves in.
      brightness: images are multiplied by 1 - this to 1 + this, 0 to 1.
      contrast: differences from the image's mean grey are multiplied by 1 - this to 1 + this, 0 to
        1.
      saturation: differences from grey are multiplied by 1 - this to 1 + this, 0 to 1.
      hue: most turns that hues are shifted by, either way, 0 to 0.5.
      cutout: side, in pixels, of a blanked square, centred on any pixel; 0 for none. DeVries and
        Taylor 2017, arXiv 1708.04552.
      mixup: Beta distribution's parameter for mixing pairs of images and targets; 0 for none. Zhang
        et al. 2018, arXiv 1710.09412.

    Raises:
      ValueError: a value is out of range or has no effect; the message names the field and the
        values expected.
    """

    crop_area: float = 0.0
    randaugment_layers: int = 0
    randaugment_magnitude: int = 0
    shift: int = 0
    flip: bool = False
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    cutout: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name, (largest, expected) in _RANGES.items():
            self._check(name, 0 <= getattr(self, name) <= largest, expected)
        # A value without effect would make an axis of a grid compare a run with itself.
        has_effect = self.randaugment_layers > 0 or self.randaugment_magnitude == 0
        self._check("randaugment_magnitude", has_effect, "0, since there are no randaugment_layers")

    @property
    def on_host(self) -> bool:
        """True if images are augmented on the host, while they are decoded."""
        return self.crop_area > 0 or self.randaugment_layers > 0

    def check(self, size: tuple[int, int], channels: int, together: int) -> None:
        """Check that images of this kind can be augmented.

        Args:
          size: height and width of the images.
          channels: 1 or 3.
          together: number of images that a device computes at once.

        Raises:
          ValueError: they cannot; the message names the field and the values expected.
        """
        for name in ("shift", "cutout"):
            fits = getattr(self, name) <= max(size)
            self._check(name, fits, f"at most {max(size)}, the size of the images")
        if channels == 1:
            for name in ("saturation", "hue"):
                self._check(name, getattr(self, name) == 0, "0, since the images are grey")
        fits = self.mixup == 0 or together % 2 == 0
        self._check("mixup", fits, f"0, since it takes pairs, and {together} images are odd")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}={getattr(self, name)!r}: expected {expected}")
