"""Subsets of a data set's records, by class or by index, and unions."""

import bisect
import itertools
import re
from collections.abc import Sequence

import numpy as np

from mnv2_jax.data.image_files import Files
from mnv2_jax.data.images import Records
from mnv2_jax.data.stored.prepared import Record

_LABELS = re.compile("([0-9]{1,9})(?:-([0-9]{1,9}))?")


class Subset:
    """Some of all records, with labels of their own or those of the records.

    Attributes:
      labels: int32 `[count]`; None if they are those of the records.
    """

    def __init__(
        self, records: Records, indices: np.ndarray, labels: np.ndarray | None = None
    ) -> None:
        """Choose the records with these indices, integers `[count]`; nothing is read."""
        self._records = records
        self._indices = indices
        self.labels = labels

    @classmethod
    def of_classes(cls, records: Records, kept: Sequence[int]) -> "Subset":
        """Return the records of some classes.

        Args:
          records: records of all classes, whose labels are read once.
          kept: ascending labels to keep; they become 0, 1, 2 and so on.

        Raises:
          ValueError: a label is out of range.
          OSError: a record cannot be read.
        """
        before = labels(records)
        indices = np.flatnonzero(np.isin(before, kept))
        return cls(records, indices, np.searchsorted(kept, before[indices]).astype(np.int32))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Record:
        record = self._records[int(self._indices[index])]
        return record if self.labels is None else record._replace(label=int(self.labels[index]))


class Union:
    """All records of several splits, one split after the other."""

    def __init__(self, parts: Sequence[Records]) -> None:
        self._parts = parts
        self._ends = list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Record:
        part = bisect.bisect_right(self._ends, index)
        return self._parts[part][index - self._ends[part] + len(self._parts[part])]


def labels(records: Records) -> np.ndarray:
    """Return the labels of records, int32 `[count]`; labels stored with images take a full read.

    Raises:
      ValueError: a label is out of range.
      OSError: a record cannot be read.
    """
    if isinstance(records, (Subset, Files)) and records.labels is not None:
        return records.labels
    return np.array([records[index].label for index in range(len(records))], np.int32)


def kept_labels(classes: str, name: str, class_names: Sequence[str]) -> Sequence[int]:
    """Return the labels to keep, ascending.

    Args:
      classes: see `mnv2_jax.data.sources.Selection`.
      name: the data set's.
      class_names: names of all of its classes, by label.

    Raises:
      ValueError: there is no such class, or a single one is left.
    """
    count = len(class_names)
    if not classes:
        return range(count)
    field = f"config.transfer.classes={classes!r}"
    ranges = label_ranges(classes)
    if ranges[-1].stop > count:
        missing = next(max(part.start, count) for part in ranges if part.stop > count)
        raise ValueError(
            f"{field}: {name!r} has no class {missing}; expected labels from 0 "
            f"({class_names[0]!r}) to {count - 1} ({class_names[-1]!r})"
        )
    kept = [label for part in ranges for label in part]
    if len(kept) < 2:
        raise ValueError(
            f"{field}: it leaves one class, {class_names[kept[0]]!r}; expected two or more to tell "
            f"apart"
        )
    return kept


def label_ranges(text: str) -> tuple[range, ...]:
    """Parse labels such as "0-4" or "0,2,5-7" into ascending ranges; both ends are included.

    Raises:
      ValueError: `text` is something else, a range falls, or a label is given twice. The message
        does not repeat `text`.
    """
    ranges = []
    for part in text.split(","):
        match = _LABELS.fullmatch(part)
        if not match:
            raise ValueError("expected label numbers such as '0-4' or '0,2,5', or '' for all")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {part} falls; expected {last}-{first}")
        ranges.append(range(first, last + 1))
    ranges.sort(key=lambda part: part.start)
    for previous, following in itertools.pairwise(ranges):
        if following.start < previous.stop:
            raise ValueError(f"class {following.start} is given twice; expected each once")
    return tuple(ranges)
