"""Folders of small images, and what data sets made of them hold."""

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
    """Makes an image at each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        kind = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff"}.get(
            path.rpartition(".")[2].lower()
        )
        (root / path).write_bytes(encoded(number, kind or path.rpartition(".")[2].lower()))


def records(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """Reads a data set as anybody would: image, label and file of every record."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return [source[index] for index in range(len(source))]


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder and what is in them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
