"""Small pictures of the test images that networks mistake, for the report."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.analysis import mistakes, tables
from mnv2_jax.analysis.mistakes import Picture
from mnv2_jax.data import folders
from mnv2_jax.data.sources import Dataset

_SIDE = 72  # Pixels, at most.


def write(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Write pictures of the mistaken images that the report shows, unless they are there.

    Args:
      workdir: the experiment's folder, with results.csv.
      cohorts: all of its runs.

    Raises:
      ValueError: a record is damaged, or an image cannot be decoded.
      OSError: an image cannot be read, or the folder not be written to.
    """
    found = mistakes.read(workdir, tables.read_results(workdir))
    if found is None:
        return
    there = mistakes.read_pictures(workdir, found)
    if set(found.shown) <= set(there):
        return
    dataset = next(part.dataset for part in cohorts if found.run in part.ids)
    mistakes.write_pictures(
        workdir, found, {image: _picture(dataset, image) for image in found.shown}
    )


def _picture(dataset: Dataset, index: int) -> Picture:
    image = dataset.test[index].image
    picture = PIL.Image.fromarray(np.squeeze(image, axis=-1) if image.shape[-1] == 1 else image)
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    where = dataset.test.records[index].where if folders.is_path(dataset.name) else ""
    return Picture(base64.b64encode(file.getvalue()).decode(), where)
