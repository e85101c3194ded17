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
"""The least width and height of an image on the sheet, in pixels."""

_GAP = 6
_LINE = 14
_LETTERS = 0x530
"""The first code behind Latin, Greek and Cyrillic, which the font has that vl-convert brings."""


def contact_sheet(images: np.ndarray, captions: Sequence[str], scaling: str) -> Image.Image:
    """Images side by side, each with its caption below.

    Small ones are enlarged by whole factors, such that single pixels can be told apart; large ones
    stay as they are.

    Args:
      images: as they enter a network, float32 `[count, height, width, channels]`; one or more.
      captions: of the images. What a caption has beyond its image's width is left out.
      scaling: that the images have, one of `mnv2_jax.data.augment.SCALINGS`.

    Raises:
      ValueError: there is no image, or there are more or fewer captions than images.
    """
    if len(images) != len(captions) or not captions:
        raise ValueError(
            f"captions: expected one for each of one or more images, "
            f"there are {len(captions)} for {len(images)}"
        )
    pixels = _enlarged(_bytes(images, scaling))
    height, width = pixels.shape[1:3]
    row_height, column_width = height + _LINE + 2 * _GAP, width + _GAP
    # As many columns as make the sheet about square.
    columns = min(len(pixels), math.ceil(math.sqrt(len(pixels) * row_height / column_width)))
    rows = math.ceil(len(pixels) / columns)
    size = (columns * column_width + _GAP, rows * row_height + _GAP)
    sheet = Image.new("RGB", size, "white")
    texts = []
    for place, (tile, caption) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * column_width + _GAP, row * row_height + _GAP
        sheet.paste(Image.fromarray(tile), (left, top))
        # A picture in the picture cuts off what is too long.
        texts.append(
            f'<svg x="{left}" y="{top + height}" width="{width}" height="{row_height - height}">'
            f'<text y="{_LINE}">{html.escape(_drawable(caption))}</text></svg>'
        )
    drawn = vl_convert.svg_to_png(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'font-family="Liberation Sans" font-size="12">{"".join(texts)}</svg>'
    )
    words = Image.open(io.BytesIO(drawn))
    sheet.paste(words, mask=words)
    return sheet


def _bytes(images: np.ndarray, scaling: str) -> np.ndarray:
    """Return the images before scaling, uint8 `[count, height, width, 3]`."""
    pixels = np.asarray(augment.unscale(jnp.asarray(images), scaling))
    clipped = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return np.broadcast_to(clipped, (*clipped.shape[:3], 3))


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    factor = math.ceil(_TILE / min(pixels.shape[1:3]))
    return pixels.repeat(factor, 1).repeat(factor, 2)


def _drawable(caption: str) -> str:
    """Return a caption in a line, with a code for what the font lacks."""
    # Names of folders may have accents as characters of their own, as on macOS.
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
