"""The rows of a chart: means and intervals over seeds, and the runs that each stands for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import stats


class Rows:
    """Rows and sets of runs, as `Chart` has them; each set once."""

    def __init__(self) -> None:
        """Begins without rows."""
        self.rows: list[dict[str, Any]] = []
        self.sets: list[dict[str, Any]] = []
        self._numbers: dict[tuple[tuple[int, ...], int | None], int] = {}

    def set_of(self, runs: Sequence[int], of: int | None = None) -> int:
        """Return the number of a set of runs, positions in the results.

        Args:
          runs: of the set.
          of: the number of the set that it is a part of.
        """
        key = tuple(sorted(runs)), of
        if key not in self._numbers:
            self._numbers[key] = len(self.sets)
            self.sets.append({"runs": list(key[0])} | ({} if of is None else {"of": of}))
        return self._numbers[key]

    def add(self, part: str, **fields: Any) -> None:
        """Add a row of a part of the chart, such as `mean`; numbers that there are not are null."""
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in fields.items()
        }
        for name, value in plain.items():
            if isinstance(value, float) and not math.isfinite(value):
                plain[name] = None
        self.rows.append({"part": part, **plain})


def seeds_of(runs: pd.DataFrame) -> dict[int, list[int]]:
    """Return the positions of runs by their seeds."""
    found: dict[int, list[int]] = {}
    for position, seed in zip(runs.index.tolist(), runs["seed"].tolist(), strict=True):
        found.setdefault(int(seed), []).append(position)
    return dict(sorted(found.items()))


def interval(by_seed: Sequence[float], digits: int) -> dict[str, float]:
    """Return mean and ends of the 95 % t interval over seeds, as fields of a row."""
    found = stats.t_interval(np.array(by_seed, float), 0.95)
    return {
        "y": round(found.estimate, digits),
        "low": round(found.low, digits),
        "high": round(found.high, digits),
    }


def parts_of(runs: pd.DataFrame, hidden: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the parts of a mean's runs that readers can choose: a value of an axis it hides."""
    for axis in hidden:
        if runs[axis].nunique(dropna=False) > 1:
            yield from (part for _, part in runs.groupby(axis, dropna=False))


def divide(runs: pd.DataFrame, column: str | None) -> Mapping[Any, pd.DataFrame]:
    """Return runs by their values in a column; all under None without one."""
    return dict(iter(runs.groupby(column))) if column else {None: runs}
