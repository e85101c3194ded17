"""Crops of images, resized to the network's resolution while decoding. Imports no jax."""

import math

import numpy as np
from PIL import Image

from mnv2_jax.data import randaugment
from mnv2_jax.data.augmentation import Augmentation

Box = tuple[float, float, float, float]
"""Left, upper, right and lower border, in pixels of the stored image."""

_ASPECTS = (3 / 4, 4 / 3)
_TRIES = 10


def evaluation_crop(image: Image.Image, resolution: int, fraction: float) -> np.ndarray:
    """Return the central square of an image.

    Does in one step what others do in two: resize the shorter side to `resolution / fraction`, then
    crop the centre. Where nothing is to be resized, pixels are copied.

    Args:
      image: in mode "L" or "RGB".
      resolution: height and width of the result, in pixels.
      fraction: side of the square as a share of the shorter side.

    Returns:
      uint8 `[resolution, resolution, channels]`.
    """
    return _resized(image, _central_box(image, resolution, fraction), resolution)


def training_view(
    image: Image.Image,
    resolution: int,
    fraction: float,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> np.ndarray:
    """Crop an image at random and apply RandAugment, as far as `augmentation` says so.

    If `crop_area` is 0, the crop is that of `evaluation_crop`. See there for other arguments and
    the result.
    """
    if augmentation.crop_area:
        box = inception_box(image.width, image.height, augmentation.crop_area, generator)
    else:
        box = _central_box(image, resolution, fraction)
    view = _resized(image, box, resolution)
    if not augmentation.randaugment_layers:
        return view
    return randaugment.distorted(
        view,
        augmentation.randaugment_layers,
        augmentation.randaugment_magnitude,
        generator,
    )


def inception_box(
    width: int, height: int, smallest_area: float, generator: np.random.Generator
) -> Box:
    """Draw a part of an image, to be resized to a square (Szegedy et al. 2015, section 6).

    As in torchvision's RandomResizedCrop: its share of the area is drawn uniformly from
    `smallest_area` to 1, its aspect ratio from 3/4 to 4/3, uniformly in the logarithm. If ten draws
    do not fit, the box is the largest central one with an aspect ratio in that range.
    """
    for _ in range(_TRIES):
        area = width * height * generator.uniform(smallest_area, 1)
        aspect = math.exp(generator.uniform(math.log(_ASPECTS[0]), math.log(_ASPECTS[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left = int(generator.integers(width - wide, endpoint=True))
            top = int(generator.integers(height - high, endpoint=True))
            return left, top, left + wide, top + high
    aspect = min(max(width / height, _ASPECTS[0]), _ASPECTS[1])
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _central_box(image: Image.Image, resolution: int, fraction: float) -> Box:
    side = fraction * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if side == resolution:
        # An offset of half a pixel would blur what can be copied.
        left, top = math.floor(left), math.floor(top)
    return left, top, left + side, top + side


def _resized(image: Image.Image, box: Box, resolution: int) -> np.ndarray:
    # PIL copies a box that has the size already, bit for bit. Where it shrinks, it averages.
    view = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(view)
    return pixels if pixels.ndim == 3 else pixels[..., None]
