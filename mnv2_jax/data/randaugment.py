"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719), by PIL. Imports no jax.

The operations are those of section 3.1, drawn uniformly. The paper does not give their strengths:
these are torchvision's, whose magnitudes 0 to 30 are 0 to 10 here. Grey moves in at borders, as in
the authors' code.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mnv2_jax.data.augmentation import MAX_MAGNITUDE

Operation = Callable[[Image.Image, float, int], Image.Image]
"""Takes an image, a strength from 0 to 1, and a sign, -1 or 1."""

_GREY = 128
"""The grey that moves in at borders."""


def distorted(
    pixels: np.ndarray, layers: int, magnitude: int, generator: np.random.Generator
) -> np.ndarray:
    """Apply `layers` operations, drawn uniformly, one after the other.

    Takes and returns uint8 `[height, width, channels]`; `magnitude` is 0 to `MAX_MAGNITUDE`.
    """
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    operations = list(OPERATIONS.values())
    for number in generator.integers(len(operations), size=layers):
        sign = 1 if generator.random() < 0.5 else -1
        image = operations[number](image, magnitude / MAX_MAGNITUDE, sign)
    return np.asarray(image).reshape(pixels.shape)


def _fill(image: Image.Image) -> int | tuple[int, ...]:
    return _GREY if image.mode == "L" else (_GREY, _GREY, _GREY)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    method, resample = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return image.transform(image.size, method, matrix, resample, fillcolor=_fill(image))


def _rotate(image: Image.Image, strength: float, sign: int) -> Image.Image:
    degrees = sign * 30 * strength
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_fill(image))


def _enhance(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    # The factor is 0.1 to 1.9; 1 changes nothing.
    return lambda image, strength, sign: enhancer(image).enhance(1 + 0.9 * sign * strength)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, strength, sign: image,
    "auto_contrast": lambda image, strength, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, strength, sign: ImageOps.equalize(image),
    "rotate": _rotate,
    # Pixels as bright as the threshold or brighter are inverted.
    "solarize": lambda image, strength, sign: ImageOps.solarize(image, round(256 * (1 - strength))),
    # From all 8 bits to 4.
    "posterize": lambda image, strength, sign: ImageOps.posterize(image, 8 - round(4 * strength)),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": lambda image, strength, sign: _affine(image, 1, 0.3 * sign * strength, 0, 0, 1, 0),
    "shear_y": lambda image, strength, sign: _affine(image, 1, 0, 0, 0.3 * sign * strength, 1, 0),
    "translate_x": lambda image, strength, sign: _affine(
        image, 1, 0, 0.45 * sign * strength * image.width, 0, 1, 0
    ),
    "translate_y": lambda image, strength, sign: _affine(
        image, 1, 0, 0, 0, 1, 0.45 * sign * strength * image.height
    ),
}
"""The paper's 14 operations. `color` leaves grey images unchanged."""
