from types import SimpleNamespace

import pytest
import requests

from mnv2_jax.data import tfds_builders


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a:b", "expected NAME or NAME/CONFIG, such as cifar10"),
        ("cifar10:3.0.2", "expected NAME or NAME/CONFIG, such as cifar10"),
        ("cifar_10", "TFDS has no such data set; did you mean cifar10 or "),
        ("zzzzzz", "TFDS has no such data set; its catalogue lists what it has"),
        ("beans/x", "no such config; beans has none"),
        ("imagenet_resized/9x9", "no such config; imagenet_resized has 16x16, 32x32, 64x64, 8x8"),
        ("imdb_reviews", "it holds label, text; expected image and label"),
        ("imagenet2012", r"it is to be downloaded by hand \(manual_dir should contain two files"),
    ],
)
def test_data_sets_that_cannot_be_prepared_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=rf"^--dataset={name}: {message}") as error:
        tfds_builders.find(name, tmp_path, None)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_manual_folder_has_to_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"^--manual_dir=.*none: no such folder"):
        tfds_builders.find("imagenet2012", tmp_path, tmp_path / "none")


def test_a_builder_writes_array_record_where_it_is_told(tmp_path):
    builder = tfds_builders.find("imagenet_resized/32x32", tmp_path, None)
    assert builder.data_path == tmp_path / "imagenet_resized" / "32x32" / "0.1.0"
    assert builder.info.file_format.value == "array_record"
    assert not tfds_builders.prepared(builder)
    builder.data_path.mkdir(parents=True)
    assert tfds_builders.prepared(builder)


def test_disk_that_a_builder_takes(tmp_path):
    find = tfds_builders.find
    beans = find("beans", tmp_path, None)
    assert tfds_builders.bytes_needed(beans, None) == 3 * (17708541 + 143812152 + 18504213)
    # TFDS knows the downloads of all its configs together only.
    resized = find("imagenet_resized/32x32", tmp_path, None)
    assert tfds_builders.bytes_needed(resized, None) is None
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(bytes(1000))
    imagenet = find("imagenet2012", tmp_path, tmp_path)
    assert tfds_builders.bytes_needed(imagenet, tmp_path) == 1000


def raised(error, cause=None):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            requests.ConnectionError(request=requests.Request(url="https://example.org/cats.zip")),
            OSError,
            r"https://example.org/cats.zip cannot be downloaded \(ConnectionError\); expected a ",
        ),
        (
            raised(ImportError("no"), ModuleNotFoundError(name="tensorflow.io")),
            ValueError,
            "its builder needs TensorFlow, just to prepare it: pip install",
        ),
        (ModuleNotFoundError(name="cv2.data"), ValueError, "its builder needs the package cv2$"),
        (AssertionError("cats.zip is missing"), OSError, "cats.zip is missing$"),
    ],
)
def test_errors_of_a_builder_say_what_to_do(tmp_path, error, kind, message):
    def download_and_prepare(**_):
        raise error

    place = tmp_path / "cats" / "1.0.0"
    left = tmp_path / "cats" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    builder = SimpleNamespace(
        name="cats", version="1.0.0", data_path=place, download_and_prepare=download_and_prepare
    )
    with pytest.raises(kind, match=f"^--dataset=cats: {message}"):
        tfds_builders.prepare(builder, tmp_path, None, bars=False)
    assert not left.exists()
