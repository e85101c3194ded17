"""A folder in a bucket, gs:// or s3://: the only module that knows epath."""

import contextlib
import errno
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etils import epath

_CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}
_READINGS = 5
"""How often a file is read at most that others replace meanwhile."""


class Bucket:
    """A folder in a bucket: files by name, whole or absent."""

    def __init__(self, uri: str, field: str) -> None:
        """Begins.

        Args:
          uri: the folder.
          field: what messages begin with.

        Raises:
          ValueError: it is in no bucket, or what speaks to such buckets is not installed.
        """
        scheme, _, rest = uri.partition("://")
        if scheme not in _CLIENTS or not rest.partition("/")[0]:
            raise ValueError(f"{field}: expected a folder, gs://BUCKET/PATH or s3://BUCKET/PATH")
        client = _CLIENTS[scheme]
        if importlib.util.find_spec(client) is None:
            raise ValueError(
                f"{field}: {client} is not installed; expected pip install -e '.[cloud]'"
            )
        # Where TensorFlow is installed, epath would take its client, which knows no s3://.
        os.environ["EPATH_USE_TF"] = "0"
        import fsspec
        from etils import epath

        # They log, tracebacks included, what is told here.
        logging.getLogger(client).setLevel(logging.CRITICAL)
        # Others write to the folder too, and are to be seen.
        fsspec.config.conf.setdefault(scheme, {})["use_listings_cache"] = False
        self.field = field
        self._folder = epath.Path(uri)
        self._bucket = epath.Path(f"{scheme}://{rest.partition('/')[0]}")

    def check_readable(self) -> None:
        """Checks that there is such a bucket.

        Raises:
          ValueError: there is none, or it cannot be read.
        """
        try:
            if self.names("") or self._bucket.exists():
                return
        except OSError as error:
            raise ValueError(str(error)) from None
        raise ValueError(f"{self.field}: there is no such bucket")

    def check_writable(self) -> None:
        """Checks that files can be written and removed.

        Raises:
          ValueError: they cannot.
        """
        try:
            self.write(".writable", b"")
            self.remove(".writable")
        except OSError as error:
            raise ValueError(str(error)) from None

    def names(self, folder: str) -> list[str]:
        """What lies in a folder; nothing where there is none.

        Names that would lead out of a folder here, which a bucket may well hold, are left out, and
        so are hidden ones.
        """
        with self._told("be read"), contextlib.suppress(FileNotFoundError):
            names = [path.name for path in (self._folder / folder).iterdir()]
            return [name for name in names if name and name[0] != "." and "/" not in name]
        return []

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        with self._told("be read"), contextlib.suppress(FileNotFoundError):
            return _unchanged(self._folder / name)
        return None

    def write(self, name: str, data: bytes) -> None:
        """Writes a file."""
        with self._told("be written to"):
            (self._folder / name).write_bytes(data)

    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""
        with self._told("be written to"):
            (self._folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Makes one kind of error of those that clients raise, of which some are no OSError."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{self.field}: it cannot {what} ({reason})") from error


def _unchanged(path: "epath.Path") -> bytes:
    """Reads a file, again where it is replaced between two requests of one reading."""
    for _ in range(_READINGS - 1):
        try:
            return bytes(path.read_bytes())
        except OSError as error:
            if error.errno != errno.EBUSY:  # What clients raise then.
                raise
    return bytes(path.read_bytes())
