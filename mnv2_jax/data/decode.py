"""Decoding of images with PIL; errors say what is wrong with an image."""

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
"""Formats that are read, by PIL's names. Its other plugins are little tested on hostile bytes."""

MAX_PIXELS = 89_478_485
"""PIL's own default: a quarter of a GiB in three channels."""

_MODES = {1: "L", 3: "RGB"}
_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of a PNG by the colour type in its header."""
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""The passes of an interlaced PNG: first column and row, and steps to the next ones."""

TURNING = "turned as EXIF says"
"""A rule of decoding that earlier versions lacked. Fingerprints of data sets whose images it may
change include it; see `stored.prepared.Prepared` and `image_files.FolderSet`."""

_JPEG_DAMAGE = ("premature end", "bad huffman code")
"""Parts of the JPEG decoder's warnings that mean missing or wrong pixels. Others, such as that of
extraneous bytes, need not."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Turns by EXIF's orientation, where 1 is upright."""

# Warning filters belong to the process: one thread at a time may change them.
_filtering = threading.Lock()


class BadImage(ValueError):
    """The bytes of an image are wrong. The message says how; the caller adds the file."""


def decode(data: bytes, channels: int) -> Image.Image:
    """Decode an image; of an animation, the first frame.

    It is turned as its EXIF (or else its XMP) says. Alpha is dropped, as in TensorFlow and
    torchvision. Of 16 bits the upper 8 are kept, as in TensorFlow (grey) and PIL (colour). Some
    damage decodes without an error; `verify` finds it.

    Args:
      data: the bytes of an image file, in one of `FORMATS`.
      channels: 1 for grey, 3 for RGB.

    Returns:
      The decoded image, in mode "L" or "RGB".

    Raises:
      BadImage: the bytes are empty, no image, cut off or damaged, have pixels of 32 bits or, by
        their header, more than `MAX_PIXELS` pixels.
    """
    image = _loaded(data)
    turn = _turn(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA"):
        # Otherwise PIL warns of a palette with alpha.
        image = image.convert("RGBA")
    mode = _MODES[channels]
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(turn)


def verify(data: bytes) -> bool:
    """Check that `decode` can decode an image, and that none of its pixels are missing.

    Takes less time than `decode`, and finds what that does not: a PNG or JPEG whose pixels end
    early although the file has an end.

    Returns:
      True if `decode` turns the image; see `TURNING`.

    Raises:
      BadImage: as `decode` does.
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
    # PIL refuses texts and profiles that unpack to more than its limit. Pixels need neither.
    return _load(_open(_without_texts(data)), data, quick)


def _open(data: bytes) -> Image.Image:
    """Read the header."""
    if not data:
        raise BadImage("it is empty")
    try:
        # PIL warns of sizes above its limit, and of faults that it works around.
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
    if width * height > MAX_PIXELS:  # PIL's own limit can be changed.
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
    """Return the fault that a strict decoder finds in a JPEG, or ""."""
    try:
        # Reads to the end, and makes an eighth of the rows.
        simplejpeg.decode_jpeg(jpeg, "CMYK" if mode == "CMYK" else "GRAY", min_factor=8)
    except ValueError as error:
        return str(error) or "it cannot be decoded"
    return ""


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk of a PNG."""
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
    """Raise `BadImage` if pixels of a PNG are missing; PIL leaves them black."""
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
    """Return the turn that a loaded image still needs to be upright."""
    if image.format == "TIFF":  # PIL turns these while it loads them.
        return None
    try:
        with _filtering, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # PIL raises nearly anything on damaged EXIF; the pixels are whole.
        return None


def _damaged(error: Exception) -> BadImage:
    return BadImage(f"it is damaged or cut off ({' '.join(str(error).split()) or repr(error)})")
