import io
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from mnv2_jax.data import decode
from mnv2_jax.data.decode import BadImage

RNG = np.random.default_rng(0)


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def noise(mode, size=(24, 20)):
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels)[: 2 if channels == 1 else 3]
    return Image.frombytes(mode, size, RNG.integers(0, 256, shape, np.uint8).tobytes())


def frames():
    return [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]


def chunk(kind, data):
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height):
    """A PNG whose header claims a size, and that has a few bytes of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return (
        PngImagePlugin._MAGIC
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def gif_of(width, height):
    """A GIF whose only frame is larger than its canvas."""
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + frame + b"\x02\x01\x44\x00\x3b"


def refused(data):
    """What both functions say of bytes that are no image they take."""
    with pytest.raises(BadImage) as decoding:
        decode.decode(data, 3)
    with pytest.raises(BadImage) as checking:
        decode.verify(data)
    assert str(decoding.value) == str(checking.value)
    return str(decoding.value)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("L", 3), ("RGB", 1)])
@pytest.mark.parametrize("size", [(24, 20), (1, 1)])
def test_every_format_to_grey_and_to_colour(kind, mode, channels, size):
    data = encoded(noise(mode, size), kind)
    decode.verify(data)
    image = decode.decode(data, channels)
    assert image.mode == {1: "L", 3: "RGB"}[channels]
    assert image.size == size
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    expected = expected if channels == 3 else expected.convert("L")
    difference = np.asarray(image, int) - np.asarray(expected, int)
    assert np.abs(difference).max() <= (0 if mode == "RGB" else 1)  # Grey, RGB and back rounds.


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("part", [0.9, 0.5])
def test_cut_off(kind, part):
    data = encoded(noise("RGB", (64, 64)), kind)
    assert "it is damaged or cut off (" in refused(data[: int(part * len(data))])


@pytest.mark.parametrize("length", [3, 12, 30, 170, 400])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
def test_cut_off_within_the_header(kind, length):
    assert refused(encoded(noise("RGB", (64, 64)), kind)[:length])


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]


def rows_of(pixels, interlaced):
    """The rows of a PNG of 8 bits, none of them filtered, grey or colour."""
    passes = [*ADAM7, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    parts = [pixels[top::down, left::across] for left, top, across, down in passes]
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (5, 9), (17, 100)])
@pytest.mark.parametrize(("colour", "channels"), [(0, ()), (2, (3,))])
def test_a_png_whose_pixels_end_early_is_not_sound(interlaced, width, height, colour, channels):
    pixels = RNG.integers(0, 256, (height, width, *channels), np.uint8)
    rows = rows_of(pixels, interlaced)

    def png(rows):
        header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
        packed = zlib.compress(rows)
        split = [chunk(b"IDAT", packed[:9]), chunk(b"IDAT", packed[9:])]
        return (
            PngImagePlugin._MAGIC + chunk(b"IHDR", header) + b"".join(split) + chunk(b"IEND", b"")
        )

    decode.verify(png(rows))
    whole = decode.decode(png(rows), 3 if channels else 1)
    assert np.array_equal(np.asarray(whole), pixels)
    # The stream of pixels is whole, with a checksum, and so are the chunks.
    for length in {len(rows) - 1, len(rows) // 2, len(rows) // 100}:
        with pytest.raises(BadImage, match="it is damaged or cut off"):
            decode.verify(png(rows[:length]))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_pixels_end_early_is_not_sound(mode, progressive):
    # From the smallest on, of which no eighth can be made.
    for size in ((1, 1), (7, 9), (64, 40)):
        data = encoded(noise(mode, size), "jpeg", progressive=progressive, quality=90)
        decode.verify(data)
        decode.verify(data[:-2] + b"\x00\x07" + data[-2:])  # Bytes that do not belong there.
    for part in (0.99, 0.7, 0.4):
        cut = data[: int(part * len(data))] + data[-2:]
        decode.decode(cut, 3)
        with pytest.raises(BadImage, match=r"it is damaged or cut off \(.*premature end"):
            decode.verify(cut)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pngs_of_every_mode_are_sound(mode):
    for size in ((1, 1), (13, 7)):
        decode.verify(encoded(Image.new(mode, size), "png"))


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
def test_large_texts_of_a_png_are_no_damage(kind, place, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 2**20)
    text = bytes(RNG.integers(65, 90, 2**21, np.uint8))
    start = b"k\0\0\1\0\0\0" if kind == b"iTXt" else b"k\0" if kind == b"tEXt" else b"k\0\0"
    large = chunk(kind, start + (text if kind == b"tEXt" else zlib.compress(text)))
    image = noise("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    png = encoded(image, "png", exif=exif)
    cut = 33 if place == "before" else png.index(b"IEND") - 4
    data = png[:cut] + large + png[cut:]
    decode.verify(data)
    assert decode.decode(data, 3).tobytes() == image.transpose(Image.Transpose.ROTATE_270).tobytes()
    # Damage elsewhere is still found.
    assert "damaged or cut off" in refused(data[: png.index(b"IDAT") + 50 + len(large)])


def test_no_image():
    assert refused(b"") == "it is empty"
    message = "it is not an image; expected JPEG, PNG, GIF, WebP, BMP or TIFF"
    assert refused(b"A photograph of a cat.\n") == message
    assert refused(bytes(1000)) == message
    assert refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == message


def test_garbage_after_the_start():
    for kind in ("jpeg", "png", "gif", "webp"):
        start = encoded(noise("RGB"), kind)[:24]
        assert refused(start + RNG.integers(0, 256, 500, np.uint8).tobytes())


def test_no_bytes_raise_anything_else():
    bad = 0
    for kind in ("jpeg", "png", "gif", "webp", "bmp", "tiff"):
        good = encoded(noise("RGB"), kind)
        for _ in range(60):
            data = bytearray(good)
            for place in RNG.integers(0, min(len(data), 120), 3):
                data[place] = RNG.integers(0, 256)
            for function in (decode.verify, lambda data: decode.decode(data, 3)):
                try:
                    function(bytes(data))
                except BadImage:
                    bad += 1
    assert bad > 100


def test_cmyk():
    data = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "jpeg", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    decode.verify(data)
    assert decode.decode(data, 3).getpixel((4, 4)) == pytest.approx((0, 255, 255), abs=3)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_keep_the_upper_eight(kind):
    values = np.array([[0, 255, 256, 4369], [32767, 32768, 65279, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), kind)
    decode.verify(data)
    expected = [[0, 0, 1, 17], [127, 128, 254, 255]]
    assert np.asarray(decode.decode(data, 1)).tolist() == expected
    assert np.asarray(decode.decode(data, 3))[..., 2].tolist() == expected


def test_thirty_two_bits_are_refused():
    data = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "tiff")
    assert "its pixels are of PIL's mode F" in refused(data)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation(kind):
    first, *others = frames()
    lossless = {"lossless": True} if kind == "webp" else {}
    data = encoded(first, kind, save_all=True, append_images=others, **lossless)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    decode.verify(data)
    assert (np.asarray(decode.decode(data, 3)) == (255, 0, 0)).all()


def test_a_palette_with_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for transparency in (0, bytes([0, 128])):
        data = encoded(image, "png", transparency=transparency)
        decode.verify(data)
        assert np.asarray(decode.decode(data, 3)).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_alpha_is_dropped():
    data = encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "png")
    assert decode.decode(data, 3).getpixel((0, 0)) == (10, 20, 30)
    data = encoded(Image.new("LA", (2, 2), (70, 0)), "png")
    assert decode.decode(data, 1).getpixel((0, 0)) == 70


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "webp" else {}
    image = noise("RGB")
    # What the pixels are without the tag, turned by NumPy.
    stored = np.asarray(Image.open(io.BytesIO(encoded(image, kind, **lossless))))
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    data = encoded(image, kind, exif=exif, **lossless)
    decode.verify(data)
    assert np.array_equal(np.asarray(decode.decode(data, 3)), upright)


@pytest.mark.parametrize("mode", ["I;16", "P", "L"])
def test_images_of_other_modes_are_turned_too(mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new(mode, (24, 20))
    assert decode.decode(encoded(image, "png", exif=exif), 3).size == (20, 24)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no TIFF header at all",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",  # Its directory lies beyond its end.
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03",  # Cut off within its directory.
        # Orientation 9, of which there is none.
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0",
    ],
)
def test_damaged_exif_is_ignored(kind, exif):
    image = noise("RGB")
    plain = encoded(image, kind)
    data = encoded(image, kind, exif=exif)
    assert data != plain
    decode.verify(data)
    assert decode.decode(data, 3).tobytes() == decode.decode(plain, 3).tobytes()


@pytest.mark.parametrize("side", [9460, 40_000])  # Where PIL warns, and where it refuses.
@pytest.mark.parametrize("make", [png_of, gif_of])
def test_a_decompression_bomb_is_refused_by_its_header(side, make, monkeypatch):
    def load(self):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    expected = "it would decode to more than 89,478,485 pixels"
    assert refused(make(side, side)) == expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert refused(make(side, side)) == expected
    assert caught == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert refused(make(side, side)) == expected


def test_as_many_pixels_as_allowed_are_no_bomb():
    assert "damaged or cut off" in refused(png_of(9459, 9459))


def test_a_fault_that_pil_works_around_is_ignored():
    # An MPO (several JPEGs in one file, as phones write) whose index is damaged.
    index = b"MPF\0II*\0\x08\0\0\0" + bytes(20)
    marker = b"\xff\xe2" + struct.pack(">H", len(index) + 2) + index
    jpeg = encoded(noise("RGB"), "jpeg")
    data = jpeg[:20] + marker + jpeg[20:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(data))
    assert caught
    decode.verify(data)
    assert decode.decode(data, 3).size == (24, 20)


def test_threads_leave_filters_and_pil_as_they_were():
    before = list(warnings.filters), ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    good, bomb = encoded(noise("RGB"), "jpeg"), png_of(9460, 9460)
    failures = []

    def work():
        try:
            for _ in range(50):
                decode.decode(good, 3)
                refused(bomb)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # As many chances as can be to get in one another's way.
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert failures == []
    assert (
        list(warnings.filters),
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
    ) == before
