"""TFRECORD files by random access, without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of these 8 bytes (4), the data, and a
checksum of the data (4): see tensorflow/core/lib/io/record_writer.h. Where records begin is found
by going from length to length, once; it is kept in the cache folder.
"""

import contextlib
import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np

from mnv2_jax import atomic, cache

_HEADER = struct.Struct("<QI")
_FOOTER = 4


class Damaged(OSError):
    """A file is not there or not whole. The message begins with its path."""


class TfRecordShard:
    """A TFRECORD file, open. Any number of threads may read it.

    The checksum of the data is not looked at: in Python it would take ten times as long as to
    decode the image, and most damage is found by that.
    """

    def __init__(self, path: str) -> None:
        """Opens the file.

        Raises:
          Damaged: it is not there, is no TFRECORD file or ends within a record.
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
        """The data of record `number`, counted from 0.

        Raises:
          Damaged: the file has shrunk since it was opened.
        """
        start = int(self._starts[number]) + _HEADER.size
        length = int(self._starts[number + 1]) - _FOOTER - start
        data = os.pread(self._handle, length, start)
        if len(data) != length:
            raise Damaged(f"{self.path}: record {number} of the file cannot be read whole")
        return data


def starts(path: str) -> np.ndarray:
    """Where each record of a file begins, in bytes, and where the file ends: int64 `[records + 1]`.

    Raises:
      Damaged: the file is not there, is no TFRECORD file or ends within a record.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise Damaged(f"{path}: the file is missing") from None
    # A file that has changed has another size or time.
    key = f"{Path(path).resolve()}\n{status.st_size}\n{status.st_mtime_ns}"
    name = hashlib.sha256(key.encode()).hexdigest()
    kept = cache.folder() / "tfrecord_index" / f"{name}.npy"
    # What is kept may not be there, or be damaged.
    with contextlib.suppress(OSError, EOFError, ValueError, IndexError):
        found = np.load(kept, allow_pickle=False)
        if found[0] == 0 and found[-1] == status.st_size:
            return found
    found = _scan(path, status.st_size)
    array = io.BytesIO()
    np.save(array, found)
    with contextlib.suppress(OSError):  # A cache that cannot be written costs time only.
        atomic.write_bytes(kept, array.getvalue())
    return found


def _scan(path: str, size: int) -> np.ndarray:
    found = [0]
    with Path(path).open("rb", buffering=0) as file:
        handle = file.fileno()
        if hasattr(os, "posix_fadvise"):  # A few bytes of every record are read, and no more.
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        while found[-1] < size:
            header = os.pread(handle, _HEADER.size, found[-1])
            if len(header) == _HEADER.size:
                length, checksum = _HEADER.unpack(header)
                if checksum != masked_crc32c(header[:8]):
                    raise Damaged(
                        f"{path}: the file is damaged at byte {found[-1]}, or no TFRECORD file: a "
                        "length does not match its checksum"
                    )
                found.append(found[-1] + _HEADER.size + length + _FOOTER)
            if len(header) < _HEADER.size or found[-1] > size:
                raise Damaged(f"{path}: the file is cut off: it ends within a record")
    return np.array(found, np.int64)


def masked_crc32c(data: bytes) -> int:
    """The checksum that TFRECORD files hold: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    """What each byte does to a CRC-32C (Castagnoli), bits in reflected order."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()
