"""The test images that networks mistake: which classes, and which images."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mnv2_jax import checksums, predictions, schema
from mnv2_jax.predictions import LEFT_OUT, Predictions

MOST_IMAGES = 24
"""The images that are shown, at most."""


class Picture(NamedTuple):
    """A small picture of a test image.

    Attributes:
      png: its PNG file, in base64.
      file: the image's file, if the data set is a folder of images.
    """

    png: str
    file: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Mistakes:
    """The predictions of the best run of an experiment, beside those of all runs.

    Attributes:
      run: id of the run with the highest validation accuracy; of equal ones the first.
      best: its predictions.
      runs: the number of runs, of a transfer those of its phase, that were tested on the same
        images.
      wrong: how many of these runs mistake each image, int `[images]`.
    """

    run: str
    best: Predictions
    runs: int
    wrong: np.ndarray

    @property
    def shown(self) -> list[int]:
        """The images to show: those that the best run mistakes, then those that most runs do."""
        mine = self.best.mistaken.tolist()
        others = np.argsort(-self.wrong, kind="stable").tolist()
        often = [image for image in others if self.wrong[image] and image not in set(mine)]
        return [*mine, *often][:MOST_IMAGES]


def read(workdir: Path, frame: pd.DataFrame) -> Mistakes | None:
    """Read the mistakes of an experiment; None if no run keeps its predictions.

    Bases of transfers, which are tested on other classes, do not count.

    Args:
      workdir: the experiment's folder.
      frame: one row per run, as `tables.read_results` returns it.
    """
    done = frame[(frame["status"] == "done") & frame["validation_accuracy"].notna()]
    if schema.PHASE in done:
        done = done[done[schema.PHASE] != schema.PRETRAINING]
    found = {run: predictions.read(workdir, run) for run in done["run_id"]}
    done = done[[found[run] is not None for run in done["run_id"]]]
    if done.empty:
        return None
    run = str(done.loc[done["validation_accuracy"].idxmax(), "run_id"])
    best = found[run]
    assert best is not None  # Others were dropped above.
    if schema.PHASE in done:
        phase = done.set_index("run_id")[schema.PHASE]
        done = done[phase.eq(phase[run]).to_numpy() | phase.isna().to_numpy()]
    others = (found[other] for other in done["run_id"])
    same = [each for each in others if each is not None and _are_of_same(each, best)]
    wrong = sum(
        ((each.predicted != each.labels) & (each.predicted != LEFT_OUT)).astype(int)
        for each in same
    )
    return Mistakes(run, best, len(same), np.asarray(wrong))


def write_pictures(workdir: Path, mistakes: Mistakes, pictures: Mapping[int, Picture]) -> None:
    """Write pictures of mistaken images.

    Args:
      workdir: the experiment's folder.
      mistakes: of its runs.
      pictures: by the position of the image in the test split.

    Raises:
      OSError: the folder cannot be written to.
    """
    entries = {str(image): picture._asdict() for image, picture in pictures.items()}
    content = {"split": _identity(mistakes), "pictures": entries}
    checksums.write_json(workdir / schema.MISTAKEN, content, indent=1)


def read_pictures(workdir: Path, mistakes: Mistakes) -> dict[int, Picture]:
    """Read pictures by position; none where they are damaged or of another test split."""
    try:
        content = checksums.read_json(workdir / schema.MISTAKEN)
        if content["split"] != _identity(mistakes):
            return {}
        return {
            int(image): Picture(str(entry["png"]), str(entry["file"]))
            for image, entry in content["pictures"].items()
        }
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def _are_of_same(one: Predictions, other: Predictions) -> bool:
    return one.class_names == other.class_names and one.has_images_of(other)


def _identity(mistakes: Mistakes) -> str:
    """Return a hash of the classes and labels of the test split, and of the seed that drew it."""
    best = mistakes.best
    names = "\n".join(best.class_names).encode()
    drawn = b"\0" + best.images.encode() if best.images else b""
    return checksums.sum_of(names + b"\0" + best.labels.astype("<i4").tobytes() + drawn)
