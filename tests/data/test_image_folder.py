"""Folders of images that can be indexed, and folders that are refused."""

import hashlib
import os
import unicodedata

import pytest

from mnv2_jax.data import image_folder
from tests.data.images import fill

OUT_OF_TRAIN = (0, 13, 18)
"""Three numbers of files in the folder `a` whose hash puts them into validation or test."""


def test_classes_alone_are_split_by_a_hash_of_the_path(tmp_path):
    # The last eight bytes of SHA-256 choose one of ten parts.
    paths = [f"caf\u00e9/{number}.png" for number in range(100)]
    ends = [hashlib.sha256(path.encode()).digest()[-8:] for path in paths]
    tenths = [int.from_bytes(end, "big") * 10 >> 64 for end in ends]
    fill(tmp_path / "in", *paths)
    folder = image_folder.scan(tmp_path / "in")
    for split, mine in (("train", range(8)), ("validation", [8]), ("test", [9])):
        expected = {path for path, tenth in zip(paths, tenths, strict=True) if tenth in mine}
        assert {file.path for file in folder.splits[split]} == expected
    assert 70 <= len(folder.splits["train"]) <= 90
    # The same in the other normal form, as macOS writes names.
    fill(tmp_path / "mac", *(unicodedata.normalize("NFD", path) for path in paths))
    mac = image_folder.scan(tmp_path / "mac")
    assert mac.classes == folder.classes == ("caf\u00e9",)
    for split, files in mac.splits.items():
        names = [unicodedata.normalize("NFC", file.path) for file in files]
        assert names == [file.path for file in folder.splits[split]]


def test_files_that_are_no_images_are_listed_unless_hidden(tmp_path):
    fill(tmp_path / "in", "train/ant/0.png", "train/ant/deeper/.1.png", "train/.hidden/2.png")
    for path in ("README.md", "train/list.csv", "train/ant/0.txt", "train/ant/.DS_Store"):
        (tmp_path / "in" / path).write_text("text")
    circles = ("circle", "train/circle", "train/ant/circle")
    for path in circles:
        (tmp_path / "in" / path).symlink_to("circle")
    folder = image_folder.scan(tmp_path / "in")
    others = ("README.md", "train/ant/0.txt", "train/ant/deeper/", "train/list.csv")
    assert folder.ignored == tuple(sorted([*others, *circles]))
    assert [file.path for file in folder.splits["train"]] == ["train/ant/0.png"]
    assert folder.classes == ("ant",)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], r"in: no such folder"),
        (["train/"], r"in/train: no classes; expected a folder of images for each class"),
        (["notes/"], r"in/notes: class 'notes' has no images; expected files ending in \.bmp, "),
        (["train/a/1.png", "train/b/"], r"in/train/b: class 'b' has no images"),
        (["a/1.png", "a/b/2.png"], r"in/a/b: images in a folder within that of class 'a'; expec"),
        (
            ["all/a/1.png", "all/b/2.png"],
            r"itself, or the folder .*in/all/ if those in it are the",
        ),
        (
            ["train/a/1.png", "val/a/1.png"],
            r"in/val: beside train/ .*; rename it to validation/",
        ),
        (["train/a/1.png", "other/a/1.png"], r"in/other: beside train/ .* are expected$"),
        (["train/a/1.png", "test/a/"], r"in/test/a: class 'a' has no images"),
        (
            ["train/a/1.png", "test/z/1.png"],
            r"in/test: class 'z' is not in train/, which has a$",
        ),
        (["train/a/1.png", "validation/z/1.png"], r"in/validation: class 'z' is not in train/"),
        (
            ["train/caf\u00e9/1.png", "train/cafe\u0301/1.png"],
            r"in/train: class folders 'cafe\\u0301' and 'caf\\xe9' have one name",
        ),
        (["1.png"], r"in/1.png: an image outside of class folders; expected .*in/CLASS/1.png"),
        (["train/1.png"], r"in/train/1.png: an image outside .* expected .*in/train/CLASS/1.png"),
        (["train/a/1.png", "1.png"], r"in/1.png: an image outside of class folders"),
        (["train/a/1.png", "val/a/1.png"], r"in/val: beside train/ only validation/ and test/"),
        (["test/a/1.png"], r"in: it has test/ and no train/ beside it"),
        (["train/a\n/1.png"], r"in/train/a\\n': the name of a class must not hold a line break"),
        (
            [f"a/{number}.png" for number in OUT_OF_TRAIN]
            + [f"b/{number}.png" for number in "123"],
            r"in: split by hash, no image of class 'a' comes into the 80 % to train on",
        ),
        (
            ["a/1.png", *(f"b/{number}.png" for number in "123")],
            r"in/a: images of class 'a': 1; expected 3 or more, .* train, validation and test, or",
        ),
        (
            [*(f"a/{number}.png" for number in "123"), "cafe\u0301/1.png", "cafe\u0301/2.png"],
            "in/cafe\u0301: images of class 'caf\u00e9': 2; expected 3 or more",
        ),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path, paths, message):
    for path in paths:
        if path.endswith("/"):
            (tmp_path / "in" / path).mkdir(parents=True)
        else:
            fill(tmp_path / "in", path)
    with pytest.raises(ValueError, match=message):
        image_folder.scan(tmp_path / "in")


def test_three_images_of_a_class_are_enough(tmp_path):
    fill(tmp_path / "in", *(f"{kind}/{number}.png" for kind in "ab" for number in "123"))
    splits = image_folder.scan(tmp_path / "in").splits
    assert sorted(file.path for files in splits.values() for file in files) == [
        f"{kind}/{number}.png" for kind in "ab" for number in "123"
    ]


def test_every_common_ending_of_an_image_is_found(tmp_path):
    jpeg = (".jpg", ".JPEG", ".jpe", ".jfif")
    paths = {f"train/a/1{end}" for end in (*jpeg, ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp")}
    (tmp_path / "in" / "train" / "a").mkdir(parents=True)
    for path in paths:
        (tmp_path / "in" / path).touch()
    folder = image_folder.scan(tmp_path / "in")
    assert {file.path for file in folder.splits["train"]} == paths


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "in").touch()
    with pytest.raises(ValueError, match=r"in: it is a file; expected a folder of images"):
        image_folder.scan(tmp_path / "in")


def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    fill(tmp_path / "in", "train/a/1.png")
    (tmp_path / "in" / "train" / "a" / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(ValueError, match=r"train/a/'\\udcff.png': its name is not UTF-8"):
        image_folder.scan(tmp_path / "in")
