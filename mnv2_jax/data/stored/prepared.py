"""Encoded images and labels of data sets that TFDS prepared on disk.

TFDS reads the description of a data set. This module reads its records by number, from array_record
or TFRECORD files, without TensorFlow.
"""

import bisect
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax.data import decode, folders
from mnv2_jax.data.stored import features, search, subsplits
from mnv2_jax.data.stored.shards import FORMATS, OpenShards
from mnv2_jax.data.stored.tfrecord import Damaged

_CLASS_NAME = 1000
"""Most characters of a class's name, since lines and tables hold it. A folder's name has <= 255."""


class Record(NamedTuple):
    """An encoded image and its label.

    Attributes:
      image: bytes of a JPEG, PNG or other image file.
      label: 0 to classes - 1.
      where: its name in messages: its file, if the data set stores that; else such as
        "cifar10/train, record 17", counted from 0 within the whole split.
      problem: reason why it cannot be decoded, if that is known; `image` is then empty.
    """

    image: bytes
    label: int
    where: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set on disk. Made by `find`.

    Attributes:
      name: the name passed to `find`.
      data_dir: folder of prepared data sets.
      folder: folder of this data set, in this version.
      file_format: "array_record" or "tfrecord".
      class_names: names of the classes, by label.
      channels: 1 for grey images, else 3.
      features: names of a record's features.
      splits: splits by name.
      fingerprint: twelve hexadecimal digits that change with the names of classes, the numbers of
        records and their bytes in all. If decoding may turn images, they include `decode.TURNING`.
      remarks: empty; `image_files.FolderSet` has some.
    """

    name: str
    data_dir: Path
    folder: Path
    file_format: str
    class_names: tuple[str, ...]
    channels: int
    features: features.Features
    splits: Mapping[str, subsplits.Split]
    fingerprint: str
    remarks: tuple[str, ...] = ()

    def records(self, split: str, field: str) -> "Records":
        """Open a split, or parts of splits such as "train[:90%]".

        Opens every file once, so that damage is found before training. The first time, that takes
        a walk through each TFRECORD file.

        Args:
          split: see https://www.tensorflow.org/datasets/splits
          field: field of the config that holds `split`, such as "data.train", for messages.

        Raises:
          ValueError: there are no such records.
          OSError: a file is missing or incomplete.
        """
        pieces = [
            piece
            for part in subsplits.of_field(field, split, self.splits)
            for piece in _pieces(part, self.splits)
        ]
        paths = {piece.path: piece.in_file for piece in pieces}
        with ThreadPoolExecutor(16) as pool:
            for error in pool.map(self._fault, paths, paths.values()):
                if error:
                    raise self.damaged(error)
        return Records(self, pieces)

    def damaged(self, error: Damaged) -> OSError:
        """Return the error for a file that cannot be read, with advice."""
        again = folders.prepare_again(self.name, self.data_dir, self.folder)
        return OSError(f"{error}; {again}")

    def _fault(self, path: str, expected: int) -> Damaged | None:
        try:
            count = len(FORMATS[self.file_format](path))
        except Damaged as error:
            return error
        if count != expected:
            return Damaged(f"{path}: the file holds {count} records; expected {expected}")
        return None


class _Piece(NamedTuple):
    """Consecutive records within one file.

    Attributes:
      path: path of the file.
      offset: number of the first record in the file.
      length: number of records.
      in_file: number of all records of the file.
      split: name of their split.
      first: number of the first record in the split.
    """

    path: str
    offset: int
    length: int
    in_file: int
    split: str
    first: int


class Records:
    """Records of a split, or of parts of splits, by number; safe to read from several threads.

    Files are opened on first use, and again after unpickling.
    """

    def __init__(self, prepared: Prepared, pieces: Sequence[_Piece]) -> None:
        self._prepared = prepared
        self._pieces = pieces
        self._ends = list(itertools.accumulate(piece.length for piece in pieces))
        self._files = OpenShards(prepared.file_format, len(pieces))

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """Read record number `index`, counted from 0.

        Raises:
          IndexError: there is no such record.
          OSError: its file cannot be read.
          ValueError: it holds no image, or its label is out of range.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        place = bisect.bisect_right(self._ends, index)
        piece = self._pieces[place]
        inside = index - self._ends[place] + piece.length
        try:
            data = self._files[piece.path].read(piece.offset + inside)
        except Damaged as error:
            raise self._prepared.damaged(error) from None
        where = f"{self._prepared.name}/{piece.split}, record {piece.first + inside}"
        try:
            image, label, file = self._prepared.features.parse(data)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        classes = len(self._prepared.class_names)
        if not 0 <= label < classes:
            hint = "; the split has no labels" if label == -1 else ""
            raise ValueError(f"{where}: its label is {label}, expected 0 to {classes - 1}{hint}")
        return Record(image, label, file or where)


def find(name: str, folder: Path) -> Prepared:
    """Open a prepared data set: FOLDER/NAME/[CONFIG/]VERSION.

    Args:
      name: such as "cifar10" or "imagenet_resized/32x32"; "cifar10:3.0.2" for a version other than
        the newest.
      folder: folder of prepared data sets.

    Raises:
      ValueError: it is missing, and the message says how to prepare it; or it has no images with
        labels.
      OSError: its description cannot be read.
    """
    place = search.version_folder(name, folder)
    import tensorflow_datasets as tfds  # Takes half a second to import.

    try:
        features.check_description(place)
        info = tfds.builder_from_directory(place).info
        file_format = info.file_format.value
        splits = {split: _split(split_info) for split, split_info in info.splits.items()}
    except Exception as error:  # TFDS's parsers raise nearly anything.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        again = folders.prepare_again(name, folder, place)
        raise OSError(f"{place}: it cannot be read as a data set ({reason}); {again}") from None
    field = f"config.data.name={name!r}"
    if file_format not in FORMATS:
        raise ValueError(
            f"{field}: {place} is in the format {file_format}; expected {' or '.join(FORMATS)}; "
            + folders.prepare_again(name, folder, place)
        )
    try:
        names = features.find(info)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    channels = info.features[names.image].shape[-1]
    class_names = tuple(info.features[names.label].names)
    if (longest := max(map(len, class_names))) > _CLASS_NAME:
        raise ValueError(
            f"{field}: the name of a class has {longest:,} characters; expected at most "
            f"{_CLASS_NAME:,}"
        )
    return Prepared(
        name=name,
        data_dir=folder,
        folder=place,
        file_format=file_format,
        class_names=class_names,
        channels=1 if channels == 1 else 3,
        features=names,
        splits=splits,
        fingerprint=_fingerprint(class_names, info.splits, info.features[names.image]),
    )


def _fingerprint(class_names: tuple[str, ...], splits: Mapping[str, Any], image: Any) -> str:
    parts: list[Any] = [
        class_names,
        [[name, info.shard_lengths, info.num_bytes] for name, info in sorted(splits.items())],
        None,  # A part of earlier versions, kept so that fingerprints of finished runs stay.
    ]
    # TFDS stores photographs as they are, and arrays, mostly of one size, as PNG.
    if image.encoding_format != "png" and None in image.shape:
        parts.append(decode.TURNING)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _split(info: Any) -> subsplits.Split:
    return subsplits.Split(tuple(map(os.fspath, info.filepaths)), tuple(info.shard_lengths))


def _pieces(part: subsplits.Range, by_name: Mapping[str, subsplits.Split]) -> list[_Piece]:
    """Return where the records of `part` are, file by file."""
    pieces = []
    split = by_name[part.split]
    begin = 0
    for path, length in zip(split.paths, split.shard_lengths, strict=True):
        first, last = max(part.start, begin), min(part.stop, begin + length)
        if first < last:
            pieces.append(_Piece(path, first - begin, last - first, length, part.split, first))
        begin += length
    return pieces
