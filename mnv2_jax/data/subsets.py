"""Some of a data set's records: those of some classes, or of some places."""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from mnv2_jax.data.image_files import Files
from mnv2_jax.data.images import Records
from mnv2_jax.data.stored.prepared import Record

_LABELS = re.compile("([0-9]{1,9})(?:-([0-9]{1,9}))?")


class Subset:
    """Some records, with labels of their own.

    Attributes:
      labels: int32 `[count]`.
    """

    def __init__(self, records: Records, places: np.ndarray, labels: np.ndarray) -> None:
        """Choose records; nothing is read.

        Args:
          records: all of them.
          places: of those that are chosen, whole numbers `[count]`.
          labels: theirs, int32 `[count]`.
        """
        self._records = records
        self._places = places
        self.labels = labels

    @classmethod
    def of_classes(cls, records: Records, kept: Sequence[int]) -> "Subset":
        """Return the records of some classes, for which every label is read once; see `labels`.

        Args:
          records: of all classes.
          kept: the labels to keep, ascending; they become 0, 1, 2 and so on.

        Raises:
          ValueError: a label is out of range.
          OSError: a record cannot be read.
        """
        before = labels(records)
        places = np.flatnonzero(np.isin(before, kept))
        return cls(records, places, np.searchsorted(kept, before[places]).astype(np.int32))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Record:
        """Record number `index`, counted from 0; see `mnv2_jax.data.stored.prepared.Records`."""
        record = self._records[int(self._places[index])]
        return record._replace(label=int(self.labels[index]))


def labels(records: Records) -> np.ndarray:
    """Return the labels of records, int32 `[count]`; stored with the images, all is read.

    Raises:
      ValueError: a label is out of range.
      OSError: a record cannot be read.
    """
    if isinstance(records, (Subset, Files)):
        return records.labels
    return np.array([records[index].label for index in range(len(records))], np.int32)


def label_ranges(text: str) -> tuple[range, ...]:
    """Return the labels that `text` stands for, ascending, in ranges that share none.

    Args:
      text: numbers, and ranges with both their ends, such as "0-4" or "0,2,5-7".

    Raises:
      ValueError: it is something else, a range falls, or a label is given twice; the message says
        why, and does not repeat all of `text`.
    """
    found = []
    for part in text.split(","):
        match = _LABELS.fullmatch(part)
        if not match:
            raise ValueError("expected label numbers such as '0-4' or '0,2,5', or '' for all")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {part} falls; expected {last}-{first}")
        found.append(range(first, last + 1))
    found.sort(key=lambda part: part.start)
    for one, other in itertools.pairwise(found):
        if other.start < one.stop:
            raise ValueError(f"class {other.start} is given twice; expected each once")
    return tuple(found)
