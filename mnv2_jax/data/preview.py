"""Pictures of a network's input: images after augmentation and scaling, with their classes."""

import html
import io
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import vl_convert
from PIL import Image

from mnv2_jax import atomic
from mnv2_jax.data import augment, pipeline, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.sources import Dataset

_IMAGES = 48
"""The most images on a sheet of a batch."""

_TILE = 96
"""Least width and height of an image on the sheet, in pixels."""

_GAP = 6
_LINE = 14
_LETTERS = 0x530
"""First code after Latin, Greek and Cyrillic, which vl-convert's font has."""


def contact_sheet(images: np.ndarray, captions: Sequence[str], scaling: str) -> Image.Image:
    """Draw images side by side, each with its caption below.

    Small images are enlarged by a whole factor, so that single pixels can be seen.

    Args:
      images: input of a network, float32 `[count, height, width, channels]`.
      captions: one for each image, cut off at the image's width.
      scaling: the images' scaling, one of `augment.SCALINGS`.

    Raises:
      ValueError: there is no image, or not one caption for each.
    """
    if len(images) != len(captions) or not captions:
        raise ValueError(
            f"captions: expected one for each of one or more images, "
            f"there are {len(captions)} for {len(images)}"
        )
    pixels = _enlarged(_bytes(images, scaling))
    height, width = pixels.shape[1:3]
    row_height, column_width = height + _LINE + 2 * _GAP, width + _GAP
    # So many columns that the sheet is about square.
    columns = min(len(pixels), math.ceil(math.sqrt(len(pixels) * row_height / column_width)))
    rows = math.ceil(len(pixels) / columns)
    size = (columns * column_width + _GAP, rows * row_height + _GAP)
    sheet = Image.new("RGB", size, "white")
    texts = []
    for place, (tile, caption) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * column_width + _GAP, row * row_height + _GAP
        sheet.paste(Image.fromarray(tile), (left, top))
        # A nested picture cuts off a caption that is too long.
        texts.append(
            f'<svg x="{left}" y="{top + height}" width="{width}" height="{row_height - height}">'
            f'<text y="{_LINE}">{html.escape(_drawable(caption))}</text></svg>'
        )
    drawn = vl_convert.svg_to_png(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'font-family="Liberation Sans" font-size="12">{"".join(texts)}</svg>'
    )
    text = Image.open(io.BytesIO(drawn))
    sheet.paste(text, mask=text)
    return sheet


def _bytes(images: np.ndarray, scaling: str) -> np.ndarray:
    """Undo the scaling, and return uint8 `[count, height, width, 3]`."""
    pixels = np.asarray(augment.unscale(jnp.asarray(images), scaling))
    clipped = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return np.broadcast_to(clipped, (*clipped.shape[:3], 3))


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    factor = math.ceil(_TILE / min(pixels.shape[1:3]))
    return pixels.repeat(factor, 1).repeat(factor, 2)


def _drawable(caption: str) -> str:
    """Return a caption in one line, with codes for characters that the font lacks."""
    # In names of folders, accents may be characters of their own, as on macOS.
    composed = unicodedata.normalize("NFC", caption)
    return "".join(
        character
        if character.isprintable() and ord(character) < _LETTERS
        else character.encode("unicode_escape").decode("ascii")
        for character in composed
    )


def draw_first_batch(
    path: Path,
    dataset: Dataset,
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    scaling: str,
) -> None:
    """Draw images of the first training batch.

    Args:
      path: of the PNG file.
      dataset: the data set.
      batch_size: of training.
      seed: of order and augmentation.
      augmentation: of training.
      scaling: one of `mnv2_jax.data.augment.SCALINGS`.

    Raises:
      ValueError: an image cannot be decoded.
      OSError: the file cannot be written, or the data set cannot be read.
    """
    rows = range(min(batch_size, _IMAGES))
    chosen = dataset.chosen(seed)
    batches = stream.TrainBatches(dataset.train, seed, batch_size, 1, rows, augmentation, chosen)
    batch = batches[0]
    places = jnp.arange(len(rows))
    images, labels, _ = pipeline.train_batch(
        key=jax.random.key(seed),
        step=jnp.int32(0),
        rows=places,
        chosen=places,
        data=(jnp.asarray(batch.images), jnp.asarray(batch.labels)),
        augmentation=augmentation,
        scaling=scaling,
        classes=dataset.classes,
    )
    captions = [dataset.class_names[label] for label in labels.tolist()]
    file = io.BytesIO()
    contact_sheet(jax.device_get(images), captions, scaling).save(file, "png")
    atomic.write_bytes(path, file.getvalue())
