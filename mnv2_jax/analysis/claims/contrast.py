"""Claims that a weighted sum of means is above zero."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim
from mnv2_jax.analysis.claims.checks import check_margin, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.neutral import added
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class WeightedContrast(Claim):
    """A weighted sum of the means of some cells is better than 0. Made by `contrast`."""

    cells: tuple[Mapping[str, Scalar], ...]
    weights: tuple[float, ...]
    negligible: float = added(0.0, "0.3")

    kind = "contrast"
    estimate = "weighted difference"
    reading = (
        "Contrast",
        "A weighted sum of means, whose weights add up to 0: by how much one setting is better "
        "than a mixture of others, such as half of the way between two. Decided as “one is better” "
        "is.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        cells = tuple({name: canonical(x) for name, x in cell.items()} for cell in self.cells)
        object.__setattr__(self, "cells", cells)
        _check(self.name, cells, self.weights)
        check_where(self.name, self.where, *cells[0])
        check_margin(self.name, self.negligible, self.metric, "negligible", or_none=True)

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """See `Claim`."""
        return self.cells

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        return decide_sign(runs.compare(self.differences(runs)), self.negligible)

    def differences(self, runs: Runs) -> pd.DataFrame:
        """See `Claim`."""
        return runs.weighted(self.cells, self.weights)


def contrast(
    name: str,
    source: str,
    statement: str,
    weights: Sequence[tuple[float, Mapping[str, Scalar]]],
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    diverged: Literal["chance", "dropped"] = "chance",
    negligible: float = 0.0,
) -> WeightedContrast:
    """Claim that a weighted sum of mean `metric` is above 0; below, where less is better.

    The sum is taken within a seed, over runs that agree in all other fields; it is decided as the
    difference of `greater`. This claims that slope 0.1 wins back more than half of what slope 0
    loses against slope 1:

        contrast(
            name="half",
            source="this workbench",
            statement="A slope of 0.1 wins back over half of the loss",
            weights=[
                (1.0, {"model.projection_slope": 0.1}),
                (-0.5, {"model.projection_slope": 0.0}),
                (-0.5, {"model.projection_slope": 1.0}),
            ],
        )

    `weights` are pairs of a weight and a cell, values of fields that one or more runs of a seed
    have; they add up to 0, and all cells name the same fields. For `negligible` see `greater`, for
    the other arguments see `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: weights that do not add up to 0, or are 0; cells that are equal or name different
        fields, or a field that `where` restricts.
    """
    return WeightedContrast(
        name=name,
        source=source,
        statement=statement,
        where=where,
        metric=metric,
        diverged=diverged,
        negligible=negligible,
        cells=tuple(cell for _, cell in weights),
        weights=tuple(float(weight) for weight, _ in weights),
    )


def _check(name: str, cells: Sequence[Mapping[str, Scalar]], weights: Sequence[float]) -> None:
    if len(cells) < 2 or any(cell in cells[:place] for place, cell in enumerate(cells)):
        raise ValueError(f"claim {name!r}: cells {cells!r}; must be two or more, all different")
    if any(cell.keys() != cells[0].keys() for cell in cells):
        raise ValueError(f"claim {name!r}: cells {cells!r}; must name the same fields")
    sound = len(weights) == len(cells) and all(map(math.isfinite, weights)) and all(weights)
    if not (sound and math.isclose(math.fsum(weights), 0.0, abs_tol=1e-9)):
        raise ValueError(
            f"claim {name!r}: weights {weights!r}; must be a number other than 0 for each cell, "
            f"and add up to 0"
        )
