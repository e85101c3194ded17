"""Sums over the rows of large matrices, and the numbers that follow from them alone.

A matrix has a row per pixel of all images and a column per channel; only its sums are kept.
"""

import math
from typing import Any

import numpy as np

PENALTY = 1e-4
"""The ridge penalty of `explained_variance`, relative to the mean variance of the features."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]


class Moments:
    """Count, mean and covariance of the rows of a matrix that comes in parts, in float64.

    Rows are summed relative to the first one. A constant column so has exactly the variance 0, and
    a mean far from 0 costs no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin: Matrix = np.zeros(0)
        self._sum: Matrix = np.zeros(0)
        self._products: Matrix = np.zeros((0, 0))

    def add(self, rows: np.ndarray) -> None:
        """Add some rows, `[count, columns]`."""
        if not len(rows):
            return
        if not self.count:
            columns = rows.shape[1]
            self._origin = rows[0].astype(np.float64)
            self._sum, self._products = np.zeros(columns), np.zeros((columns, columns))
        relative = rows.astype(np.float64) - self._origin
        self.count += len(rows)
        self._sum += relative.sum(0)
        self._products += relative.T @ relative

    @property
    def mean(self) -> Matrix:
        """The mean row, `[columns]`."""
        return self._origin + self._sum / self.count

    @property
    def covariance(self) -> Matrix:
        """The covariance of the columns, `[columns, columns]`, divided by the count."""
        offset = self._sum / self.count
        covariance: Matrix = self._products / self.count - np.outer(offset, offset)
        return covariance


def effective_rank(covariance: Matrix) -> float:
    """Return the effective rank of a centred matrix, given the covariance of its columns.

    It is the exponential of the entropy of the singular values, divided by their sum: 1 where all
    rows lie on a line, and the number of columns where the singular values are equal. A constant
    matrix has no singular value above 0; its effective rank is 0.

    Source: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    # Singular values are the roots of the covariance's eigenvalues, up to a factor that cancels.
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0.0))
    positive = singular[singular > 0]
    if not positive.size:
        return 0.0
    shares = positive / positive.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def explained_variance(fitted: Moments, measured: Moments, features: int) -> float | None:
    """Return the R^2 of a ridge regression that is fitted on some rows and measured on others.

    R^2 is 1 - SSE/SST, both summed over targets; SST is about the mean of the measured rows. It is
    negative where the regression is worse than that mean. Features and targets are centred by the
    fitted rows, and the penalty is `PENALTY` times the mean variance of the features there.

    Args:
      fitted: moments of the rows to fit, features before targets.
      measured: of the rows to measure.
      features: the number of features; all other columns are targets.

    Returns:
      R^2; None if there are no such rows, or all measured targets are constant.
    """
    if not (fitted.count and measured.count):
        return None
    weights = _ridge(fitted.covariance, features)
    shift = measured.mean - fitted.mean
    spread = measured.covariance
    total = np.trace(spread[features:, features:])
    if total <= 0:
        return None
    # Of errors, targets minus predictions: the covariance's trace, and the square of the mean.
    across, among = spread[:features, features:], spread[:features, :features]
    varying = total - 2 * np.sum(weights * across) + np.sum(weights * (among @ weights))
    constant = shift[features:] - shift[:features] @ weights
    return float(1 - (varying + constant @ constant) / total)


def _ridge(covariance: Matrix, features: int) -> Matrix:
    """Return the weights of a ridge regression, `[features, targets]`."""
    among, across = covariance[:features, :features], covariance[:features, features:]
    penalty = PENALTY * np.trace(among) / features
    if not penalty > 0 or math.isinf(penalty):
        return np.zeros_like(across)  # Constant features predict the mean.
    weights: Matrix = np.linalg.solve(among + penalty * np.eye(features), across)
    return weights
