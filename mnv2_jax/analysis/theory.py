"""The paper's theory of ReLU as simulations: Theorem 1, and the spiral of Figure 1.

Sandler et al. 2018, arXiv 1801.04381: Appendix A, section 3.2. `B` maps n inputs to m outputs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import means, verdicts
from mnv2_jax.analysis.claims import Claim, within_of

COLLAPSED = "theory/collapsed"
"""The column of the measured fraction, named as a measure of a side table."""

MARGIN = 0.05
"""Largest error that counts as none, as a part of the predicted rarer fraction: that of collapsed
or, where almost all collapse, of recovered inputs."""

RARE = 0.01
"""Fractions below it are measured by importance sampling: plain samples hardly contain one."""

_NUMBERS_AT_ONCE = 2**22  # Of B's elements: 32 MB.


@dataclass(frozen=True)
class Case:
    """A random layer of Theorem 1 with `inputs` (n) and `outputs` (m)."""

    inputs: int
    outputs: int

    @property
    def predicted(self) -> float:
        """The fraction of inputs that ReLU(Bx) collapses, by Theorem 1.

        An input is recovered if n or more of the m rows are active. Each is with probability 1/2,
        so that 1 - N / 2^m = sum over k < n of C(m, k) / 2^m collapse. Appendix A calls N / 2^m
        the fraction of collapsed space; by its theorem that is the fraction not collapsed.
        """
        few = sum(math.comb(self.outputs, k) for k in range(min(self.inputs, self.outputs + 1)))
        return few / 2**self.outputs

    @property
    def counts_recovered(self) -> bool:
        """True if recovered inputs are the rarer ones, which are then counted."""
        return self.predicted > 0.5

    @property
    def rarer(self) -> float:
        """The predicted fraction of collapsed or recovered inputs, whichever is smaller."""
        return min(self.predicted, 1 - self.predicted)

    @property
    def chance(self) -> float:
        """The chance that a row is active while sampling.

        It is 1/2 for plain sampling. For rare fractions about n - 1/2 rows are active on average,
        where inputs begin to be recovered.
        """
        return 0.5 if self.rarer >= RARE else (self.inputs - 0.5) / self.outputs

    @property
    def margin(self) -> float:
        """The margin of the claim; see `MARGIN`."""
        return MARGIN * self.rarer

    @property
    def claim(self) -> Claim:
        """The claim that the measured fraction is the predicted one."""
        return within_of(
            f"collapsed_{self.inputs}_{self.outputs}",
            "Appendix A, Theorem 1",
            f"ReLU(Bx) collapses {self.predicted:.3g} of inputs (n={self.inputs}, "
            f"m={self.outputs})",
            value=self.predicted,
            margin=self.margin,
            where={"inputs": self.inputs, "outputs": self.outputs},
            metric=COLLAPSED,
        )


CASES = (
    *(Case(2, outputs) for outputs in (2, 3, 5, 15, 30)),
    *(Case(16, 16 * expansion) for expansion in (1, 2, 3, 6)),
)
"""The dimensions of Figure 1, and 16 channels with expansions 1, 2, 3 and 6."""


def is_recoverable(rows: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return whether x is the only solution of y = ReLU(Bx), by Lemma 2.

    It is if the rows of B that are active at x have rank n. The rank is computed, not inferred from
    their number.

    Args:
      rows: B, `[samples, m, n]`.
      active: whether a row's product with x is above 0, `[samples, m]`.
    """
    inputs = rows.shape[-1]
    result = active.sum(-1) >= inputs  # Fewer rows have a lower rank.
    result[result] = np.linalg.matrix_rank(rows[result] * active[result, :, None]) == inputs
    return result


def collapsed(
    rng: np.random.Generator, case: Case, samples: int, chance: float | None = None
) -> float:
    """Measure the fraction of inputs that ReLU(Bx) collapses, by drawing B and x.

    B and x are Gaussian; by the symmetry of B's law the fraction does not depend on x.

    Rare fractions are measured by importance sampling. The law of B is symmetric in the sign of
    each row (p(DB) = p(B), the theorem's own premise). So a row may be negated or kept such that it
    is active with another chance c: with B drawn so, the mean of the weights (1/2) / c for each
    active row and (1/2) / (1 - c) for each other one, multiplied, is that of plain sampling. The
    formula of the theorem chooses c, which affects the scatter only, and nothing else.

    Args:
      rng: source of random numbers.
      case: dimensions.
      samples: number of pairs of B and x.
      chance: c; by default that of `case`.
    """
    c = case.chance if chance is None else chance
    total, shape = 0.0, (case.outputs, case.inputs)
    at_once = max(1, _NUMBERS_AT_ONCE // math.prod(shape))
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        rows, x = rng.normal(size=(count, *shape)), rng.normal(size=(count, case.inputs))
        if c != 0.5:
            wanted = rng.random((count, case.outputs)) < c
            kept = (np.einsum("dmn,dn->dm", rows, x) > 0) == wanted
            rows *= np.where(kept, 1, -1)[..., None]
        active = np.einsum("dmn,dn->dm", rows, x) > 0
        number = active.sum(-1)
        weights = (0.5 / c) ** number * (0.5 / (1 - c)) ** (case.outputs - number)
        total += float(weights @ (is_recoverable(rows, active) == case.counts_recovered))
    return 1 - total / samples if case.counts_recovered else total / samples


def measure_collapse(
    seeds: int,
    samples: int,
    cases: Sequence[Case] = CASES,
    count: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """Return the measured fraction of each case and seed, a row as of a run.

    Args:
      seeds: number of seeds, from 0; each case has random numbers of its own.
      samples: of each seed and case.
      cases: random layers.
      count: is called with the number of rows that are done.
    """
    rows = []
    for case in cases:
        for seed in range(seeds):
            rng = np.random.default_rng([seed, case.inputs, case.outputs])
            run = {"inputs": case.inputs, "outputs": case.outputs, "seed": seed, "status": "done"}
            rows.append(run | {COLLAPSED: collapsed(rng, case, samples)})
            count(len(rows))
    return pd.DataFrame(rows)


def theorem_1(frame: pd.DataFrame, cases: Sequence[Case] = CASES) -> list[dict[str, Any]]:
    """Decide the claims of all cases; return a row of the table for each.

    `low` to `high` is the 95 % t interval over seeds, `joint_low` to `joint_high` the one that
    holds for all rows together with 95 % (Bonferroni).
    """
    decided = verdicts.decide([case.claim for case in cases], frame)
    rows: list[dict[str, Any]] = []
    for case, claim in zip(cases, decided, strict=True):
        of_case = (frame["inputs"] == case.inputs) & (frame["outputs"] == case.outputs)
        values = frame.loc[of_case, COLLAPSED].to_numpy()
        alone = means.t_interval(values, 0.95)
        joint = means.t_interval(values, 1 - 0.05 / len(cases))
        rows.append(
            {
                "inputs": case.inputs,
                "outputs": case.outputs,
                "predicted": case.predicted,
                "measured": alone.estimate,
                "low": alone.low,
                "high": alone.high,
                "joint_low": joint.low,
                "joint_high": joint.high,
                "margin": case.margin,
                "p_holm": claim["p_holm"],
                "verdict": claim["verdict"],
                "sampling": "plain" if case.chance == 0.5 else "importance",
            }
        )
    return rows


DIMENSIONS = (2, 3, 5, 15, 30)
"""The dimensions of Figure 1."""


def spiral() -> np.ndarray:
    """Return the 1000 points of Figure 1's input, `[1000, 2]`: r = theta / theta_max.

    The curve is read from the figure: Archimedean, theta_k = 0.0628 k.
    """
    theta = 0.0628 * np.arange(1000)
    radius = theta / theta[-1]
    return np.stack([radius * np.cos(theta), radius * np.sin(theta)], -1)


def reconstructed(
    rng: np.random.Generator, points: np.ndarray, dimension: int, samples: int = 1
) -> np.ndarray:
    """Map points to `dimension` dimensions by a random T, apply ReLU and map back by pinv(T).

    The paper does not give the law of T, here Gaussian, nor its "T^-1", here the pseudoinverse.

    Args:
      rng: source of random numbers.
      points: `[points, 2]`.
      dimension: n.
      samples: number of T.

    Returns:
      `[samples, points, 2]`.
    """
    T = rng.normal(size=(samples, dimension, 2))
    hidden = np.maximum(points @ T.swapaxes(1, 2), 0)
    return hidden @ np.linalg.pinv(T).swapaxes(1, 2)


def spiral_errors(
    seeds: int, samples: int, dimensions: Sequence[int] = (2, 3, 4, 5, 7, 10, 15, 20, 30)
) -> Iterator[dict[str, Any]]:
    """Yield quantiles of the relative RMS error of the spiral, over all T of a dimension.

    "as it is" compares with the input. ReLU passes half of a symmetric signal: ReLU(z) is z / 2 +
    |z| / 2, so with many dimensions this error goes to 1/2 and the spiral to half its size. "best
    scale" multiplies each reconstruction by the factor that fits best first: Figure 1 shows shapes.
    """
    points = spiral()
    norm = float(np.sum(points**2))
    for dimension in dimensions:
        parts = []
        for seed in range(seeds):
            rng = np.random.default_rng([seed, dimension])
            back = reconstructed(rng, points, dimension, samples)
            parts.append([np.sum(back * points, (1, 2)), np.sum(back**2, (1, 2))])
        inner, square = np.concatenate(parts, -1)
        squares = {
            "as it is": (square - 2 * inner + norm) / norm,
            "best scale": 1 - inner**2 / (square * norm),
        }
        for name, values in squares.items():
            low, median, high = np.quantile(np.sqrt(np.maximum(values, 0)), (0.05, 0.5, 0.95))
            row = {"dimension": dimension, "reconstruction": name, "samples": seeds * samples}
            yield row | {"median": median, "low": low, "high": high}
