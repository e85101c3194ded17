"""Ranks of random ReLU layers beside a formula.

Makwana 2025 (arXiv 2507.07675) says in its abstract, which is all that was read of it: for a fixed
batch of m inputs and random Gaussian weights, the expected rank of the m x n hidden activations
after l layers is m [1 - (1 - 2/pi)^l], up to O(exp(-c m)).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

INPUTS = 64
"""The number of inputs (m)."""

WIDTHS = (64, 256)
"""The numbers of units of a layer (n)."""

DEPTH = 10


def formula(depth: int) -> float:
    """Return the abstract's expected rank after `depth` layers, as a fraction of m."""
    return 1 - (1 - 2 / math.pi) ** depth


def returning(rng: np.random.Generator, inputs: int, depth: int) -> np.ndarray:
    """Draw ranks, as fractions, of the simplest random model that has the formula as its mean.

    At first all directions are missing. In each layer, each missing one returns with probability
    2/pi by itself, and none is lost. No layer of a network is simulated.
    """
    missing, ranks = inputs, []
    for _ in range(depth):
        missing = rng.binomial(missing, 1 - 2 / math.pi)
        ranks.append(1 - missing / inputs)
    return np.array(ranks)


def of_relu_layers(
    rng: np.random.Generator, inputs: int, width: int, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch and fully connected ReLU layers of one width; return two measures, `[depth]`.

    Inputs are Gaussian, weights Gaussian with variance 2 / width, biases 0.

    Returns:
      The rank of the `[inputs, width]` activations of each layer in double precision, and their
      participation ratio, (sum s^2)^2 / sum s^4 of singular values s, both as fractions of
      `inputs`. The second is a usual measure of the directions that are in use.
    """
    hidden, ranks, ratios = rng.normal(size=(inputs, width)), [], []
    for _ in range(depth):
        weights = rng.normal(size=(width, width)) * math.sqrt(2 / width)
        hidden = np.maximum(hidden @ weights, 0)
        values = np.linalg.svd(hidden, compute_uv=False)
        negligible = values[0] * max(inputs, width) * np.finfo(float).eps
        ranks.append(np.sum(values > negligible) / inputs)
        ratios.append(np.sum(values**2) ** 2 / np.sum(values**4) / inputs)
    return np.array(ranks), np.array(ratios)


def rank_rows(
    seeds: int, inputs: int = INPUTS, widths: Sequence[int] = WIDTHS, depth: int = DEPTH
) -> Iterator[dict[str, float]]:
    """Yield means over seeds for each width and layer, all as fractions of the batch."""
    for width in widths:
        measured = []
        for seed in range(seeds):
            rng = np.random.default_rng([seed, width])
            model = returning(rng, inputs, depth)
            measured.append([model, *of_relu_layers(rng, inputs, width, depth)])
        for number, means in enumerate(np.mean(measured, 0).T.tolist(), start=1):
            model_rank, rank, ratio = means
            yield {
                "inputs": inputs,
                "width": width,
                "layer": number,
                "formula": formula(number),
                "returning_model": model_rank,
                "relu_rank": rank,
                "relu_participation": ratio,
            }
