"""Subsets of a data set's records, by class or by index."""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from mnv2_jax.data.image_files import Files
from mnv2_jax.data.images import Records
from mnv2_jax.data.stored.prepared import Record

_LABELS = re.compile("([0-9]{1,9})(?:-([0-9]{1,9}))?")


class Subset:
    """Some of all records, with labels of their own.

    Attributes:
      labels: int32 `[count]`.
    """

    def __init__(self, records: Records, indices: np.ndarray, labels: np.ndarray) -> None:
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
        return record._replace(label=int(self.labels[index]))


def labels(records: Records) -> np.ndarray:
    """Return the labels of records, int32 `[count]`; labels stored with images take a full read.

    Raises:
      ValueError: a label is out of range.
      OSError: a record cannot be read.
    """
    if isinstance(records, (Subset, Files)):
        return records.labels
    return np.array([records[index].label for index in range(len(records))], np.int32)


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
