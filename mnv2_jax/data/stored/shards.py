"""The files that a prepared data set is made of, array_record or TFRECORD, read by number."""

import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mnv2_jax.data.stored.tfrecord import Damaged, TfRecordShard


class Shard(Protocol):
    """A file of records, open. Any number of threads may read it."""

    def __len__(self) -> int:
        """Return the number of records it holds."""

    def read(self, number: int) -> bytes:
        """One of them, counted from 0."""


class ArrayRecordShard:
    """An array_record file, open. Any number of threads may read it."""

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
          Damaged: it is not there, or is no whole array_record file.
        """
        from array_record.python import array_record_module

        self.path = path
        try:
            Path(path).open("rb").close()  # The library does not tell a missing file from another.
        except FileNotFoundError:
            raise Damaged(f"{path}: the file is missing") from None
        # Nothing is read ahead: the next record to be read is another one.
        self._reader = array_record_module.ArrayRecordReader(
            path, options="readahead_buffer_size:0", file_reader_buffer_size=1 << 15
        )
        if not self._reader.ok():
            raise Damaged(f"{path}: the file is cut off or damaged: no end of an array_record file")

    def __len__(self) -> int:
        return int(self._reader.num_records())

    def read(self, number: int) -> bytes:
        """Return the data of record `number`, counted from 0.

        Raises:
          Damaged: the record cannot be read.
        """
        try:
            (data,) = self._reader.read([number])
        except RuntimeError:  # What the library tells is of its own insides.
            raise Damaged(f"{self.path}: record {number} of the file is damaged") from None
        return data


FORMATS: dict[str, Callable[[str], Shard]] = {
    "array_record": ArrayRecordShard,
    "tfrecord": TfRecordShard,
}
"""The readers of files, by TFDS's names of formats."""


class OpenShards:
    """Files of records, each opened when it is first read from, in every process anew."""

    def __init__(self, file_format: str, count: int) -> None:
        """Open nothing yet.

        Args:
          file_format: one of `FORMATS`.
          count: how many files there will be, at most.
        """
        self._format = file_format
        self._count = count
        self._open: dict[str, Shard] = {}
        self._lock = threading.Lock()

    def __getitem__(self, path: str) -> Shard:
        """One of the files.

        Raises:
          Damaged: it is not there or not whole.
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
    """Let this process hold `count` more files open, as far as the system lets it.

    Data sets have up to thousands of files, and many a system begins with 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
