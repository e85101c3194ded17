"""Claims about the synthetic results, one of each kind, and results to hold them against."""

import numpy as np
import pandas as pd

from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from tests.analysis.synthetic import make_frame

CLAIM = "linear", "", "Linear is better.", "model.projection", "linear", "relu6"
"""The arguments of a claim; `covarying` may follow."""

LINEAR = greater("linear", "Fig. 6a", "Linear is better.", "projection", "linear", "relu6")


def plateau(margin: float = 0.01) -> Claim:
    return equivalent(
        "plateau", "section 3.3", "All the same.", "expansion", values=(6, 8, 10), margin=margin
    )


def rising(values: tuple[float, ...] = (2, 4, 6), margin: float = 0.0) -> Claim:
    return monotone("rising", "Fig. 6", "It rises.", "model.expansion", values, margin)


def more_without_shortcuts(more: str = "none", less: str = "bottleneck") -> Claim:
    return interaction(
        "more_without",
        "Fig. 6",
        "Linear helps more without shortcuts.",
        "model.projection",
        "linear",
        "relu6",
        by="model.shortcut",
        more=more,
        less=less,
    )


def expansions_at(levels: dict[float, float], noise: float, seeds: int = 6) -> pd.DataFrame:
    """Runs whose accuracy is set by the expansion, with noise of the given size per run."""
    frame = make_frame(expansions=tuple(levels), seeds=seeds)
    rng = np.random.default_rng(0)
    frame["test_accuracy"] = frame["expansion"].map(levels) + rng.normal(0, noise, len(frame))
    return frame


def transfers() -> pd.DataFrame:
    """Three phases, of which the first alone moves its statistics, and is far better with ReLU6."""
    frame = make_frame(shortcuts=("bottleneck",))
    parts = []
    for phase, norm in (("pretraining", "all"), ("extraction", "inference"), ("tuned", "trained")):
        parts.append(frame.assign(**{"transfer.phase": phase, "transfer.norm": norm}))
    whole = pd.concat(parts, ignore_index=True)
    better = (whole["transfer.phase"] == "pretraining") & (whole["projection"] == "relu6")
    return whole.assign(test_accuracy=whole["test_accuracy"] + 0.5 * better)
