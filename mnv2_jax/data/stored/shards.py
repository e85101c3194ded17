"""Files of a prepared data set, array_record or TFRECORD, whose records are read by number."""

import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mnv2_jax.data.stored.tfrecord import Damaged, TfRecordShard


class Shard(Protocol):
    """An open file of records, by number from 0; safe to read from several threads."""

    def __len__(self) -> int: ...

    def read(self, number: int) -> bytes:
        """Read a record."""


class ArrayRecordShard:
    """An open array_record file."""

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
          Damaged: it is missing, incomplete or no array_record file.
        """
        from array_record.python import array_record_module

        self.path = path
        try:
            Path(path).open("rb").close()  # The library's error does not say that it is missing.
        except FileNotFoundError:
            raise Damaged(f"{path}: the file is missing") from None
        # Records are read in random order: reading ahead would be wasted.
        self._reader = array_record_module.ArrayRecordReader(
            path, options="readahead_buffer_size:0", file_reader_buffer_size=1 << 15
        )
        if not self._reader.ok():
            raise Damaged(f"{path}: the file is cut off or damaged: no end of an array_record file")

    def __len__(self) -> int:
        return int(self._reader.num_records())

    def read(self, number: int) -> bytes:
        """Read a record.

        Raises:
          Damaged: the record cannot be read.
        """
        try:
            (data,) = self._reader.read([number])
        except RuntimeError:  # The library's message is about its internals.
            raise Damaged(f"{self.path}: record {number} of the file is damaged") from None
        return data


FORMATS: dict[str, Callable[[str], Shard]] = {
    "array_record": ArrayRecordShard,
    "tfrecord": TfRecordShard,
}
"""Readers by TFDS's names of file formats."""


class OpenShards:
    """At most `count` files of records, opened on first use, and again after unpickling."""

    def __init__(self, file_format: str, count: int) -> None:
        self._format = file_format
        self._count = count
        self._open: dict[str, Shard] = {}
        self._lock = threading.Lock()

    def __getitem__(self, path: str) -> Shard:
        """Return an open file.

        Raises:
          Damaged: it is missing or incomplete.
        """
        shard = self._open.get(path)
        if shard is None:
            with self._lock:
                if not self._open:
                    _allow_open_files(self._count)
                if path not in self._open:
                    self._open[path] = FORMATS[self._format](path)
                shard = self._open[path]
        return shard

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self._format, self._count)


def _allow_open_files(count: int) -> None:
    """Raise this process's limit of open files by `count`, as far as the system allows.

    Data sets have up to thousands of files, and many systems start with a limit of 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
