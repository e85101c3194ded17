"""Metrics of a network's logits. A new metric is one object in `METRICS`.

A metric gives numbers per image; the evaluation sums them over real images, exactly over masked
batches, devices and lanes, and `Metric.finish` makes one number of the sums. The functions use the
array API of their arguments, so that they run on NumPy and inside compiled programs.
"""

import dataclasses
import math
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
      label: its name in figures and the report, after the split: "accuracy".
      unit: as shown; "%" means that it is stored as a fraction of 1.
      digits: shown after the decimal point.
      finish: maps sums over images, float64 `[...]`, and the number of images to the metric.
      min_classes: data sets with fewer classes are refused.
      chance: maps the number of classes to the metric of a network that knows nothing; None if
        there is no such number.

    Raises:
      ValueError: the name has other characters.
    """

    name: str
    per_image: Callable[[Any, Any], Any]
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    digits: int = 3
    finish: Callable[[np.ndarray, float], float] = _mean
    min_classes: int = 2
    chance: Callable[[int], float] | None = None

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
    """Rank equal logits by label, the lowest first, as `argmax` does."""
    xp = logits.__array_namespace__()
    own = xp.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = xp.arange(logits.shape[-1])[None] < labels[:, None]
    ahead = (logits > own) | (earlier & (logits == own))
    rank = xp.sum(xp.astype(ahead, logits.dtype), axis=-1)
    return xp.astype((rank < 5) & (own == own)[:, 0], logits.dtype)


def _confidence_gaps(logits: Any, labels: Any) -> Any:
    """Return confidence minus correctness in the bin of the confidence: `[batch, bins]`."""
    xp = logits.__array_namespace__()
    exponentials = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    confidence = 1 / xp.sum(exponentials, axis=-1)  # The largest exponential is 1.
    bins = xp.clip(xp.ceil(confidence * _BINS) - 1, 0, _BINS - 1)
    one_hot = xp.astype(bins[:, None] == xp.arange(_BINS)[None], logits.dtype)
    return one_hot * (confidence - _accuracy(logits, labels))[:, None]


def _mean_of_gaps(sums: np.ndarray, count: float) -> float:
    return float(np.abs(sums).sum() / count)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _accuracy, "accuracy", "%", digits=1, chance=lambda n: 1 / n),
        Metric("loss", _cross_entropy, "loss", "nats", "lower", chance=math.log),
        Metric(
            *("top5_accuracy", _top5, "top-5 accuracy", "%"),
            digits=1,
            min_classes=6,
            chance=lambda n: 5 / n,
        ),
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
"""The metrics that every config has: epochs are compared by accuracy, and the loss shows
divergence."""


def find(name: str) -> Metric:
    """Return a metric by its name in `METRICS`, or from a user's file by `FILE.py:OBJECT`.

    Raises:
      ValueError: there is no such metric.
    """
    return user_code.find(
        "metrics",
        name,
        METRICS,
        lambda value: isinstance(value, Metric),
        "a mnv2_jax.metrics.Metric",
        "OBJECT",
    )


def names(text: str) -> tuple[str, ...]:
    """Split a config's field `metrics`, such as "accuracy,loss,top5_accuracy"."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def choose(names: Sequence[str], classes: int) -> tuple[Metric, ...]:
    """Return the metrics that a config names, `DEFAULT` first.

    Args:
      names: see `find`.
      classes: of the data set.

    Raises:
      ValueError: there is no such metric, two have one name, or there are too few classes.
    """
    chosen = [find(name) for name in dict.fromkeys((*DEFAULT, *names))]
    seen: set[str] = set()
    for metric in chosen:
        if metric.name in seen:
            raise ValueError(f"metrics={metric.name!r}: two have this name; expected one for each")
        seen.add(metric.name)
        if classes < metric.min_classes:
            raise ValueError(
                f"metrics={metric.name!r}: expected a data set of {metric.min_classes} classes or "
                f"more, not {classes}"
            )
    return tuple(chosen)
