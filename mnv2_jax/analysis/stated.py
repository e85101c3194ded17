"""Times at which claims were first stated: before their runs, or after some of them."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnv2_jax import checksums
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.neutral import added_fields, former_names


def note(
    workdir: Path,
    claims: Iterable[Claim],
    version: Mapping[str, Any],
    finished: int,
    seeds: Mapping[str, int] | None = None,
) -> None:
    """Record the claims that are new to an experiment, in `stated.json`, before anything trains.

    A claim that changed in any way is a new one.

    Args:
      workdir: the experiment's folder.
      claims: all of the config's.
      version: of the config, as JSON values: config, commit, dirty.
      finished: number of runs that have ended by now.
      seeds: the plan by which seeds stop by themselves: minimum, step, budget. It is noted as
        `seeds` for claims that have none, with when and finished.

    Raises:
      DamagedError: the file is damaged.
      OSError: the folder cannot be written to.
    """
    entries = read(workdir)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    moment = {"when": now, "finished": finished}
    plan = {"seeds": {**seeds, **moment}} if seeds else {}
    noted = {
        key: {**plan, **(entries.get(key) or {**version, **moment})}
        for key in map(identity, claims)
    }
    if any(entry != entries.get(key) for key, entry in noted.items()):
        checksums.write_json(workdir / "stated.json", entries | noted, indent=2)


def read(workdir: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of `stated.json` by the claims' identities; {} without such a file.

    Raises:
      DamagedError: the file is damaged.
    """
    path = workdir / "stated.json"
    try:
        entries = checksums.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for claim, entry in entries.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("when"), str):
            raise checksums.damaged(path, f"{claim}; expected when it was stated")
    return entries


def has_plan_of_seeds(entries: Mapping[str, Mapping[str, Any]], claims: Iterable[Claim]) -> bool:
    """Return whether seeds of one of these claims stop by themselves, by what `read` returned."""
    return any("seeds" in entries.get(identity(claim), {}) for claim in claims)


def identity(claim: Claim) -> str:
    """Return a hash of a claim's kind and fields: twelve hexadecimal digits."""
    former, later = former_names(type(claim)), added_fields(type(claim))
    fields = {
        former.get(name, name): value
        for name, value in dataclasses.asdict(claim).items()
        if name not in later or value != later[name].neutral
    }
    text = json.dumps({"kind": claim.kind, **fields}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
