"""Splits and parts of splits in TFDS's notation: "train[:90%]", "train+validation"."""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Split:
    """Files and records of a split.

    TFDS reads `shard_lengths` and `num_examples`, hence their names.

    Attributes:
      paths: its files, in order.
      shard_lengths: number of records in each file.
    """

    paths: tuple[str, ...]
    shard_lengths: tuple[int, ...]

    @property
    def num_examples(self) -> int:
        """Number of records."""
        return sum(self.shard_lengths)


class Range(NamedTuple):
    """Records `start` to `stop` - 1 of the split `split`."""

    split: str
    start: int
    stop: int


class UnknownSplit(ValueError):
    """The data set has no such split."""


def ranges(text: str, splits: Mapping[str, Split]) -> list[Range]:
    """Parse a split, or parts of splits joined by "+", into ranges of records.

    Args:
      text: see https://www.tensorflow.org/datasets/splits
      splits: the data set's splits, by name.

    Raises:
      UnknownSplit: `text` names an unknown split.
      ValueError: `text` is no split or has no records. The message does not repeat it.
    """
    import tensorflow_datasets as tfds  # Takes half a second to import.

    try:
        instruction = tfds.core.ReadInstruction.from_spec(text)
    except (ValueError, NotImplementedError):
        raise ValueError(
            "expected a split such as 'train', 'train[:90%]', 'train[500:]' or 'train+validation'"
        ) from None
    available = ", ".join(f"{name} ({info.num_examples} records)" for name, info in splits.items())
    for name in (part.partition("[")[0] for part in re.split(r"\s*\+\s*", text)):
        if name not in splits and name != "all":
            raise UnknownSplit(f"there is no split {name!r}; there are {available}")
    try:
        parts = instruction.to_absolute(splits)
    except ValueError:
        raise ValueError(f"it reaches beyond the end of a split: {available}") from None
    found = []
    for part in parts:
        count = splits[part.splitname].num_examples
        found.append(Range(part.splitname, part.from_ or 0, count if part.to is None else part.to))
    # TFDS takes some slices that end before they begin for others.
    if any(part.stop < part.start for part in found):
        raise ValueError("a slice of it ends before it begins")
    found = [part for part in found if part.stop > part.start]
    if not found:
        raise ValueError(f"there are no records in it; there are {available}")
    return found


def of_field(field: str, text: str, splits: Mapping[str, Split]) -> list[Range]:
    """Parse the value `text` of a field of the config, such as "data.train"; see `ranges`.

    Raises:
      ValueError: there are no such records; if that helps, the message says how to carve them out
        of another split.
    """
    try:
        return ranges(text, splits)
    except UnknownSplit as error:
        close = difflib.get_close_matches(text.partition("[")[0], splits, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"to carve it: {carved(field, splits)}"
        raise ValueError(f"config.{field}={text!r}: {error}; {hint}") from None
    except ValueError as error:
        raise ValueError(f"config.{field}={text!r}: {error}") from None


def check_disjoint(texts: Mapping[str, str], splits: Mapping[str, Split]) -> None:
    """Check that splits of a run share no records.

    Args:
      texts: the splits by field of the config.
      splits: the data set's splits, by name.

    Raises:
      ValueError: two share records, or a split does not exist.
    """
    by_field = {field: of_field(field, text, splits) for field, text in texts.items()}
    for one, other in itertools.combinations(texts, 2):
        if count := shared(by_field[one], by_field[other]):
            raise ValueError(
                f"config.{one}={texts[one]!r} and config.{other}={texts[other]!r}: they share "
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
    """Return flags that carve the missing split of `field` out of another, without overlap."""
    largest = "train" if "train" in splits else max(splits, key=lambda s: splits[s].num_examples)
    if field == "data.test" and "validation" not in splits:
        shares = {"train": "[:80%]", "validation": "[80%:90%]", "test": "[90%:]"}
    else:
        shares = {"train": "[:90%]", "validation": "[90%:]"}
    texts = {f"data.{name}": f"{largest}{share}" for name, share in shares.items()}
    if field == "data.test":
        texts.setdefault("data.test", "validation")
    return " ".join(f"--config.{name}='{text}'" for name, text in texts.items())


def _union(parts: Sequence[Range]) -> list[Range]:
    merged: list[Range] = []
    for part in sorted(parts):
        last = merged[-1] if merged else None
        if last and last.split == part.split and part.start <= last.stop:
            merged[-1] = last._replace(stop=max(last.stop, part.stop))
        else:
            merged.append(part)
    return merged
