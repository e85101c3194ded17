"""Small prepared data sets for tests: prepared by TFDS, and TFRECORD files written by hand.

The position of an image's bright patch is its class, so that a small network learns it.
"""

import contextlib
import io
import json
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

FEATURES = {"image": tfds.features.Image(shape=(None, None, 3))}
"""Those of `tfrecord`, beside the label."""

Stored = list[tuple[bytes, int]]
"""Image files and their labels."""


def images(count: int, classes: int, size: int, seed: int, file_format: str = "png") -> Stored:
    """Return noise with a bright patch, whose cell in a grid of 4 x 4 is the class."""
    generator = np.random.default_rng(seed)
    made: Stored = []
    for label in np.arange(count) % classes:
        pixels = generator.integers(0, 60, (size, size, 3), np.uint8)
        row, column = divmod(int(label), 4)
        cell = size // 4
        pixels[cell * row : cell * (row + 1), cell * column : cell * (column + 1)] += 180
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format=file_format)
        made.append((file.getvalue(), int(label)))
    return made


def stock(folder: Path, images_per_split: int) -> dict[str, Stored]:
    """Prepare TFDS's `food101`, with images made here instead of those that it downloads.

    It has 101 classes, of which the first ten have images, and no test split. Returns the images of
    each split, in no particular order.
    """
    builder = tfds.builder("food101", data_dir=folder, file_format="array_record")
    names = builder.info.features["label"].names
    put = {}
    with tempfile.TemporaryDirectory() as place:
        for seed, (split, file) in enumerate({"train": "train", "validation": "test"}.items()):
            put[split] = images(images_per_split, 10, 16, seed, "jpeg")
            listed: dict[str, list[str]] = {}
            for number, (image, label) in enumerate(put[split]):
                listed.setdefault(names[label], []).append(f"{names[label]}/{split}{number}")
                path = Path(place, "food-101", "images", f"{listed[names[label]][-1]}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image)
            listing = Path(place, "food-101", "meta", f"{file}.json")
            listing.parent.mkdir(exist_ok=True)
            listing.write_text(json.dumps(listed))
        manager = tfds.download.DownloadManager
        with (
            mock.patch.object(manager, "download_and_extract", return_value=place),
            contextlib.redirect_stdout(io.StringIO()),  # TFDS announces downloads.
        ):
            tfds.disable_progress_bar()
            builder.download_and_prepare()
    return put


def tfrecord(
    folder: Path,
    name: str = "patches",
    counts: Mapping[str, Sequence[int]] | None = None,
    classes: int = 10,
) -> dict[str, Stored]:
    """Write a data set as TFRECORD, byte by byte, as TensorFlow does.

    Args:
      folder: folder of prepared data sets.
      name: name of the data set.
      counts: number of records in each file of each split.
      classes: number of classes, at most 16.

    Returns:
      The images of each split, in order.
    """
    counts = counts or {"train": (30, 40, 30), "test": (20, 10)}
    put = {
        split: images(sum(files), classes, 8, seed)
        for seed, (split, files) in enumerate(counts.items())
    }
    write_tfrecord(folder / name / "1.0.0", name, put, counts, classes)
    return put


def write_tfrecord(
    place: Path,
    name: str,
    put: Mapping[str, Stored],
    counts: Mapping[str, Sequence[int]],
    classes: int,
) -> None:
    """Write the files of a data set and its metadata into the folder `place`."""
    place.mkdir(parents=True)
    for split, files in counts.items():
        stored = iter(put[split])
        for number, count in enumerate(files):
            path = place / f"{name}-{split}.tfrecord-{number:05d}-of-{len(files):05d}"
            path.write_bytes(b"".join(framed(example(*next(stored))) for _ in range(count)))
    label = tfds.features.ClassLabel(num_classes=classes)
    describe(place, name, counts, {**FEATURES, "label": label})


def describe(
    place: Path, name: str, counts: Mapping[str, Sequence[int]], features: Mapping[str, object]
) -> None:
    """Write the metadata of a TFRECORD data set."""
    tfds.folder_dataset.write_metadata(
        data_dir=place,
        features=features,
        split_infos=[
            tfds.core.SplitInfo(name=split, shard_lengths=list(files), num_bytes=0)
            for split, files in counts.items()
        ],
        supervised_keys=("image", "label"),
        check_data=False,
    )


def example(image: bytes, label: int) -> bytes:
    """Return a record as TFDS writes it."""
    record = tf_example_pb2.Example()
    record.features.feature["image"].bytes_list.value.append(image)
    record.features.feature["label"].int64_list.value.append(label)
    return record.SerializeToString()


def framed(data: bytes) -> bytes:
    """Return a record with its frame in a TFRECORD file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    """Return TFRECORD's checksum, by the definition of CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
