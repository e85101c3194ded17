"""When each claim was written down: before the runs it is decided by, or after some of them."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnv2_jax.analysis.claims import Claim
from mnv2_jax.atomic import write_text


def note(workdir: Path, claims: Iterable[Claim], version: Mapping[str, Any], finished: int) -> None:
    """Writes down the claims that are new to an experiment, in `stated.json`.

    To be called before anything trains. A claim that is changed in any way is a new one.

    Args:
      workdir: the experiment's folder.
      claims: as they stand now.
      version: of the config that they stand in, as JSON values: config, commit, dirty.
      finished: how many runs have ended by now.

    Raises:
      OSError: the folder cannot be written to.
    """
    known = read(workdir)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {**version, "when": now, "finished": finished}
    new = {key: entry for key in map(identity, claims) if key not in known}
    if new:
        write_text(workdir / "stated.json", json.dumps(known | new, indent=2) + "\n")


def read(workdir: Path) -> dict[str, dict[str, Any]]:
    """When claims were first stated, by their identities; empty where nothing was noted."""
    try:
        return dict(json.loads((workdir / "stated.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def identity(claim: Claim) -> str:
    """Twelve hexadecimal digits of a hash of all that a claim says."""
    said = {"kind": claim.kind, **dataclasses.asdict(claim)}
    text = json.dumps(said, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
