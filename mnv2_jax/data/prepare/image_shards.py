"""Lays out how a folder of images becomes a TFDS data set: which files go into which shard.

Shards are written into `DATA_DIR/NAME/1.0.0.incomplete`, each with a note of the files that it was
made of; when all are there, `DATA_DIR/NAME/1.0.0` appears by one rename.
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from mnv2_jax import checksums
from mnv2_jax.data import folders
from mnv2_jax.data.prepare.image_folder import File, ImageFolder

VERSION = "1.0.0"

_SHARD_BYTES = 7 * 2**25
"""On average: few shards are then above 256 MiB."""
_SHARD_IMAGES = 512
_FEW_SHARDS = 64
_LEAST_IMAGES = 32

_RECORD_BYTES = 160
"""What array_record, the label and the names of features add to an image, at most."""
_SHARD_OVERHEAD = 3 * 2**16
"""array_record fills blocks of 64 KiB, and ends with one of its own."""


class Bad(NamedTuple):
    """A file that cannot be decoded or read, and why."""

    path: str
    reason: str


class Repeated(NamedTuple):
    """Images of a split that are byte for byte images of an earlier one too.

    Attributes:
      split: the later one.
      files: how many of its files are.
      example: the path of one.
      other: that of the same image in the earlier split.
    """

    split: str
    files: int
    example: str
    other: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """The files that become one file of records.

    Attributes:
      name: of the file of records.
      split: that it belongs to.
      files: in the order of the records.
    """

    name: str
    split: str
    files: tuple[File, ...]

    @functools.cached_property
    def key(self) -> str:
        """Tells whether a shard was made of these files, as they are now."""
        return hashlib.sha256(json.dumps(self.files).encode()).hexdigest()

    @property
    def bytes_needed(self) -> int:
        """Bytes on disk, at most."""
        records = sum(file.size + len(file.path.encode()) + _RECORD_BYTES for file in self.files)
        return records + _SHARD_OVERHEAD


@dataclasses.dataclass(frozen=True)
class Note:
    """What is known of a shard that is complete.

    Attributes:
      key: see `Shard.key`.
      size: bytes of the file.
      examples: records in it.
      example_bytes: bytes of the serialised records.
      digest: SHA-256 of these bytes.
      images: hashes of the files that the records were made of, in their order.
      turned: how many of them are turned when they are decoded.
      bad: files that were left out.
    """

    key: str
    size: int
    examples: int
    example_bytes: int
    digest: str
    images: tuple[str, ...]
    turned: int
    bad: tuple[Bad, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a folder becomes a data set.

    Attributes:
      folder: the images.
      name: of the data set.
      target: the folder that the data set is to be, `DATA_DIR/NAME/1.0.0`.
      shards: of all splits.
    """

    folder: ImageFolder
    name: str
    target: Path
    shards: tuple[Shard, ...]

    @property
    def images(self) -> int:
        """Files that are to become records."""
        return sum(len(shard.files) for shard in self.shards)

    @property
    def staging(self) -> Path:
        """Where the data set grows."""
        return self.target.with_name(f"{VERSION}.incomplete")

    @property
    def growing(self) -> Path:
        """What will be renamed to `target`."""
        return self.staging / VERSION

    @functools.cached_property
    def key(self) -> str:
        """Tells whether a data set was made of these files, as they are now."""
        parts = [self.folder.classes, [[shard.name, shard.key] for shard in self.shards]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def note(self, shard: Shard) -> Note | None:
        """The note of a shard that is complete and still as `shard` says; else None."""
        try:
            saved = checksums.read_json(self.note_path(shard))
            saved["bad"] = tuple(Bad(*one) for one in saved["bad"])
            saved["images"] = tuple(saved["images"])
            note = Note(**saved)
            size = (self.growing / shard.name).stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note if (note.key, note.size) == (shard.key, size) else None

    def note_path(self, shard: Shard) -> Path:
        """Where the note of a shard is kept."""
        return self.staging / "notes" / f"{shard.name}.json"

    def prepared(self) -> bool:
        """Whether the data set is there already, made of the same files.

        Raises:
          ValueError: a data set of this name is there, made of other files or by other means.
        """
        if not self.target.exists():
            return False
        if folders.source(self.target).get("key") == self.key:
            return True
        raise ValueError(
            f"--name={self.name}: {self.target} is there already, prepared from other files, or "
            f"from these before they were written anew (names, sizes and times of change are "
            f"compared); expected another --name, or that folder removed"
        )


def check_names(root: Path, name: str, data_dir: Path) -> None:
    """Refuses what a data set cannot be called, and a place that it cannot be put in.

    Args:
      root: the folder of images.
      name: of the data set.
      data_dir: the folder of prepared data sets.

    Raises:
      ValueError: TFDS does not take the name, or the data set would lie among the images.
    """
    plain = folders.plain_name(name)
    if name != plain:
        raise ValueError(
            f"--name={name}: expected lower-case letters, digits and _, a letter first, such as "
            f"{plain}"
        )
    if data_dir.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"--data_dir={data_dir}: it lies in --images={root}; expected another")


def plan(folder: ImageFolder, name: str, data_dir: Path) -> Plan:
    """Lays out shards. It depends on the files alone, not on the machine.

    A shard takes the files whose ranks lie in its part of all ranks: a file that comes or goes
    changes one shard.
    """
    from tensorflow_datasets.core import naming

    target = data_dir / name / VERSION
    shards = []
    for split, files in folder.splits.items():
        count = _shard_count(files)
        template = naming.ShardedFileTemplate(
            data_dir=target, dataset_name=name, split=split, filetype_suffix="array_record"
        )
        parts: list[list[File]] = [[] for _ in range(count)]
        for file in files:
            parts[int.from_bytes(file.rank[:8]) * count >> 64].append(file)
        for index, part in enumerate(parts):
            path = template.sharded_filepath(shard_index=index, num_shards=count)
            shards.append(Shard(Path(path).name, split, tuple(part)))
    return Plan(folder, name, target, tuple(shards))


def bytes_needed(plan: Plan) -> int:
    """Bytes of disk that `write` will take, at most, beside what is complete already."""
    return sum(shard.bytes_needed for shard in plan.shards if plan.note(shard) is None)


def _shard_count(files: tuple[File, ...]) -> int:
    """Shards of about 256 MiB at most; of small files so many that every core has some."""
    by_bytes = -(-sum(file.size for file in files) // _SHARD_BYTES)
    by_images = min(_FEW_SHARDS, len(files) // _SHARD_IMAGES)
    # With fewer images, shards chosen by hash would differ much in size.
    return max(1, min(max(by_bytes, by_images), len(files) // _LEAST_IMAGES))
