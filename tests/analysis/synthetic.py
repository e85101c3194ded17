"""Synthetic results: the default grid, with plausible numbers, as a sweep would record it."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

EPOCHS = 5

RATE, DECAY = "extraction.train.learning_rate", "pretraining.train.weight_decay"


def make_frame(
    expansions: tuple[float, ...] = (1, 2, 4, 6, 8, 10),
    projections: tuple[str, ...] = ("linear", "relu6"),
    shortcuts: tuple[str, ...] = ("bottleneck", "none"),
    seeds: int = 6,
) -> pd.DataFrame:
    """One row per run of a grid, all done; linear beats ReLU6 by about 6 or 20 points."""
    rng = np.random.default_rng(0)
    grid = itertools.product(expansions, projections, shortcuts, range(seeds))
    rows = []
    for number, (expansion, projection, shortcut, seed) in enumerate(grid):
        loss = {("relu6", "bottleneck"): 0.06, ("relu6", "none"): 0.2, ("linear", "none"): 0.05}
        mean = 0.953 - 0.05 / expansion - loss.get((projection, shortcut), 0)
        accuracy = round(mean + 0.004 * (seed - 2.5) / 2 + rng.normal(0, 0.006), 4)
        rows.append(
            {
                "run_id": f"{number:04d}e99",  # read as a number it would be infinite
                "status": "done",
                "dataset": "digits",
                "block": "inverted_residual",
                "projection": projection,
                "shortcut": shortcut,
                "expansion": float(expansion),
                "width": 1.0,
                "seed": seed,
                "epochs": EPOCHS,
                "params": 900 + int(1_700 * expansion),
                "madds": 40_000 + int(61_000 * expansion),
                "train_accuracy": min(1.0, accuracy + 0.03),
                "validation_accuracy": accuracy,
                "test_accuracy": accuracy,
                "test_loss": round(1.1 * (1 - accuracy), 4),
                "seconds": round(4.2 + 0.3 * expansion, 2),
                "lanes": 12,
                "device": "cpu",
            }
        )
    return pd.DataFrame(rows)


def make_transfers() -> pd.DataFrame:
    """Four phases, of which the last is run in two modes of BatchNorm."""
    phases = [("pretraining", "all", 15), ("scratch", "all", 60), ("extraction", "inference", 30)]
    phases += [("finetuning", "inference", 30), ("finetuning", "trained", 30)]
    frame = make_frame(expansions=(6,), shortcuts=("bottleneck",), seeds=2)
    rows = [
        frame.assign(**{"transfer.phase": phase, "transfer.norm": norm, "epochs": epochs})
        for phase, norm, epochs in phases
    ]
    return pd.concat(rows, ignore_index=True)


def make_sections() -> pd.DataFrame:
    """The same with what sections set: two bases, and two recipes of a new classifier."""
    frame = make_transfers()
    parts = []
    for decay, rate in ((0.0, 0.05), (0.0, 0.1), (0.002, 0.05), (0.002, 0.1)):
        part = frame.assign(**{DECAY: decay, RATE: rate, "train.learning_rate": 0.01})
        bases = part["transfer.phase"] == "pretraining"
        first = bases | (part["transfer.phase"] == "scratch")
        part.loc[first, RATE] = float("nan")
        part.loc[part["transfer.phase"] == "scratch", DECAY] = float("nan")
        part.loc[part["transfer.phase"] == "extraction", "train.learning_rate"] = rate
        parts.append(part.assign(**{"train.weight_decay": part[DECAY].where(bases, 0.02)}))
    whole = pd.concat(parts, ignore_index=True).drop(columns="run_id").drop_duplicates()
    return whole.assign(run_id=[f"run{number}" for number in range(len(whole))])


def stop(frame: pd.DataFrame, index: int, status: str = "diverged") -> None:
    """Turns a run into one that did not finish, in place."""
    frame.loc[index, "status"] = status
    frame.loc[index, ["train_accuracy", "validation_accuracy", "test_accuracy"]] = np.nan
    frame.loc[index, "test_loss"] = np.nan


def write_workdir(workdir: Path, frame: pd.DataFrame) -> Path:
    """Writes `frame` with a curve and an environment per run, as a sweep leaves them."""
    workdir.mkdir(parents=True, exist_ok=True)
    frame.to_csv(workdir / "results.csv", index=False)
    for row in frame.to_dict("records"):
        folder = workdir / "runs" / row["run_id"]
        folder.mkdir(parents=True)
        lines = []
        for epoch in range(1, EPOCHS + 1):
            reached = None if row["status"] != "done" else row["test_accuracy"] * epoch / EPOCHS
            lines.append(
                {
                    "epoch": epoch,
                    "running_loss": 1 / epoch,
                    "running_accuracy": reached,
                    "train_loss": 1 / epoch,
                    "train_accuracy": reached,
                    "validation_loss": 1.2 / epoch,
                    "validation_accuracy": reached,
                    "learning_rate": 0.1,
                }
            )
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text)
        (folder / "config.json").write_text(json.dumps({"seed": row["seed"]}))
        versions = {"python": "3.11.2", "libraries": {"jax": "0.10.2"}, "devices": ["cpu:0"]}
        (folder / "environment.json").write_text(json.dumps(versions))
    return workdir
