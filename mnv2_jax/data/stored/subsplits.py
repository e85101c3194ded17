"""Splits and parts of splits, written as TFDS writes them: "train[:90%]", "train+validation"."""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Split:
    """Places of the records of a split.

    Attributes:
      paths: its files, in order.
      shard_lengths: how many records each of them holds. Called as TFDS calls it, which reads it.
    """

    paths: tuple[str, ...]
    shard_lengths: tuple[int, ...]

    @property
    def num_examples(self) -> int:
        """Return the number of records. Called as TFDS calls it, which reads it."""
        return sum(self.shard_lengths)


class Range(NamedTuple):
    """Records `start` to `stop` - 1 of the split `split`."""

    split: str
    start: int
    stop: int


class UnknownSplit(ValueError):
    """The data set has no such split."""


def ranges(text: str, splits: Mapping[str, Split]) -> list[Range]:
    """Return the records that `text` stands for, in order.

    Args:
      text: one split or part of a split, or several joined by "+"; see
        https://www.tensorflow.org/datasets/splits
      splits: those of the data set, by name.

    Raises:
      UnknownSplit: it names a split that there is not.
      ValueError: `text` does not stand for one record or more; the message says why, and does not
        repeat it.
    """
    import tensorflow_datasets as tfds  # Takes half a second to import.

    try:
        instruction = tfds.core.ReadInstruction.from_spec(text)
    except (ValueError, NotImplementedError):
        raise ValueError(
            "expected a split such as 'train', 'train[:90%]', 'train[500:]' or 'train+validation'"
        ) from None
    there = ", ".join(f"{name} ({info.num_examples} records)" for name, info in splits.items())
    for name in (part.partition("[")[0] for part in re.split(r"\s*\+\s*", text)):
        if name not in splits and name != "all":
            raise UnknownSplit(f"there is no split {name!r}; there are {there}")
    try:
        parts = instruction.to_absolute(splits)
    except ValueError:
        raise ValueError(f"it reaches beyond what is there: {there}") from None
    found = []
    for part in parts:
        count = splits[part.splitname].num_examples
        found.append(Range(part.splitname, part.from_ or 0, count if part.to is None else part.to))
    # TFDS reads some slices that end before they begin as others.
    if any(part.stop < part.start for part in found):
        raise ValueError("a slice of it ends before it begins")
    found = [part for part in found if part.stop > part.start]
    if not found:
        raise ValueError(f"there are no records in it; there are {there}")
    return found


def of_field(field: str, text: str, splits: Mapping[str, Split]) -> list[Range]:
    """Return the records that a field of the config stands for; see `ranges`.

    Args:
      field: such as "data.train".
      text: its value.
      splits: those of the data set, by name.

    Raises:
      ValueError: there are no such records; the message says how to carve them out, if that helps.
    """
    try:
        return ranges(text, splits)
    except UnknownSplit as error:
        close = difflib.get_close_matches(text.partition("[")[0], splits, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"to carve it: {carved(field, splits)}"
        raise ValueError(f"config.{field}={text!r}: {error}; {hint}") from None
    except ValueError as error:
        raise ValueError(f"config.{field}={text!r}: {error}") from None


def check_disjoint(wanted: Mapping[str, str], splits: Mapping[str, Split]) -> None:
    """Check that splits of a run share no records.

    Args:
      wanted: a split for each field.
      splits: those of the data set, by name.

    Raises:
      ValueError: two share records, or a split does not exist.
    """
    found = {field: of_field(field, text, splits) for field, text in wanted.items()}
    for one, other in itertools.combinations(wanted, 2):
        if count := shared(found[one], found[other]):
            raise ValueError(
                f"config.{one}={wanted[one]!r} and config.{other}={wanted[other]!r}: they share "
                f"{count} records; expected none, as in 'train[:90%]' and 'train[90%:]'"
            )


def shared(some: Sequence[Range], others: Sequence[Range]) -> int:
    """Return the number of records that are in both."""
    return sum(
        max(0, min(one.stop, other.stop) - max(one.start, other.start))
        for one in _union(some)
        for other in _union(others)
        if one.split == other.split
    )


def carved(field: str, splits: Mapping[str, Split]) -> str:
    """Flag that give every split of a run records of its own, where `field` has no split."""
    whole = "train" if "train" in splits else max(splits, key=lambda s: splits[s].num_examples)
    wanted = {"data.train": f"{whole}[:90%]", "data.validation": f"{whole}[90%:]"}
    if field == "data.test" and "validation" in splits:
        wanted["data.test"] = "validation"
    elif field == "data.test":
        wanted = {"data.train": f"{whole}[:80%]", "data.validation": f"{whole}[80%:90%]"}
        wanted["data.test"] = f"{whole}[90%:]"
    return " ".join(f"--config.{name}='{split}'" for name, split in wanted.items())


def _union(parts: Sequence[Range]) -> list[Range]:
    merged: list[Range] = []
    for part in sorted(parts):
        last = merged[-1] if merged else None
        if last and last.split == part.split and part.start <= last.stop:
            merged[-1] = last._replace(stop=max(last.stop, part.stop))
        else:
            merged.append(part)
    return merged
