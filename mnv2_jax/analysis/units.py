"""The units of metrics, as claims, figures and the report write their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mnv2_jax import schema
from mnv2_jax.metrics import SPLITS
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import is_of_side_table


@dataclass(frozen=True)
class Measure:
    """The name of a metric, without the split, and the format of its values and differences.

    The unit is "%" if values are stored as fractions of 1. `digits` are shown after the point.
    """

    label: str
    unit: str = ""
    digits: int = 3
    better: Literal["higher", "lower"] = "higher"

    @property
    def is_fraction(self) -> bool:
        """True if values are stored as fractions of 1 and shown in per cent."""
        return self.unit == "%"

    @property
    def factor(self) -> float:
        """The factor from stored to shown values."""
        return 100 if self.is_fraction else 1

    @property
    def sign(self) -> Literal[1, -1]:
        """1 if higher is better, else -1."""
        return 1 if self.better == "higher" else -1

    @property
    def of_differences(self) -> str:
        """The unit of differences, as tables write it: "pt" is a percentage point."""
        return "pt" if self.is_fraction else self.unit

    @property
    def in_sentences(self) -> str:
        """The unit of differences, as sentences write it."""
        return "points" if self.is_fraction else self.unit

    def signed(self, difference: float) -> str:
        """Write a difference without its unit, such as `+1.3`."""
        return f"{self.factor * difference:+.{self.digits}f}"

    def size(self, difference: float, more_digits: int = 0) -> str:
        """Write a difference, such as a margin, without sign and unit."""
        return f"{self.factor * difference:.{self.digits + more_digits}f}"

    def value(self, value: float) -> str:
        """Write a value with its unit, such as `87.3 %`."""
        return with_unit(self.size(value), self.unit)


def with_unit(number: str, unit: str) -> str:
    """Write a number and its unit, which may be empty."""
    return f"{number} {unit}" if unit else number


def of_differences(measures: Sequence[Measure]) -> str:
    """Return the title of an axis of differences in metrics of one unit."""
    labels = {measure.label for measure in measures}
    what = f" in {within(labels.pop())}" if len(labels) == 1 else ""
    unit = "percentage points" if measures[0].is_fraction else measures[0].unit
    return f"Difference{what}{f' ({unit})' if unit else ''}"


def within(label: str) -> str:
    """Return a label as it stands within a sentence: no capital letter, but of abbreviations."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def measure_of(column: Column) -> Measure:
    """Return the measure of a column such as `test_accuracy`."""
    _, _, label = column.label.partition(" ")
    splits = tuple(f"{name}_" for name in SPLITS)
    is_of_split = column.name.startswith(splits) and not is_of_side_table(column.name)
    return Measure(
        label if is_of_split else column.label, column.unit, column.digits, column.better
    )


def measure_of_row(row: Mapping[str, Any]) -> Measure:
    """Return the measure of a decided claim; rows of earlier versions name the column alone."""
    if "measure" in row:
        return Measure(**row["measure"])
    return measure_of(schema.column(row["metric"]))
