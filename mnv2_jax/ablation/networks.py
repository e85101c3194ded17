"""Finds the networks that runs of an experiment keep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import checksums, schema
from mnv2_jax.ablation import plans, records
from mnv2_jax.ablation.cohort import Cohort

_SMALL = 200e6
"""Bytes in all up to which networks are kept by default."""


def are_kept(wish: bool | None, cohorts: Sequence[Cohort]) -> tuple[bool, str]:
    """Decide whether the networks of runs are kept.

    Args:
      wish: None keeps them if all together take less than 200 MB.
      cohorts: all runs of the experiment.

    Returns:
      The decision, and a line that explains it.
    """
    size = sum(4 * cohort.cost.params_with_statistics * len(cohort.runs) for cohort in cohorts)
    kept = size < _SMALL if wish is None else wish
    how = "kept with their runs" if kept else "not kept; --keep_networks keeps them"
    return kept, f"Networks: {how}, {size / 1e6:,.1f} MB in all"


def find(path: Path) -> Path:
    """Return the file of a trained network, given the file, its run or an experiment.

    Raises:
      ValueError: there is none; the message is one line.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(
            f"{path}: no such file or folder; expected a {schema.NETWORK}, or the folder of a run "
            f"or an experiment that has it"
        )
    if (path / schema.NETWORK).is_file():
        return path / schema.NETWORK
    folder = best(path)
    if folder is None:
        raise ValueError(f"{path}: {_why_none(of_runs(path))}")
    return folder / schema.NETWORK


def best(workdir: Path) -> Path | None:
    """Return the folder of the run with a network that has the highest validation accuracy.

    Of equal ones it is the first in the plan. Ignores runs that are not in the plan, which may be
    of other images, and bases of a transfer, which are of other classes.

    Raises:
      ValueError: plan.json is damaged.
    """
    accuracies = {
        folder: _validation_accuracy(workdir, folder)
        for folder in of_runs(workdir)
        if (folder / schema.NETWORK).is_file()
    }
    kept = {folder: share for folder, share in accuracies.items() if share is not None}
    return max(kept, key=kept.__getitem__) if kept else None


def of_runs(workdir: Path) -> list[Path]:
    """Return the folders of an experiment's planned runs in the plan's order, or all by name."""
    folders = {folder.name: folder for folder in sorted(workdir.glob("runs/[!.]*"))}
    plan = plans.read(workdir)
    if plan is None:
        return list(folders.values())
    planned = (run for cohort in plan["cohorts"] for run in cohort["runs"])
    return [folders[run] for run in planned if run in folders]


def _why_none(runs: list[Path]) -> str:
    kept = "of an experiment that keeps its networks, as of experiments.train and finetune"
    if not runs:
        return f"no runs are there; expected the folder {kept}"
    if not any((folder / schema.NETWORK).is_file() for folder in runs):
        return f"none of {len(runs)} runs there has a {schema.NETWORK}; expected the folder {kept}"
    return (
        f"none of {len(runs)} runs there has both a {schema.NETWORK} and a validation accuracy, as "
        f"of runs that diverged, or were to be a base; expected the folder of a run"
    )


def _validation_accuracy(workdir: Path, folder: Path) -> Any:
    row = records.read(workdir, folder.name, ("config.json", "result.json"))
    if row is None:
        return None
    transfer = checksums.read_json(folder / "config.json").get("transfer")
    is_base = isinstance(transfer, dict) and transfer.get("phase") == schema.PRETRAINING
    return None if is_base else row.get("validation_accuracy")
