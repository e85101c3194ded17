"""Parts of images at the resolution of the network, cut while decoding. Imports no jax."""

import math

import numpy as np
from PIL import Image

from mnv2_jax.data import randaugment
from mnv2_jax.data.augmentation import Augmentation

Box = tuple[float, float, float, float]
"""Left, upper, right and lower border, in pixels of the image as it is stored."""

_ASPECTS = (3 / 4, 4 / 3)
_TRIES = 10


def evaluation_crop(image: Image.Image, resolution: int, fraction: float) -> np.ndarray:
    """Return the central square of an image.

    The same as resizing the shorter side to `resolution / fraction` and cutting out the centre, at
    once. An image that has the size already stays as it is, and one that would have it after the
    first step is only cut.

    Args:
      image: in mode "L" or "RGB".
      resolution: of the result, in pixels.
      fraction: the side of the square as a share of the shorter side.

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
    """Return an image as it is trained on, as far as that is the host's to do.

    Args:
      image: in mode "L" or "RGB".
      resolution: of the result, in pixels.
      fraction: see `evaluation_crop`, which is made where no crop is drawn.
      augmentation: of which `crop_area` and RandAugment are done here.
      generator: what is drawn comes from it.

    Returns:
      uint8 `[resolution, resolution, channels]`.
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
    """Return a random part of an image, to be resized to a square (Szegedy et al. 2015, section 6).

    Its share of the area is drawn evenly, its aspect ratio from 3/4 to 4/3 evenly in the logarithm.
    Where ten draws do not fit, it is the largest central part of an aspect ratio in that range. As
    torchvision's RandomResizedCrop has it.

    Args:
      width: of the image, in pixels.
      height: likewise.
      smallest_area: the least share of the area.
      generator: what is drawn comes from it.
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
        # Pixels can be copied, which half a pixel would blur.
        left, top = math.floor(left), math.floor(top)
    return left, top, left + side, top + side


def _resized(image: Image.Image, box: Box, resolution: int) -> np.ndarray:
    # Of what has the size already PIL gives a copy, bit for bit. Shrinking, it averages.
    view = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(view)
    return pixels if pixels.ndim == 3 else pixels[..., None]
