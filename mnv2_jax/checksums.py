"""Files with checksums: written atomically, verified when read.

A JSON file holds its own: beside its entries `schema`, the version of the format, and `sha256`,
the checksum of all other entries. Another text has it in a file beside it, `NAME.sha256`, as
`sha256sum` writes it. Files of earlier versions have neither, and are read without verification.
"""

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnv2_jax import atomic

SCHEMA = 1
"""The version of the format; others are refused."""

BESIDE = ".sha256"
"""The suffix of a checksum's file, after the name of the file that it belongs to."""

MOST_BYTES = 2**28
"""The limit of a file's size; larger ones are refused."""

_SCHEMA, _SUM = "schema", "sha256"
_MOST_DEEP = 50


class DamagedError(ValueError):
    """A file whose content is not what was written; the message is one line that names it."""


def damaged(where: object, reason: str) -> DamagedError:
    """Return the error for a file."""
    return DamagedError(f"{where}: it is damaged ({' '.join(reason.split())[:200]})")


def dumps(content: Any, indent: int | None = None) -> str:
    """Return JSON with a newline; NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False) + "\n"


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON file with its schema version and checksum, atomically.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    # As it will be read: tuples become lists, NaN becomes null.
    entries = {**json.loads(dumps(content)), _SCHEMA: SCHEMA}
    atomic.write_text(path, dumps({**entries, _SUM: _sum_of(entries)}, indent))


def read_json(path: Path, listed: str = "", later: str = "") -> dict[str, Any]:
    """Read the entries of a JSON file that `write_json`, or an earlier version, wrote.

    Args:
      path: the file.
      listed: the name of the entry that a file of an earlier version holds as a bare list.
      later: an entry that no earlier version wrote.

    Raises:
      DamagedError: it is no regular file, no JSON object, or does not match its checksum.
      OSError: it does not exist or cannot be read.
    """
    entries = parse(read_bytes(path), path, listed)
    if any(name in entries for name in (_SCHEMA, _SUM, later)):
        if entries.pop(_SUM, None) != _sum_of(entries):
            raise damaged(path, "it does not have the checksum that it was written with")
        if (schema := entries.pop(_SCHEMA, None)) != SCHEMA:
            raise damaged(path, f"schema {schema!r}; expected {SCHEMA}")
    return entries


def read_if_there(path: Path) -> dict[str, Any]:
    """Read a JSON file; {} if it is missing or damaged."""
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError, DamagedError):
        return {}


def write_text(path: Path, text: str) -> None:
    """Write a text and its checksum beside it.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    beside = path.with_name(path.name + BESIDE)
    beside.unlink(missing_ok=True)  # A kill between the two writes leaves a text without checksum.
    data = text.encode()
    atomic.write_bytes(path, data)
    atomic.write_text(beside, f"{sum_of(data)}  {path.name}\n")


def read_text(path: Path) -> str:
    """Read a text that `write_text` wrote, or one without a checksum.

    Raises:
      DamagedError: it is no regular file, no UTF-8, or does not match its checksum.
      OSError: it does not exist or cannot be read.
    """
    beside = path.with_name(path.name + BESIDE)
    for _ in range(2):  # The text may be replaced between the two reads.
        try:
            noted = read_bytes(beside).split()[:1]
        except FileNotFoundError:
            noted = None
        data = read_bytes(path)
        if noted is None or noted == [sum_of(data).encode()]:
            try:
                return data.decode()
            except UnicodeDecodeError:
                raise damaged(path, "it is no UTF-8") from None
    raise damaged(path, f"it does not have the checksum in {beside.name}")


def read_bytes(path: Path) -> bytes:
    """Read a regular file, or a link to one.

    Raises:
      DamagedError: it is a folder, a device, a pipe, or too large.
      OSError: it does not exist or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # A link to itself; a socket.
            raise damaged(path, "it is no regular file") from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise damaged(path, "it is no regular file")
        if status.st_size > MOST_BYTES:
            raise damaged(path, f"{status.st_size} bytes; expected {MOST_BYTES} at most")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def parse(data: bytes, where: object, listed: str = "") -> dict[str, Any]:
    """Parse a JSON object of finite numbers and bounded depth.

    Args:
      data: UTF-8.
      where: the beginning of messages.
      listed: see `read_json`.

    Raises:
      DamagedError: it is no such object.
    """
    try:
        content = json.loads(
            data.decode(),
            parse_int=_bounded,
            parse_float=_finite_number,
            parse_constant=_finite_number,
        )
    except RecursionError:
        raise damaged(where, f"entries more than {_MOST_DEEP} deep") from None
    except UnicodeDecodeError:
        raise damaged(where, "it is no UTF-8") from None
    except ValueError as error:
        raise damaged(where, str(error)) from None
    if listed and isinstance(content, list):
        content = {listed: content}
    if not isinstance(content, dict):
        raise damaged(where, "expected a JSON object")
    if _depth(content) > _MOST_DEEP:
        raise damaged(where, f"entries more than {_MOST_DEEP} deep")
    return content


def sum_of(data: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _sum_of(entries: Mapping[str, Any]) -> str:
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sum_of(text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise ValueError(f"{text[:20]}... is too large")
    return int(text)


def _depth(content: Any) -> int:
    """Return the depth of nested lists and objects, without recursion."""
    depth, layer = 0, [content]
    while layer := [part for part in layer if isinstance(part, (dict, list))]:
        depth += 1
        layer = [
            item for part in layer for item in (part.values() if isinstance(part, dict) else part)
        ]
    return depth
