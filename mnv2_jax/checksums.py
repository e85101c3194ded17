"""Files that notice damage: written whole with a checksum, and read through every check.

A JSON file holds its own: beside its entries `schema`, the version of what is written, and
`sha256`, the checksum of all other entries. Any other text has it in a file beside it,
`NAME.sha256`, as `sha256sum` writes it. Files of earlier versions have neither and are read
without.
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
"""The version of what is written; others are not read."""

BESIDE = ".sha256"
"""The suffix of a checksum's file, after the name of the file that it is of."""

MOST_BYTES = 2**28
"""Larger files are not read."""

_SCHEMA, _SUM = "schema", "sha256"
_MOST_DEEP = 50


class DamagedError(ValueError):
    """A file that cannot be what was written there; its message is one line that names it."""


def damaged(where: object, reason: str) -> DamagedError:
    """Return the error of a file, by what is wrong with it."""
    return DamagedError(f"{where}: it is damaged ({' '.join(reason.split())[:200]})")


def dumps(content: Any, indent: int | None = None) -> str:
    """Return JSON with a newline; a number that is none becomes null, as JSON has no NaN."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False) + "\n"


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON file with its schema version and checksum, in one step.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    # As it will be read: tuples become lists, numbers that are none become null.
    entries = {**json.loads(dumps(content)), _SCHEMA: SCHEMA}
    atomic.write_text(path, dumps({**entries, _SUM: _sum_of(entries)}, indent))


def read_json(path: Path, listed: str = "", later: str = "") -> dict[str, Any]:
    """Read a JSON file of `write_json`, without schema version and checksum, or an earlier one.

    Args:
      path: the file.
      listed: the entry that is meant where an earlier file holds a list alone.
      later: an entry that no earlier file has.

    Raises:
      DamagedError: it is no regular file, no JSON object, or does not have its checksum.
      OSError: it is not there, or cannot be read.
    """
    entries = parse(read_bytes(path), path, listed)
    if any(name in entries for name in (_SCHEMA, _SUM, later)):
        if entries.pop(_SUM, None) != _sum_of(entries):
            raise damaged(path, "it does not have the checksum that it was written with")
        if (schema := entries.pop(_SCHEMA, None)) != SCHEMA:
            raise damaged(path, f"schema {schema!r}; expected {SCHEMA}")
    return entries


def write_text(path: Path, text: str) -> None:
    """Write a text and its checksum beside it.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    beside = path.with_name(path.name + BESIDE)
    beside.unlink(missing_ok=True)  # A kill between the two leaves a text that is not checked.
    data = text.encode()
    atomic.write_bytes(path, data)
    atomic.write_text(beside, f"{sum_of(data)}  {path.name}\n")


def read_text(path: Path) -> str:
    """Read a text that `write_text` wrote, or one that has no checksum beside it.

    Raises:
      DamagedError: it is no regular file, no UTF-8, or does not have its checksum.
      OSError: it is not there, or cannot be read.
    """
    beside = path.with_name(path.name + BESIDE)
    for _ in range(2):  # It may be replaced between one reading and the other.
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
    """Read a regular file, or one that a link leads to.

    Raises:
      DamagedError: it is a folder, a device or a pipe, or too large.
      OSError: it is not there, or cannot be read.
    """
    try:
        # Not to be waited for, as a pipe is.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # A link to itself; a socket.
            raise damaged(path, "it is no regular file") from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise damaged(path, "it is no regular file")
        if found.st_size > MOST_BYTES:
            raise damaged(path, f"{found.st_size} bytes; expected {MOST_BYTES} at most")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def parse(data: bytes, where: object, listed: str = "") -> dict[str, Any]:
    """Read a JSON object of finite numbers, of bounded depth.

    Args:
      data: UTF-8.
      where: what messages begin with.
      listed: see `read_json`.

    Raises:
      DamagedError: it is none.
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
    """Return the SHA-256 of bytes, in hexadecimal digits."""
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
    """Return the depth of nested lists and objects, counted without recursion."""
    depth, layer = 0, [content]
    while layer := [part for part in layer if isinstance(part, (dict, list))]:
        depth += 1
        layer = [
            item for part in layer for item in (part.values() if isinstance(part, dict) else part)
        ]
    return depth
