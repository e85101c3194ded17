"""Random access to the records of TFRECORD files, without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of these 8 bytes (4), the data, and a
checksum of the data (4): see tensorflow/core/lib/io/record_writer.h. A walk from length to length
finds where records begin; the cache folder keeps the result.
"""

import contextlib
import hashlib
import os
import struct
from pathlib import Path

import google_crc32c
import numpy as np

from mnv2_jax import atomic, cache

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


class Damaged(OSError):
    """A file is missing or incomplete. The message begins with its path."""


class TfRecordShard:
    """An open TFRECORD file.

    Each read verifies both checksums of a record: a damaged JPEG often decodes, to other pixels.
    """

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
          Damaged: it is missing, is no TFRECORD file or ends within a record.
        """
        self.path = path
        self._starts = starts(path)
        self._handle = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    def read(self, number: int) -> bytes:
        """Read a record.

        Raises:
          Damaged: the record does not match its checksums, or the file has shrunk since it was
            opened.
        """
        start, stop = map(int, self._starts[number : number + 2])
        stored = os.pread(self._handle, stop - start, start)
        if len(stored) != stop - start:
            raise Damaged(f"{self.path}: record {number} of the file cannot be read whole")
        length, checksum = _HEADER.unpack_from(stored)
        data = stored[_HEADER.size : -_FOOTER.size]
        (checksum_of_data,) = _FOOTER.unpack(stored[-_FOOTER.size :])
        if (
            length != len(data)
            or checksum != masked_crc32c(stored[:8])
            or checksum_of_data != masked_crc32c(data)
        ):
            raise Damaged(
                f"{self.path}: record {number} of the file is damaged: it does not match its "
                "checksum"
            )
        return data


def starts(path: str) -> np.ndarray:
    """Return the offsets of a file's records, and of its end, in bytes: int64 `[records + 1]`.

    Raises:
      Damaged: the file is missing, is no TFRECORD file or ends within a record.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise Damaged(f"{path}: the file is missing") from None
    key = f"{Path(path).resolve()}\n{status.st_size}\n{status.st_mtime_ns}"
    name = hashlib.sha256(key.encode()).hexdigest()
    cached = cache.folder() / "tfrecord_index" / f"{name}.bin"
    # The cached offsets may be missing or damaged.
    with contextlib.suppress(OSError, ValueError, struct.error):
        stored = cached.read_bytes()
        (checksum,) = _FOOTER.unpack(stored[-_FOOTER.size :])
        if checksum == masked_crc32c(stored[: -_FOOTER.size]):
            return np.frombuffer(stored[: -_FOOTER.size], np.int64)
    offsets = _scan(path, status.st_size)
    stored = offsets.tobytes()
    with contextlib.suppress(OSError):  # A cache that cannot be written costs time only.
        atomic.write_bytes(cached, stored + _FOOTER.pack(masked_crc32c(stored)))
    return offsets


def _scan(path: str, size: int) -> np.ndarray:
    offsets = [0]
    with Path(path).open("rb", buffering=0) as file:
        handle = file.fileno()
        if hasattr(os, "posix_fadvise"):  # Only a few bytes of each record are read.
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        while offsets[-1] < size:
            header = os.pread(handle, _HEADER.size, offsets[-1])
            if len(header) == _HEADER.size:
                length, checksum = _HEADER.unpack(header)
                if checksum != masked_crc32c(header[:8]):
                    raise Damaged(
                        f"{path}: the file is damaged at byte {offsets[-1]}, or no TFRECORD file: "
                        "a length does not match its checksum"
                    )
                offsets.append(offsets[-1] + _HEADER.size + length + _FOOTER.size)
            if len(header) < _HEADER.size or offsets[-1] > size:
                raise Damaged(f"{path}: the file is cut off: it ends within a record")
    return np.array(offsets, np.int64)


def masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRECORD files: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
