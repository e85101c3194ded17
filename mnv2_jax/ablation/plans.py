"""`plan.json`, the runs of an experiment, for commands that read its folder."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import checksums
from mnv2_jax.ablation.cohort import Cohort


def write(
    workdir: Path, name: str, command: str, cohorts: Sequence[Cohort], title: str = ""
) -> None:
    """Write `plan.json` for cohorts."""
    parts = [{"label": str(part), "runs": [run.id for run in part.runs]} for part in cohorts]
    keep(workdir, {"name": name, "title": title, "command": command, "cohorts": parts})


def keep(workdir: Path, plan: Mapping[str, Any]) -> None:
    """Write a plan that `read` returned."""
    checksums.write_json(workdir / "plan.json", plan)


def read(workdir: Path) -> dict[str, Any] | None:
    """Read `plan.json`: name, title, command and cohorts; None if there is no such file.

    In a plan of an earlier version the title is empty.

    Raises:
      DamagedError: it is damaged.
    """
    path = workdir / "plan.json"
    try:
        plan = checksums.read_json(path)
        cohorts = [{"label": part["label"], "runs": list(part["runs"])} for part in plan["cohorts"]]
        title = plan.get("title", "")
        texts = [plan["name"], title, plan["command"], *(part["label"] for part in cohorts)]
        names = [run for part in cohorts for run in part["runs"]]
        if not all(isinstance(text, str) for text in (*texts, *names)):
            raise TypeError("names are texts")
        if any(name[:1] in ("", ".") or "/" in name for name in names):
            raise ValueError("a run's name leads elsewhere")
        shlex.split(plan["command"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError):
        raise checksums.DamagedError(
            f"{path}: it is damaged; run the experiment's command again, which writes it anew"
        ) from None
    return {"name": plan["name"], "title": title, "command": plan["command"], "cohorts": cohorts}
