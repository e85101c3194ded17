"""`plan.json`: what there is to train, for those who look at an experiment's folder."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import checksums
from mnv2_jax.ablation.cohort import Cohort


def write(workdir: Path, name: str, command: str, cohorts: Sequence[Cohort]) -> None:
    """Write `plan.json`: what there is to train, for those who look at the folder meanwhile."""
    plan = {
        "name": name,
        "command": command,
        "cohorts": [
            {"label": str(cohort), "runs": [run.id for run in cohort.runs]} for cohort in cohorts
        ],
    }
    keep(workdir, plan)


def keep(workdir: Path, plan: Mapping[str, Any]) -> None:
    """Write a plan as `read` gives it."""
    checksums.write_json(workdir / "plan.json", plan)


def read(workdir: Path) -> dict[str, Any] | None:
    """Read what `write` wrote; None where there is none.

    Raises:
      DamagedError: it is damaged.
    """
    path = workdir / "plan.json"
    try:
        plan = checksums.read_json(path)
        cohorts = [{"label": one["label"], "runs": list(one["runs"])} for one in plan["cohorts"]]
        texts = [plan["name"], plan["command"], *(one["label"] for one in cohorts)]
        names = [run for one in cohorts for run in one["runs"]]
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
    return {"name": plan["name"], "command": plan["command"], "cohorts": cohorts}
