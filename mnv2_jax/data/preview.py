"""Pictures of a network's input: images after augmentation and scaling, with their classes."""

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnv2_jax.data import augment

_TILE = 96
"""The least width and height of an image on the sheet, in pixels."""

_GAP = 6
_FONT_SIZE = 12


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
    font = _font()
    height, width = pixels.shape[1:3]
    ascent, descent = font.getmetrics()
    row_height, column_width = height + ascent + descent + 2 * _GAP, width + _GAP
    # As many columns as make the sheet about square.
    columns = min(len(pixels), math.ceil(math.sqrt(len(pixels) * row_height / column_width)))
    rows = math.ceil(len(pixels) / columns)
    size = (columns * column_width + _GAP, rows * row_height + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, (tile, caption) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * column_width + _GAP, row * row_height + _GAP
        sheet.paste(Image.fromarray(tile), (left, top))
        text = _shortened(_drawable(caption, font), width, font)
        draw.text((left, top + height + _GAP // 2), text, fill="black", font=font)
    return sheet


def _bytes(images: np.ndarray, scaling: str) -> np.ndarray:
    """The images before scaling, uint8 `[count, height, width, 3]`."""
    pixels = np.asarray(augment.unscale(jnp.asarray(images), scaling))
    clipped = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return np.broadcast_to(clipped, (*clipped.shape[:3], 3))


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    factor = math.ceil(_TILE / min(pixels.shape[1:3]))
    return pixels.repeat(factor, 1).repeat(factor, 2)


def _font() -> ImageFont.FreeTypeFont:
    # PIL's own has ASCII alone, matplotlib's all alphabets of Europe and more.
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, _FONT_SIZE)


def _drawable(caption: str, font: ImageFont.FreeTypeFont) -> str:
    """A caption in a line, with a code for what the font lacks, which tells classes apart."""
    missing = bytes(font.getmask("\U0010ffff"))

    def drawn(character: str) -> bool:
        return character.isprintable() and bytes(font.getmask(character)) != missing

    # Names of folders may have accents as characters of their own, as on macOS.
    composed = unicodedata.normalize("NFC", caption)
    return "".join(
        character if drawn(character) else character.encode("unicode_escape").decode("ascii")
        for character in composed
    )


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
