import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mnv2_jax.data import augment, preview, stream
from mnv2_jax.data.augmentation import Augmentation

GAP = preview._GAP


def scaled(pixels, scaling="symmetric"):
    return np.asarray(augment.scale(jnp.asarray(pixels), scaling))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def below(sheet, height):
    """The sheet from the lower border of its first row of images on, 0 to 255."""
    return np.asarray(sheet)[GAP + height :]


@pytest.mark.parametrize("scaling", augment.SCALINGS)
@pytest.mark.parametrize("channels", [1, 3])
def test_scaling_is_undone(scaling, channels):
    pixels = noise(1, 100, 100, channels)
    sheet = np.asarray(preview.contact_sheet(scaled(pixels, scaling), ["a"], scaling))
    expected = np.broadcast_to(pixels[0], (100, 100, 3))
    np.testing.assert_array_equal(sheet[GAP : GAP + 100, GAP : GAP + 100], expected)


def test_pixels_out_of_range_are_clipped():
    images = np.stack([np.full((96, 96, 3), value, np.float32) for value in (-7.0, 7.0)])
    sheet = np.asarray(preview.contact_sheet(images, ["", ""], "symmetric"))
    assert (sheet[GAP : GAP + 96, GAP : GAP + 96] == 0).all()
    assert (sheet[GAP : GAP + 96, 96 + 2 * GAP : -GAP] == 255).all()


def test_small_images_are_enlarged_pixel_by_pixel():
    pixels = noise(1, 10, 10, 1)
    sheet = np.asarray(preview.contact_sheet(scaled(pixels), ["a"], "symmetric"))
    expected = np.kron(pixels[0, ..., 0], np.ones((10, 10), np.uint8))
    np.testing.assert_array_equal(sheet[GAP : GAP + 100, GAP : GAP + 100, 0], expected)
    assert sheet.shape[1] == 100 + 2 * GAP


def test_images_are_in_rows_each_at_its_place():
    values = np.arange(1, 8) * 30
    pixels = np.full((7, 1, 1, 1), 0, np.uint8) + values.astype(np.uint8)[:, None, None, None]
    sheet = np.asarray(preview.contact_sheet(scaled(pixels), "abcdefg", "symmetric"))
    height, width = sheet.shape[0] // 3, 96 + GAP
    assert sheet.shape[1] == 3 * width + GAP
    seen = [sheet[n // 3 * height + 50, n % 3 * width + 50, 0] for n in range(7)]
    np.testing.assert_array_equal(seen, values)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
@pytest.mark.parametrize("size", [8, 224])
def test_sheets_are_about_square(count, size):
    images = np.zeros((count, size, size, 1), np.float32)
    sheet = preview.contact_sheet(images, ["a"] * count, "symmetric")
    assert 0.49 <= sheet.width / sheet.height <= 2


@pytest.mark.parametrize(
    "caption", ["ö", "猫", "o\u0308", "\udcff", "\x00", "a\nb", "قط", "😀", "\u202e", "W" * 300]
)
def test_every_caption_is_a_line_below_its_image(caption):
    black = np.full((1, 96, 96, 1), -1, np.float32)
    sheet = preview.contact_sheet(black, [caption], "symmetric")
    assert sheet.size == preview.contact_sheet(black, ["a"], "symmetric").size
    text = below(sheet, 96)
    assert text.min() < 128
    assert (text[-GAP // 2 :] == 255).all()
    assert (text[:, :GAP] == 255).all()
    assert (text[:, -GAP:] == 255).all()


def test_captions_tell_classes_apart_where_the_font_lacks_their_letters():
    assert preview._drawable("größer, Кошка, γάτα") == "größer, Кошка, γάτα"
    assert preview._drawable("o\u0308") == "ö"
    assert preview._drawable("猫") == "\\u732b"
    assert preview._drawable("犬") == "\\u72ac"


@pytest.mark.parametrize("letters", ["ö", "ł", "α", "ώ", "Ж", "я"])
def test_the_font_that_is_brought_along_has_letters_of_europe(letters):
    black = np.full((1, 96, 96, 1), -1, np.float32)
    sheets = [preview.contact_sheet(black, [text], "symmetric") for text in (letters, "&<")]
    assert below(sheets[0], 96).min() < 128
    assert sheets[0].tobytes() != sheets[1].tobytes()


def test_no_caption_leaves_the_place_below_empty():
    sheet = preview.contact_sheet(np.zeros((1, 96, 96, 1), np.float32), [""], "symmetric")
    assert (below(sheet, 96) == 255).all()


@pytest.mark.parametrize(("count", "captions"), [(2, ["a"]), (1, ["a", "b"]), (0, [])])
def test_captions_are_one_for_each_image(count, captions):
    images = np.zeros((count, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match="captions: expected one for each of one or more images"):
        preview.contact_sheet(images, captions, "symmetric")


def test_the_first_batch_is_drawn(dots, tmp_path):
    path = tmp_path / "seen.png"
    preview.draw_first_batch(
        path,
        dots,
        batch_size=6,
        seed=3,
        augmentation=Augmentation(),
        scaling="symmetric",
    )
    batch = stream.TrainBatches(dots.train, 3, 6, 1, range(6), Augmentation())[0]
    captions = [dots.class_names[label] for label in batch.labels]
    expected = preview.contact_sheet(scaled(batch.images), captions, "symmetric")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(expected))
