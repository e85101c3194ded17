"""The form of questions: what a data set can afford, and a grid with the claims it decides."""

import dataclasses

from ml_collections import ConfigDict

from mnv2_jax.ablation.grid import Grid, axis
from mnv2_jax.analysis.claims import Claim


@dataclasses.dataclass(frozen=True)
class Design:
    """Seeds and values of axes that are affordable on a data set.

    Attributes:
      config: fields that all runs share.
      seeds: number of seeds; below 6, a sign-flip test cannot reach p = 0.05.
      expansions: ascending expansions.
      widths: width multipliers of a small network and of a large one.
      shortcuts: shortcuts of the factorial.
    """

    config: ConfigDict
    seeds: int
    expansions: tuple[float, ...] = tuple(range(1, 11))
    widths: tuple[float, float] = (0.5, 1.0)
    shortcuts: tuple[str, ...] = ("bottleneck", "none", "expansion")

    @property
    def seed_axis(self) -> Grid:
        """Axis of the seeds, from 0."""
        return axis("seed", range(self.seeds))


@dataclasses.dataclass(frozen=True)
class Question:
    """A grid, and the claims that it decides."""

    grid: Grid
    claims: list[Claim]
