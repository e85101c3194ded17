"""Folders of small images, and the records of data sets prepared from them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image


def encoded(number: int, kind: str = "png", side: int = 2) -> bytes:
    """An image that no other number has."""
    colour = (number % 256, number // 256 % 256, 7)
    data = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(data, kind)
    return data.getvalue()


def fill(root: Path, *paths: str) -> None:
    """Write an image at each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(
            encoded(number, Image.registered_extensions()[Path(path).suffix.lower()])
        )


def records(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """Read a data set with TFDS: image, label and file of every record."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return [source[index] for index in range(len(source))]


def tree(folder: Path) -> dict[str, bytes]:
    """The contents of a folder's files, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
