"""Augmentation of training images as values: fields of a config, each an axis of a grid.

What becomes of them is in `mnv2_jax.data.augment`, inside of the compiled program, and, where the
image is needed as it is stored, in `mnv2_jax.data.crops`. Imports no jax.
"""

import dataclasses

MAX_MAGNITUDE = 10
"""The strongest of RandAugment's distortions."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Augmentations of training images, in this order; by default none.

    Attributes:
      crop_area: least share of the area that a random-resized crop takes, 0 to 1; 0 takes the
        central square, as in evaluation. Szegedy et al. 2015, arXiv 1409.4842, section 6 (0.08).
      randaugment_layers: number of RandAugment distortions in a row; 0 for none. Cubuk et al. 2020,
        arXiv 1909.13719.
      randaugment_magnitude: strength of RandAugment's distortions, 0 to `MAX_MAGNITUDE`.
      shift: most pixels that an image moves by; black moves in. The same as padding with so many
        pixels, then cropping.
      flip: mirror every second image, left to right.
      rotation: most degrees that an image turns by, either way, 0 to 180; black moves in.
      brightness: images are multiplied by 1 - this to 1 + this, 0 to 1.
      contrast: differences from the image's mean grey are multiplied likewise, 0 to 1.
      saturation: differences from grey are multiplied likewise, 0 to 1.
      hue: most turns that hues move by, either way, 0 to 0.5.
      cutout: side, in pixels, of a blanked square, centred on any pixel; 0 for none. DeVries and
        Taylor 2017, arXiv 1708.04552.
      mixup: Beta distribution's parameter for mixing pairs of images and targets; 0 for none. Zhang
        et al. 2018, arXiv 1710.09412.

    Raises:
      ValueError: a value is out of range, or is one that nothing reads; the message names it and
        what would be right.
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
        self._check("crop_area", 0 <= self.crop_area <= 1, "0 to 1")
        for name in ("shift", "cutout"):
            self._check(name, getattr(self, name) >= 0, "0 or more pixels")
        self._check("rotation", 0 <= self.rotation <= 180, "0 to 180 degrees")
        for name in ("brightness", "contrast", "saturation"):
            self._check(name, 0 <= getattr(self, name) <= 1, "0 to 1")
        self._check("hue", 0 <= self.hue <= 0.5, "0 to 0.5 turns")
        self._check("mixup", 0 <= self.mixup <= 1000, "0 to 1000")
        self._check("randaugment_layers", self.randaugment_layers >= 0, "0 or more")
        fits = 0 <= self.randaugment_magnitude <= MAX_MAGNITUDE
        self._check("randaugment_magnitude", fits, f"0 to {MAX_MAGNITUDE}")
        # A value without effect would make an axis of a grid compare a run with itself.
        read = self.randaugment_layers > 0 or self.randaugment_magnitude == 0
        self._check("randaugment_magnitude", read, "0, since there are no randaugment_layers")

    @property
    def on_host(self) -> bool:
        """Return whether images are needed as stored, and so are augmented while decoding."""
        return self.crop_area > 0 or self.randaugment_layers > 0

    def check(self, size: tuple[int, int], channels: int, together: int) -> None:
        """Check that it can be done.

        Args:
          size: height and width of the images.
          channels: of them, 1 or 3.
          together: how many of a batch are computed at once on a device.

        Raises:
          ValueError: it cannot; the message names the field and what would be right.
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
