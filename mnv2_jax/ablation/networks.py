"""The networks that runs of an experiment have left."""

import json
from pathlib import Path
from typing import Any

from mnv2_jax.ablation import records
from mnv2_jax.nn import trained


def find(path: Path) -> Path:
    """The file of a trained network.

    Args:
      path: the file itself, the folder of its run, or that of an experiment, of which the best is
        taken, see `best`.

    Raises:
      ValueError: there is none; one line that says what there is.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(
            f"{path}: no such file or folder; expected a {trained.FILE}, or the folder of a run or "
            f"an experiment that has it"
        )
    if (path / trained.FILE).is_file():
        return path / trained.FILE
    found = best(path)
    if found is None:
        runs = len(list(path.glob("runs/[!.]*")))
        have = f"none of {runs} runs there has a {trained.FILE}" if runs else "no runs are there"
        raise ValueError(
            f"{path}: {have}; expected the folder of an experiment that keeps its networks, such "
            f"as experiments.train and experiments.finetune"
        )
    return found / trained.FILE


def best(workdir: Path) -> Path | None:
    """The folder of the run with the highest validation accuracy among those with a network.

    Bases of a transfer do not count, since they tell other classes apart.
    """
    accuracies = {
        folder: _validation_accuracy(workdir, folder)
        for folder in sorted(workdir.glob("runs/[!.]*"))
        if (folder / trained.FILE).is_file()
    }
    kept = {folder: share for folder, share in accuracies.items() if share is not None}
    return max(kept, key=kept.__getitem__) if kept else None


def _validation_accuracy(workdir: Path, folder: Path) -> Any:
    row = records.read(workdir, folder.name)
    try:
        config = json.loads((folder / "config.json").read_text())
        is_base = config.get("transfer", {}).get("phase") == "pretraining"
    except (OSError, ValueError, AttributeError):
        return None
    return None if row is None or is_base else row.get("validation_accuracy")
