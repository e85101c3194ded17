"""Draws what a network is trained on, for people."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp

from mnv2_jax import atomic
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.data import pipeline, preview, stream

_IMAGES = 48


def draw_preview(path: Path, cohort: Cohort) -> None:
    """Draw images of the first batch that the first run of a cohort is trained on.

    Args:
      path: of the PNG file.
      cohort: whose images.

    Raises:
      ValueError: an image cannot be decoded.
      OSError: the file cannot be written, or a data set not read.
    """
    program, dataset = cohort.program, cohort.dataset
    size = program.recipe.batch_size
    rows = range(min(size, _IMAGES))
    seed = int(cohort.runs[0].values.data_seed)
    batch = stream.TrainBatches(
        dataset.train, seed, size, 1, rows, program.augmentation, dataset.chosen(seed)
    )[0]
    places = jnp.arange(len(rows))
    images, labels, _ = pipeline.train_batch(
        jax.random.key(seed),
        jnp.int32(0),
        places,
        places,
        (jnp.asarray(batch.images), jnp.asarray(batch.labels)),
        program.augmentation,
        program.scaling,
        program.classes,
    )
    names = dataset.class_names
    captions = [names[label] for label in labels.tolist()]
    file = io.BytesIO()
    preview.contact_sheet(jax.device_get(images), captions, program.scaling).save(file, "png")
    atomic.write_bytes(path, file.getvalue())
