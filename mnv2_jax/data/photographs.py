"""Crops of the two photographs that come with scikit-learn, for looks into networks."""

import numpy as np
from PIL import Image

SIDE = 224
"""Height and width of the crops before they are resized, in pixels."""


def crops(resolution: int = SIDE, channels: int = 3) -> np.ndarray:
    """Return the four corners of both photographs, uint8 `[8, resolution, resolution, channels]`.

    They are china.jpg and flower.jpg, of 640 x 427 pixels. Crops overlap by 21 rows. At another
    resolution they are resized, with one channel they are grey.
    """
    from sklearn import datasets  # Takes seconds to import.

    corners = [
        photograph[rows, columns]
        for photograph in datasets.load_sample_images().images
        for rows in (slice(SIDE), slice(-SIDE, None))
        for columns in (slice(SIDE), slice(-SIDE, None))
    ]
    return np.stack([_fitted(corner, resolution, channels) for corner in corners])


def _fitted(corner: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    picture = Image.fromarray(corner)
    if channels == 1:
        picture = picture.convert("L")
    if resolution != SIDE:
        picture = picture.resize((resolution, resolution), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(resolution, resolution, channels)
