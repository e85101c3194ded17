"""The units of metrics: how claims, figures and the report write their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mnv2_jax import schema
from mnv2_jax.metrics import SPLITS
from mnv2_jax.schema import Column


@dataclass(frozen=True)
class Measure:
    """The name of a metric, and the way its values and their differences are written.

    Attributes:
      label: of the metric, without the split: "accuracy".
      unit: "%" of what is stored as a fraction of 1, else the unit of what is stored.
      digits: after the decimal point.
      better: which way is better.
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
        """The factor that shown values have over stored ones."""
        return 100 if self.is_fraction else 1

    @property
    def sign(self) -> Literal[1, -1]:
        """1 where more is better, -1 where less is."""
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
    """Write a unit, if there is one, behind a number."""
    return f"{number} {unit}" if unit else number


def of_differences(measures: Sequence[Measure]) -> str:
    """Name an axis of differences in metrics of one unit."""
    labels = {measure.label for measure in measures}
    what = f" in {labels.pop()}" if len(labels) == 1 else ""
    unit = "percentage points" if measures[0].is_fraction else measures[0].unit
    return f"Difference{what}{f' ({unit})' if unit else ''}"


def measure_of(column: Column) -> Measure:
    """Return the measure of a column such as `test_accuracy`."""
    _, _, label = column.label.partition(" ")
    is_of_split = column.name.startswith(tuple(f"{name}_" for name in SPLITS))
    return Measure(
        label if is_of_split else column.label, column.unit, column.digits, column.better
    )


def measure_of_row(row: Mapping[str, Any]) -> Measure:
    """Return the measure of a decided claim; rows of earlier versions name the column alone."""
    return (
        Measure(**row["measure"]) if "measure" in row else measure_of(schema.column(row["metric"]))
    )


def as_row(measure: Measure) -> dict[str, Any]:
    """Return a measure as rows of decided claims hold it."""
    return asdict(measure)
