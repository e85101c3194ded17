"""A folder in a bucket, gs:// or s3://, and the local one that stands for it.

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
from mnv2_jax.schema import NETWORK, RECORD

_CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}

_COPIED = [file for file in schema.FILES if file.in_buckets]
_COPIED.sort(key=lambda file: not file.path.startswith("runs/"))  # Before what is made of them.
_NAMES = [re.escape(file.path) for file in _COPIED if file.in_buckets == "shared"]
# A bucket may hold names that would lead elsewhere, and hidden ones.
_BROUGHT = re.compile("|".join(name.replace(r"\*", "[^./][^/]*") for name in _NAMES))


class Bucket:
    """A folder in a bucket, and the local one that stands for it.

    A run never changes: one that is whole on both sides is not copied again. Another file is copied
    from the side that changed it since both were the same; where both did, from the local one.
    """

    def __init__(
        self,
        uri: str,
        field: str,
        path: Path,
        files: Collection[str] = (*RECORD, NETWORK),
        runs: Collection[str] | None = None,
    ) -> None:
        """Begin; asks the bucket nothing yet.

        Args:
          uri: the folder in the bucket.
          field: what messages begin with.
          path: the local folder.
          files: of each run those that are brought.
          runs: ids of the runs that are brought; by default all.

        Raises:
          ValueError: it is in no bucket, or what speaks to such buckets is not installed.
        """
        scheme, _, root = uri.rstrip("/").partition("://")
        if scheme not in _CLIENTS or not root.partition("/")[0]:
            raise ValueError(f"{field}: expected a folder, gs://BUCKET/PATH or s3://BUCKET/PATH")
        name, advice = _CLIENTS[scheme], "expected pip install -e '.[cloud]'"
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{field}: {name} is not installed; {advice}")
        import fsspec  # Comes with them.

        # They log, tracebacks included, what is told here.
        logging.getLogger(name).setLevel(logging.CRITICAL)
        self._client: Any = fsspec.filesystem(scheme, use_listings_cache=False)  # Others write too.
        self.uri, self._root, self._field = f"{scheme}://{root}", root, field
        self._path, self._files, self._runs = path, files, runs
        self._same: set[str] = set()  # Runs.
        # What changes when another file is replaced, as both sides had it.
        self._here: dict[str, int] = {}
        self._there: dict[str, Any] = {}
        self._turns = threading.Lock()

    def open(self) -> None:
        """Bring all that is there, instead of what is here of another time, runs apart.

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
        """Copy to the bucket what was written here.

        Raises:
          OSError: the bucket cannot be written to.
        """
        with self._turns, self._told("be written to"):
            runs = {path.name for path in self._path.glob("runs/[!.]*")}
            new = set(filter(self._is_whole, runs - self._same))
            for file in _COPIED:  # In this order: a run's result after the rest of its record.
                if of_runs := bool(_run(file.path)):
                    names = [file.path.replace("*", run) for run in new]
                else:
                    paths = (path for path in self._path.glob(file.path) if path.name[0] != ".")
                    names = [str(path.relative_to(self._path)) for path in paths]
                stamps = {name: self._stamp(name) for name in names}
                changed = [name for name in names if stamps[name] != self._here.get(name, 0)]
                self._client.put(_in(self._path, changed), _in(self._root, changed))
                self._here |= {} if of_runs else stamps
            self._same |= new
            for name in [name for name in self._here if not self._stamp(name)]:
                with contextlib.suppress(FileNotFoundError):
                    self._client.rm_file(f"{self._root}/{name}")
                del self._here[name]

    def pull(self) -> bool:
        """Bring what others wrote to the bucket; return whether that holds records of runs.

        Raises:
          OSError: the bucket cannot be read, or the local folder cannot be written to.
        """
        with self._turns, self._told("be read"):
            with contextlib.suppress(FileNotFoundError):  # A sign of life that ended meanwhile.
                return self._pull()
            return self._pull()

    def _pull(self) -> bool:
        found = self._client.find(self._root, detail=True)  # Raises where there is no such bucket.
        named = {name.removeprefix(f"{self._root}/"): info for name, info in found.items()}
        there = {name: info for name, info in named.items() if _BROUGHT.fullmatch(name)}
        # A run that has its result has its other files.
        runs = {_run(name) for name in there if name.endswith(f"/{RECORD[-1]}") and self._files}
        wanted = {run for run in runs - self._same if self._runs is None or run in self._runs}
        self._same |= set(filter(self._is_whole, wanted))
        new = wanted - self._same
        of_new = [name for name in there if _run(name) in new and Path(name).name in self._files]
        replaced = [name for name, info in there.items() if info != self._there.get(name)]
        others = [name for name in replaced if not _run(name) and self._is_kept(name)]
        # Where a signal ends this while the client still writes, it stays until the next time.
        with tempfile.TemporaryDirectory(".tmp", ".", self._path, True) as staging:
            self._client.get(_in(self._root, of_new + others), _in(staging, of_new + others))
            for name in (*(f"runs/{run}" for run in new), *others):
                (self._path / name).parent.mkdir(exist_ok=True)
                atomic.remove(self._path / name)  # Of a run, what is left of a damaged record.
                Path(staging, name).rename(self._path / name)
        self._here |= {name: self._stamp(name) for name in others}
        self._there = there
        for name in [name for name in self._here.keys() - there if self._is_kept(name)]:
            (self._path / name).unlink()
            del self._here[name]
        read = set(filter(self._is_whole, new))
        self._same |= read
        return bool(read)

    def _is_whole(self, run: str) -> bool:
        record = [file for file in self._files if file != NETWORK]
        return records.read(self._path, run, record) is not None

    def _is_kept(self, name: str) -> bool:
        """Return whether a file here is as it was when both sides were the same."""
        return self._stamp(name) == self._here.get(name, 0)

    def _stamp(self, name: str) -> int:
        """Return what changes when a file here is replaced; 0 where there is none."""
        path = self._path / name
        return path.stat().st_mtime_ns if path.is_file() else 0

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Make one kind of error of those that clients raise, of which some are no OSError."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{self._field}: it cannot {what} ({reason})") from error


def _run(name: str) -> str:
    """Return the run that a file is of; "" of others."""
    return name.split("/")[1] if name.startswith("runs/") else ""


def _in(folder: object, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names]
