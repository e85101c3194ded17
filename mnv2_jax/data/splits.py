"""Splits drawn anew for each seed, from all images of a data set's own splits."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mnv2_jax.data import rng, subsets
from mnv2_jax.data.sources import Dataset
from mnv2_jax.metrics import SPLITS

KINDS = ("fixed", "per_seed")
"""The values of `config.data.split`: the splits that the config names, the same in all runs; or
splits of their sizes, drawn for each seed from all of their images."""


def drawn(seed: int, labels: Sequence[np.ndarray], class_names: Sequence[str]) -> list[np.ndarray]:
    """Draw splits anew, each with as many images of each class as it had.

    An image's split follows from the seed, from the name of its class, and from its place among the
    images of the class: it stays the same where other classes are left out.

    Args:
      seed: see `rng.generator`.
      labels: those of each split, int32 `[count]`. All images are numbered through the splits.
      class_names: by label.

    Returns:
      For each split the ascending numbers of its images, int32 `[count]`.
    """
    counts = np.stack([np.bincount(own, minlength=len(class_names)) for own in labels])
    by_class = np.argsort(np.concatenate(labels), kind="stable")
    chosen: list[list[np.ndarray]] = [[] for _ in labels]
    for name, members, sizes in zip(
        class_names, np.split(by_class, np.cumsum(counts.sum(0))[:-1]), counts.T, strict=True
    ):
        shuffled = members[rng.order(seed, f"split of {name}", len(members))]
        for split, part in zip(chosen, np.split(shuffled, np.cumsum(sizes)[:-1]), strict=True):
            split.append(part)
    return [np.sort(np.concatenate(parts)).astype(np.int32) for parts in chosen]


def redrawn(dataset: Dataset, seed: int | None) -> Dataset:
    """Return a data set with splits that are drawn by a seed; None leaves it as it is.

    The first time, labels that are stored with images take a full read.

    Raises:
      ValueError: a label is out of range.
      OSError: a file cannot be read.
    """
    if seed is None:
        return dataset
    places = dict(zip(SPLITS, drawn(seed, dataset.labels, dataset.class_names), strict=True))
    everything = subsets.Union([getattr(dataset, split).records for split in SPLITS])
    labels = np.concatenate(dataset.labels)
    train, validation, test = (
        dataclasses.replace(
            dataset.train, records=subsets.Subset(everything, chosen, labels[chosen])
        )
        for chosen in places.values()
    )
    return dataclasses.replace(
        dataset, train=train, validation=validation, test=test, fixed=dataset, places=places
    )
