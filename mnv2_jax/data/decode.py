"""Decodes images with PIL, and tells of each that cannot be decoded what is wrong with it."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Formats that are read, by PIL's names. Its other plugins are seldom tried on hostile bytes."""

MAX_PIXELS = 89_478_485
"""PIL's own default: a quarter of a GiB in three channels."""

_MODES = {1: "L", 3: "RGB"}
_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By the type of colour in its header."""
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""The passes of an interlaced PNG: the first column and row, and steps to the next ones."""

TURNING = "turned as EXIF says"
"""A rule of decoding that earlier versions lacked. It is part of the fingerprint of data sets whose
images it may have changed; see `stored.records.Prepared` and, of folders, `image_files.FolderSet`.
"""

_JPEG_DAMAGE = ("premature end", "bad huffman code")
"""Warnings of its decoder, in part, after which pixels are missing or wrong; after others such as
of bytes that do not belong there none may be."""

# By the values of EXIF's orientation, of which 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Filters of warnings belong to the process, not to the thread: one thread at a time changes them.
_filtering = threading.Lock()


class BadImage(ValueError):
    """Says what is wrong with the bytes of an image. Which file they are of, the caller knows."""


def decode(data: bytes, channels: int) -> Image.Image:
    """Decode an image.

    Of an animation it is the first frame. It is turned as its EXIF (or else its XMP) says, whatever
    its format. Alpha is dropped, as TensorFlow and torchvision do. Of 16 bits the upper 8 are kept,
    as TensorFlow does with grey and PIL with colour. Damage that its decoder glosses over is not
    seen; see `check`.

    Args:
      data: the bytes of an image file, of one of `FORMATS`.
      channels: 1 for grey, 3 for RGB.

    Returns:
      The image, decoded to the end: mode "L" or "RGB".

    Raises:
      BadImage: the bytes are none, are no image, end too early, are damaged, have more than
        `MAX_PIXELS` pixels (by their header, before anything is decoded) or have pixels of 32 bits.
    """
    image = _loaded(data)
    turn = _turn(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA"):
        # PIL warns of a palette with alpha unless it is converted like this.
        image = image.convert("RGBA")
    mode = _MODES[channels]
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(turn)


def verify(data: bytes) -> bool:
    """Find out whether an image is sound: one that `decode` can decode, with all of its pixels.

    It takes less time than `decode`, which does not see that those of a PNG, or of a JPEG that has
    an end nonetheless, end early.

    Returns:
      Whether `decode` turns it, as `TURNING` says.

    Raises:
      BadImage: see `decode`.
    """
    image = _loaded(data, quick=True)
    if image.format == "PNG":
        _check_rows(data)
    return _turn(image) is not None


def _loaded(data: bytes, *, quick: bool = False) -> Image.Image:
    try:
        return _load(_open(data), data, quick)
    except BadImage as bad:
        if not data.startswith(_PNG) or not isinstance(bad.__cause__, ValueError):
            raise
    # So PIL refuses texts and profiles that unpack to more than it allows. Pixels need none.
    return _load(_open(_without_texts(data)), data, quick)


def _open(data: bytes) -> Image.Image:
    """Read the header."""
    if not data:
        raise BadImage("it is empty")
    try:
        # PIL warns above its limit, and of blemishes that it works around.
        with _filtering, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise BadImage("it is not an image; expected JPEG, PNG, GIF, WebP, BMP or TIFF") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(f"it would decode to more than {MAX_PIXELS:,} pixels") from error
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    width, height = image.size
    if width * height > MAX_PIXELS:  # Where somebody has changed PIL's limit.
        raise BadImage(f"it would decode to more than {MAX_PIXELS:,} pixels")
    if image.mode not in _CONVERTIBLE and not image.mode.startswith("I;16"):
        raise BadImage(
            f"its pixels are of PIL's mode {image.mode}, which has no one way to 8 bits; "
            f"expected 8 or 16 bits, grey or colour"
        )
    return image


def _load(image: Image.Image, data: bytes, quick: bool) -> Image.Image:
    warning = ""
    if quick and image.format in ("JPEG", "MPO"):
        warning = _warning(data, image.mode)
        if not warning:
            return image
    try:
        image.load()
    except MemoryError:
        raise
    # PIL raises nearly anything on damaged bytes: OSError, SyntaxError, struct.error, IndexError...
    except Exception as error:
        raise _damaged(error) from error
    if any(kind in warning.lower() for kind in _JPEG_DAMAGE):
        raise BadImage(f"it is damaged or cut off ({warning})")
    return image


def _warning(jpeg: bytes, mode: str) -> str:
    """Return the fault that a strict decoder, which reads to the end, finds in a JPEG, if any."""
    try:
        # An eighth of its rows are made.
        simplejpeg.decode_jpeg(jpeg, "CMYK" if mode == "CMYK" else "GRAY", min_factor=8)
    except ValueError as error:
        return str(error) or "it cannot be decoded"
    return ""


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Return the kind of each chunk of a PNG, where it begins and where it ends."""
    start = len(_PNG)
    while start + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, start)
        end = min(start + 12 + length, len(png))
        yield kind, start, end
        start = end


def _without_texts(png: bytes) -> bytes:
    kept = (png[start:end] for kind, start, end in _chunks(png) if kind not in _PNG_TEXTS)
    return _PNG + b"".join(kept)


def _check_rows(png: bytes) -> None:
    """See to it that the pixels of a PNG are all there, which PIL leaves black where they end.

    Raises:
      BadImage: they end early.
    """
    header = next(start for kind, start, _ in _chunks(png) if kind == b"IHDR")
    width, height, bits, colour, *_, interlaced = struct.unpack_from(">IIBBBBB", png, header + 8)
    bits *= _PNG_CHANNELS.get(colour, 0)
    missing = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            missing += max(rows, 0) * (1 + -(-columns * bits // 8))
    stream = zlib.decompressobj()
    for kind, start, end in _chunks(png):
        packed = png[start + 8 : end - 4] if kind == b"IDAT" else b""
        while packed and missing > 0:
            try:
                missing -= len(stream.decompress(packed, min(missing, 2**20)))
            except zlib.error as error:
                raise _damaged(error) from error
            packed = stream.unconsumed_tail
    if missing > 0:
        raise BadImage("it is damaged or cut off (its pixels end before its last row)")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that is left for a loaded image to stand as its orientation says."""
    if image.format == "TIFF":  # PIL turns these while it loads them.
        return None
    try:
        with _filtering, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    # As of damaged pixels PIL raises nearly anything, but these pixels are whole.
    except Exception:
        return None


def _damaged(error: Exception) -> BadImage:
    return BadImage(f"it is damaged or cut off ({' '.join(str(error).split()) or repr(error)})")
