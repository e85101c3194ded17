"""Metrics: what is measured of a network's logits. A new metric is one object in `METRICS`.

A metric gives numbers per image; the evaluation sums them over the images that count, exactly over
masked batches, devices and lanes, and `Metric.finish` makes one number of the sums. Functions use
the array API of what they are given, so that they run on NumPy and inside compiled programs.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from mnv2_jax import user_code

SPLITS = ("train", "validation", "test")
"""The splits that every metric is measured on after the last epoch."""

_BINS = 15


def _mean(sums: np.ndarray, count: float) -> float:
    return float(sums / count)


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      name: lower case with underscores; names columns, such as `test_NAME`.
      per_image: maps logits `[batch, classes]` and labels `[batch]` to numbers `[batch, ...]`.
      label: what figures and the report call it, after the split: "accuracy".
      unit: "%" of what is stored as a fraction of 1 and shown in per cent; else as shown.
      better: which way is better.
      digits: after the decimal point where it is shown.
      finish: makes the metric of sums over images, float64 `[...]`, and the number of images.
      min_classes: fewer classes make it meaningless, and are refused.

    Raises:
      ValueError: the name is no such name.
    """

    name: str
    per_image: Callable[[Any, Any], Any]
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    digits: int = 3
    finish: Callable[[np.ndarray, float], float] = _mean
    min_classes: int = 2

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name={self.name!r}: expected lower case letters, digits and _")

    def column(self, split: str) -> str:
        """Return the column of results.csv that holds the metric of a split."""
        return f"{split}_{self.name}"


def _accuracy(logits: Any, labels: Any) -> Any:
    xp = logits.__array_namespace__()
    return xp.astype(xp.argmax(logits, axis=-1) == labels, logits.dtype)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    xp = logits.__array_namespace__()
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    own = xp.take_along_axis(shifted, labels[:, None], axis=-1)[:, 0]
    return xp.log(xp.sum(xp.exp(shifted), axis=-1)) - own


def _top5(logits: Any, labels: Any) -> Any:
    """Of equal logits that of the lower label comes first, as in `argmax`."""
    xp = logits.__array_namespace__()
    own = xp.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = xp.arange(logits.shape[-1])[None] < labels[:, None]
    ahead = (logits > own) | (earlier & (logits == own))
    rank = xp.sum(xp.astype(ahead, logits.dtype), axis=-1)
    return xp.astype((rank < 5) & (own == own)[:, 0], logits.dtype)


def _confidence_gaps(logits: Any, labels: Any) -> Any:
    """By bin of confidence, what it exceeds the hits by: `[batch, bins]`."""
    xp = logits.__array_namespace__()
    exponentials = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    confidence = 1 / xp.sum(exponentials, axis=-1)  # The largest exponential is 1.
    place = xp.clip(xp.ceil(confidence * _BINS) - 1, 0, _BINS - 1)
    chosen = xp.astype(place[:, None] == xp.arange(_BINS)[None], logits.dtype)
    return chosen * (confidence - _accuracy(logits, labels))[:, None]


def _mean_of_gaps(sums: np.ndarray, count: float) -> float:
    return float(np.abs(sums).sum() / count)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _accuracy, "accuracy", "%", digits=1),
        Metric("loss", _cross_entropy, "loss", "nats", "lower"),
        Metric("top5_accuracy", _top5, "top-5 accuracy", "%", digits=1, min_classes=6),
        # Guo et al. 2017, arXiv 1706.04599, equation 3, with 15 bins of equal width.
        Metric(
            "calibration_error",
            _confidence_gaps,
            "calibration error",
            "%",
            "lower",
            digits=1,
            finish=_mean_of_gaps,
        ),
    )
}
"""The metrics by name."""

DEFAULT = ("accuracy", "loss")
"""The metrics of a config that names none; every config's metrics include them, since epochs
are compared by accuracy, and divergence is found by the loss."""


def find(name: str) -> Metric:
    """Return a metric by its name in `METRICS`, or from a file of the user's own.

    Args:
      name: a name, or `FILE.py:OBJECT`.

    Raises:
      ValueError: there is none.
    """
    return user_code.find(
        "metrics",
        name,
        METRICS,
        lambda one: isinstance(one, Metric),
        "a mnv2_jax.metrics.Metric",
        "OBJECT",
    )


def names(text: str) -> tuple[str, ...]:
    """Return what a config's field `metrics` names, such as "accuracy,loss,top5_accuracy"."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def choose(names: Sequence[str], classes: int) -> tuple[Metric, ...]:
    """Return the metrics that a config names, `DEFAULT` first.

    Args:
      names: see `find`.
      classes: of the data set.

    Raises:
      ValueError: there is no such metric, two have one name, or there are too few classes.
    """
    found = [find(name) for name in dict.fromkeys((*DEFAULT, *names))]
    known: set[str] = set()
    for metric in found:
        if metric.name in known:
            raise ValueError(f"metrics={metric.name!r}: two have this name; expected one for each")
        known.add(metric.name)
        if classes < metric.min_classes:
            raise ValueError(
                f"metrics={metric.name!r}: expected a data set of {metric.min_classes} classes or "
                f"more, not {classes}"
            )
    return tuple(found)
