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
from mnv2_jax.neutral import former_names


def note(workdir: Path, claims: Iterable[Claim], version: Mapping[str, Any], finished: int) -> None:
    """Write down the claims that are new to an experiment, in `stated.json`.

    To be called before anything trains. A claim that is changed in any way is a new one.

    Args:
      workdir: the experiment's folder.
      claims: as they stand now.
      version: of the config that they stand in, as JSON values: config, commit, dirty.
      finished: how many runs have ended by now.

    Raises:
      DamagedError: what was noted before is damaged.
      OSError: the folder cannot be written to.
    """
    known = read(workdir)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {**version, "when": now, "finished": finished}
    new = {key: entry for key in map(identity, claims) if key not in known}
    if new:
        checksums.write_json(workdir / "stated.json", known | new, indent=2)


def read(workdir: Path) -> dict[str, dict[str, Any]]:
    """Return when claims were first stated, by their identities; empty where nothing was noted.

    Raises:
      DamagedError: the file is not what was written.
    """
    path = workdir / "stated.json"
    try:
        known = checksums.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for claim, entry in known.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("when"), str):
            raise checksums.damaged(path, f"{claim}; expected when it was stated")
    return known


def identity(claim: Claim) -> str:
    """Return twelve hexadecimal digits of a hash of all that a claim says."""
    former = former_names(type(claim))
    fields = {former.get(name, name): value for name, value in dataclasses.asdict(claim).items()}
    said = {"kind": claim.kind, **fields}
    text = json.dumps(said, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
