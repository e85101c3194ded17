"""The report of an experiment, which is drawn again only where something in it may differ."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mnv2_jax
from mnv2_jax import atomic, checksums, schema
from mnv2_jax.analysis import charts, stated, verdicts
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.report import analyse

_NOTE = "report.json"

# Files that `analyse` reads and writes, its code, and the libraries that compute and draw.
# Unfinished files have names that begin with a dot.
_READ = (
    *("results.csv", "columns.json", "stated.json", schema.MISTAKEN),
    *("evaluations/[!.]*", "blocks/[!.]*"),
    *(f"runs/[!.]*/{name}" for name in (*schema.RECORD, schema.PREDICTIONS)),
)
_WRITTEN = ("report.html", "claims.json", "figures/[!.]*")
_CODE = ("**/*.py", "analysis/html/web/*", "analysis/charts/data/*.csv")
_LIBRARIES = ("numpy", "pandas", "scipy", "vl-convert-python")


def write_report(
    workdir: Path, claims: Iterable[Claim] | None, *, title: str, name: str = "", command: str
) -> tuple[list[dict[str, Any]], bool]:
    """Decide claims and write claims.json, the figures and report.html, unless they are up to date.

    report.json has a checksum of all that they were made from, and the checksum of each of them;
    they are up to date if none has changed. With a claim of a class from outside, whose code may
    read anything, they never are; nor with claims that `claims.json` records.

    Args:
      workdir: the experiment's folder; see `mnv2_jax.analysis.report.analyse`.
      claims: of any kind; None for those that `claims.json` records.
      title: heading of the report.
      name: of the experiment, beside it.
      command: the command that gives these results.

    Returns:
      The decided claims, as `mnv2_jax.analysis.verdicts.decide` returns them, and whether anything
      was drawn.

    Raises:
      ValueError: a record is damaged, or a claim names a column that does not exist.
      OSError: the folder cannot be written to.
    """
    claims = None if claims is None else tuple(claims)
    with atomic.in_turns(workdir / ".report.lock"):
        said = [title, name, command]
        sources = "" if claims is None else _fingerprint(workdir, claims, said)
        if _is_current(workdir, sources):
            return verdicts.read_decided(workdir), False
        with _failures() as failed:
            decided = analyse(workdir, claims, title=title, name=name, command=command)
        if sources and not failed:
            note = {"sources": sources, "files": _sums(workdir, _WRITTEN)}
            checksums.write_json(workdir / _NOTE, note)
    return decided, True


@contextlib.contextmanager
def _failures() -> Iterator[list[str]]:
    """Collect the warnings about figures that cannot be drawn; these are tried again next time."""
    messages: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return True

    logger = logging.getLogger(charts.__name__)
    logger.addFilter(collect)
    try:
        yield messages
    finally:
        logger.removeFilter(collect)


def _fingerprint(workdir: Path, claims: tuple[Claim, ...], said: Sequence[str]) -> str:
    """Return a checksum of all that a report is made from; "" where that cannot be known."""
    if not all(type(claim).__module__.startswith(f"{mnv2_jax.__name__}.") for claim in claims):
        return ""
    parts = [[*said, *map(stated.identity, claims)], _sums(workdir, _READ), _code()]
    return checksums.sum_of(json.dumps(parts, sort_keys=True).encode())


def _is_current(workdir: Path, sources: str) -> bool:
    """Return whether the noted sources are these, and the noted files are as they were written."""
    try:
        note = checksums.read_json(workdir / _NOTE)
    except (OSError, checksums.DamagedError):
        return False
    return note["sources"] == sources and note["files"].items() <= _sums(workdir, _WRITTEN).items()


@functools.cache
def _code() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    package = _sums(Path(mnv2_jax.__file__).parent, _CODE)
    return {"python": platform.python_version(), **versions, **package}


def _sums(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Return the checksums of the files that patterns name, by their paths from the folder."""
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {
        str(path.relative_to(folder)): checksums.sum_of(path.read_bytes()) for path in sorted(paths)
    }
