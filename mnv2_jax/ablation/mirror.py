"""Experiments in buckets, gs:// and s3://: a local folder, the mirror, stands for each.

What trains works in the mirror as in any folder: checkpoints, locks and TensorBoard's files stay
there. Copied to the bucket is what others are to see: records, each with result.json last, so that
it is whole or not yet there; failures; signs of life; the plan, the claims, the table and the
report.
"""

import contextlib
import hashlib
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mnv2_jax import atomic, cache, schema
from mnv2_jax.ablation import records
from mnv2_jax.ablation.bucket import Bucket
from mnv2_jax.ablation.folder import Workdir
from mnv2_jax.schema import RECORD

_SECONDS_BETWEEN = 15.0
_CONNECTIONS = 16

_PUBLISHED = [
    file for file in schema.FILES if file.in_buckets and not file.path.startswith("runs/")
]
"""What is copied to the bucket beside records."""

_FETCHED = [file.path for file in _PUBLISHED if file.in_buckets == "shared"]
_NOTES = tuple(path for path in _FETCHED if "/" not in path)
_FOLDERS = tuple(path.partition("/")[0] for path in _FETCHED if "/" in path)
"""What is brought from the bucket beside records."""


class Mirror(Workdir):
    """The local folder that stands for one in a bucket."""

    def __init__(
        self,
        uri: str,
        bucket: Bucket,
        path: Path,
        files: Collection[str] = RECORD,
        runs: Collection[str] | None = None,
    ) -> None:
        """Begins.

        Args:
          uri: the folder in the bucket.
          bucket: the same.
          path: the local folder.
          files: of each record those that are brought.
          runs: ids of the runs whose records are brought; by default all.
        """
        super().__init__(path, files)
        self._uri = uri.rstrip("/")
        self._bucket = bucket
        self._runs = runs
        self._same: set[str] = set()  # Runs whose records are whole, here and there.
        self._known: dict[str, tuple[int, int]] = {}  # Other files that are the same, when so.
        self._turns = threading.Lock()

    @property
    def location(self) -> str:
        """See `Workdir`."""
        return self._uri

    def shown(self, text: object) -> str:
        """See `Workdir`."""
        return str(text).replace(str(self.path), self._uri)

    def sync(self) -> bool:
        """See `Workdir`."""
        self.publish()
        return self.fetch()

    def publish(self) -> None:
        """Copies to the bucket what was written here since.

        Raises:
          OSError: the bucket cannot be written to.
        """
        with self._turns:
            local = [path.name for path in self.path.glob("runs/[!.]*")]
            _each(self._publish_record, (run for run in local if run not in self._same))
            for file in _PUBLISHED:  # In their order: a report comes after what it shows.
                paths = (path for path in self.path.glob(file.path) if path.name[0] != ".")
                _each(self._publish_file, (str(path.relative_to(self.path)) for path in paths))
            gone = [name for name in self._known if _stamp(self.path / name) is None]
            _each(self._bucket.remove, gone)
            for name in gone:
                del self._known[name]

    def fetch(self) -> bool:
        """Brings what others wrote to the bucket; whether that holds records of runs.

        Raises:
          OSError: the bucket cannot be read, or the mirror cannot be written to.
        """
        with self._turns:
            runs = self._bucket.names("runs") if self.files else []
            wanted = (run for run in runs if self._runs is None or run in self._runs)
            found = _each(self._fetch_record, (run for run in wanted if run not in self._same))
            there = [f"{name}/{one}" for name in _FOLDERS for one in self._bucket.names(name)]
            _each(self._fetch_file, {*_NOTES, *there, *self._known})
            return any(found)

    def forget(self) -> None:
        """Removes what the bucket may have had otherwise since, so that it is brought anew."""
        for file in _PUBLISHED:
            folder, slash, _ = file.path.partition("/")
            if slash:
                shutil.rmtree(self.path / folder, ignore_errors=True)
            else:
                (self.path / file.path).unlink(missing_ok=True)

    def _publish_record(self, run: str) -> None:
        if records.read(self.path, run, self.files) is None:
            return
        network = self.path / "runs" / run / schema.NETWORK
        for file in (*([schema.NETWORK] if network.exists() else []), *RECORD):
            name = f"runs/{run}/{file}"
            self._bucket.write(name, (self.path / name).read_bytes())
        self._same.add(run)

    def _publish_file(self, name: str) -> None:
        stamp = _stamp(self.path / name)
        if stamp is not None and stamp != self._known.get(name):
            with contextlib.suppress(FileNotFoundError):  # A sign of life that ended meanwhile.
                data = (self.path / name).read_bytes()
                self._bucket.write(name, data)
                self._known[name] = stamp

    def _fetch_record(self, run: str) -> bool:
        """Brings a record, if it is whole; whether it was not here."""
        if records.read(self.path, run, self.files) is not None:
            if self._bucket.read(f"runs/{run}/{RECORD[-1]}") is not None:
                self._same.add(run)
            return False
        # The last is looked for first: what has it has the others.
        found = {}
        for file in sorted(self.files, key=RECORD.index, reverse=True):
            data = self._bucket.read(f"runs/{run}/{file}")
            if data is None:
                return False
            found[file] = data
        if self.files == RECORD:  # Not every run keeps its network.
            network = self._bucket.read(f"runs/{run}/{schema.NETWORK}")
            found |= {} if network is None else {schema.NETWORK: network}
        folder = self.path / "runs" / run
        shutil.rmtree(folder, ignore_errors=True)  # What is left of one that cannot be read.
        with atomic.folder(folder) as staging:
            for file, data in found.items():
                (staging / file).write_bytes(data)
        if records.read(self.path, run, self.files) is None:
            return False
        self._same.add(run)
        return True

    def _fetch_file(self, name: str) -> None:
        path = self.path / name
        if _stamp(path) != self._known.get(name):
            return  # It was changed here, and is to be published.
        data = self._bucket.read(name)
        if data is None:
            path.unlink(missing_ok=True)
            self._known.pop(name, None)
        else:
            atomic.write_bytes(path, data)
            self._known[name] = _stamp(path) or (0, 0)


@contextlib.contextmanager
def claimed(uri: str, part: str, runs: Collection[str] | None) -> Iterator[Mirror]:
    """See `mnv2_jax.ablation.workdir.claimed`; what is written is published while it goes on."""
    field = f"workdir={uri}"
    bucket = Bucket(uri, field)
    bucket.check_writable()
    path = mirror_folder(uri, part)
    here = Mirror(uri, bucket, path, runs=runs)
    with atomic.claimed(path, f"{field}: {path}, which stands for it here"):
        here.forget()
        here.fetch()
        with _shown(here), _published(here):
            yield here


@contextlib.contextmanager
def seen(uri: str, flag: str, files: Collection[str]) -> Iterator[Mirror]:
    """See `mnv2_jax.ablation.workdir.seen`."""
    bucket = Bucket(uri, f"{flag}{uri}")
    bucket.check_readable()
    with tempfile.TemporaryDirectory() as folder:
        here = Mirror(uri, bucket, Path(folder), files)
        here.fetch()
        with _shown(here):
            yield here


def mirror_folder(uri: str, part: str) -> Path:
    """The local folder that stands for one in a bucket, or for a part of what is done there."""
    text = f"{uri.rstrip('/')} {part}"
    name = re.sub(r"\W+", "_", text).strip("_")[-80:]
    digits = hashlib.sha256(text.encode()).hexdigest()[:12]
    return cache.folder() / "mirrors" / f"{name}-{digits}"


@contextlib.contextmanager
def _published(here: Mirror) -> Iterator[None]:
    """Publishes now and then, so that others see how far training is, and at the end."""
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            with contextlib.suppress(OSError):  # It is tried again.
                here.publish()

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        with contextlib.suppress(OSError):  # What ended the block is told.
            here.publish()
        raise
    finally:
        ended.set()
        thread.join()
    here.publish()


@contextlib.contextmanager
def _shown(here: Mirror) -> Iterator[None]:
    """Lets errors name the bucket where they name the mirror."""
    try:
        yield
    except ValueError as error:
        if str(here.path) not in str(error):
            raise
        raise ValueError(here.shown(error)) from error


def _each(function: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    """Calls a function on names, several at a time."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return list(pool.map(function, names))


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size
