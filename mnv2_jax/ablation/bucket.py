"""A folder in a bucket, gs:// or s3://, and the local folder that mirrors it.

Copies what `mnv2_jax.schema.FILES` names, as rsync does. The only module that knows fsspec.
"""

import contextlib
import importlib.util
import logging
import re
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from mnv2_jax import atomic, schema
from mnv2_jax.ablation import records
from mnv2_jax.schema import BESIDE_RECORDS, RECORD

_CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}

_COPIED = [file for file in schema.FILES if file.in_buckets]
_COPIED.sort(key=lambda file: not file.path.startswith("runs/"))  # Before what is made of them.
_SHARED = [re.escape(file.path) for file in _COPIED if file.in_buckets == "shared"]
# Other names in a bucket are ignored: hidden ones, and those that lead out of the folder.
_PULLED = re.compile("|".join(name.replace(r"\*", "[^./][^/]*") for name in _SHARED))


class Bucket:
    """A folder in a bucket, and the local folder that mirrors it.

    Runs never change: one that is complete on both sides is not copied again. Any other file is
    copied from the side that changed it since the last copy; where both did, from the local one.
    """

    def __init__(
        self,
        uri: str,
        field: str,
        path: Path,
        files: Collection[str] = (*RECORD, *BESIDE_RECORDS),
        runs: Collection[str] | None = None,
    ) -> None:
        """Send no request yet.

        Args:
          uri: the folder in the bucket.
          field: the beginning of error messages.
          path: the local folder.
          files: the files of each run to pull.
          runs: ids of the runs to pull; by default all.

        Raises:
          ValueError: the URI is of no bucket, or the client for such buckets is not installed.
        """
        scheme, _, root = uri.rstrip("/").partition("://")
        if scheme not in _CLIENTS or not root.partition("/")[0]:
            raise ValueError(f"{field}: expected a folder, gs://BUCKET/PATH or s3://BUCKET/PATH")
        name, advice = _CLIENTS[scheme], "expected pip install -e '.[cloud]'"
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{field}: {name} is not installed; {advice}")
        import fsspec  # Installed with the clients.

        # They log errors, tracebacks included, that are reported here.
        logging.getLogger(name).setLevel(logging.CRITICAL)
        self._client: Any = fsspec.filesystem(scheme, use_listings_cache=False)  # Others write too.
        self.uri, self._root, self._field = f"{scheme}://{root}", root, field
        self._path, self._files, self._runs = path, files, runs
        self._synced_runs: set[str] = set()
        # Of every other file, as of the last copy: modification time here, listing there.
        self._local: dict[str, int] = {}
        self._remote: dict[str, Any] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Pull everything; remove what an earlier process left here, except runs.

        Raises:
          ValueError: there is no such bucket, or it cannot be read.
        """
        for top in {file.path.partition("/")[0] for file in _COPIED} - {"runs"}:
            atomic.remove(self._path / top)
        try:
            self.pull()
        except OSError as error:
            raise ValueError(str(error)) from None

    def push(self) -> None:
        """Copy local changes to the bucket.

        Raises:
          OSError: the bucket cannot be written to.
        """
        with self._lock, self._as_os_error("be written to"):
            runs = {path.name for path in self._path.glob("runs/[!.]*")}
            new = set(filter(self._is_complete, runs - self._synced_runs))
            for file in _COPIED:  # In this order: a run's result after the rest of its record.
                if is_of_run := bool(_run(file.path)):
                    names = [file.path.replace("*", run) for run in new]
                else:
                    paths = (path for path in self._path.glob(file.path) if path.name[0] != ".")
                    names = [str(path.relative_to(self._path)) for path in paths]
                times = {name: self._modified(name) for name in names}
                changed = [name for name in names if times[name] != self._local.get(name, 0)]
                self._client.put(_in(self._path, changed), _in(self._root, changed))
                self._local |= {} if is_of_run else times
            self._synced_runs |= new
            for name in [name for name in self._local if not self._modified(name)]:
                with contextlib.suppress(FileNotFoundError):
                    self._client.rm_file(f"{self._root}/{name}")
                del self._local[name]

    def pull(self) -> bool:
        """Copy others' changes from the bucket; return whether new records of runs came.

        Raises:
          OSError: the bucket cannot be read, or the local folder cannot be written to.
        """
        with self._lock, self._as_os_error("be read"):
            with contextlib.suppress(FileNotFoundError):  # A heartbeat ended since the listing.
                return self._pull()
            return self._pull()

    def _pull(self) -> bool:
        listing = self._client.find(self._root, detail=True)  # Raises if there is no such bucket.
        named = {name.removeprefix(f"{self._root}/"): info for name, info in listing.items()}
        remote = {name: info for name, info in named.items() if _PULLED.fullmatch(name)}
        # A run's result is written last: with it, the other files are there.
        runs = {_run(name) for name in remote if name.endswith(f"/{RECORD[-1]}") and self._files}
        if self._runs is not None:
            runs.intersection_update(self._runs)
        self._synced_runs |= set(filter(self._is_complete, runs - self._synced_runs))
        new = runs - self._synced_runs
        of_new = [name for name in remote if _run(name) in new and Path(name).name in self._files]
        changed = [name for name, info in remote.items() if info != self._remote.get(name)]
        others = [name for name in changed if not _run(name) and self._is_unchanged(name)]
        # If a signal interrupts a download, the staging folder stays until `tidy`.
        with tempfile.TemporaryDirectory(".tmp", ".", self._path, True) as staging:
            self._client.get(_in(self._root, of_new + others), _in(staging, of_new + others))
            for name in (*(f"runs/{run}" for run in new), *others):
                (self._path / name).parent.mkdir(exist_ok=True)
                atomic.remove(self._path / name)  # The rest of a damaged record, if any.
                Path(staging, name).rename(self._path / name)
        self._local |= {name: self._modified(name) for name in others}
        self._remote = remote
        for name in [name for name in self._local.keys() - remote if self._is_unchanged(name)]:
            (self._path / name).unlink()
            del self._local[name]
        complete = set(filter(self._is_complete, new))
        self._synced_runs |= complete
        return bool(complete)

    def _is_complete(self, run: str) -> bool:
        record = [file for file in self._files if file not in BESIDE_RECORDS]
        return records.read(self._path, run, record) is not None

    def _is_unchanged(self, name: str) -> bool:
        """Return whether a local file is as it was after the last copy."""
        return self._modified(name) == self._local.get(name, 0)

    def _modified(self, name: str) -> int:
        """Return the modification time of a local file, in ns; 0 if there is none."""
        path = self._path / name
        return path.stat().st_mtime_ns if path.is_file() else 0

    @contextlib.contextmanager
    def _as_os_error(self, action: str) -> Iterator[None]:
        """Turn what clients raise, which is not always an OSError, into one."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{self._field}: it cannot {action} ({reason})") from error


def _run(name: str) -> str:
    """Return the id of the run that a file belongs to; "" if to none."""
    return name.split("/")[1] if name.startswith("runs/") else ""


def _in(folder: object, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names]
