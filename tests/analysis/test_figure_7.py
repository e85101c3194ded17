"""Summaries of positive fractions, by hand."""

import numpy as np
import pytest

from mnv2_jax.analysis import figure_7


def test_rows_and_ranges_over_networks():
    fractions = {
        "block_02": np.array([[[0.25, 0.5]], [[0.75, 0.5]]], np.float32),
        "block_03": np.array([[[0.125]], [[0.375]]], np.float32),
    }
    rows = figure_7.rows_of(fractions, figure_7.BATCH)
    assert [(row["expanding_block"], row["block"], row["pixels"]) for row in rows] == [
        (1, "block_02", 4),
        (2, "block_03", 2),
    ]
    assert [(row["average"], row["minimum"]) for row in rows] == [(0.5, 0.25), (0.25, 0.125)]
    rows += figure_7.rows_of({"block_02": np.array([[[0.7]]])}, figure_7.BATCH, seed=1)
    first = figure_7.over_seeds(rows).iloc[0]
    assert first["average"] == pytest.approx(0.6)
    assert (first["minimum_low"], first["minimum_high"]) == pytest.approx((0.25, 0.7))
    assert first["networks"] == 2


def test_what_the_paper_plots():
    minima = figure_7.TRAINED["minimum"]
    assert len(minima) == 16
    # The text says that all but two layers lie above the threshold; the plot has three below.
    assert sum(value < figure_7.THRESHOLD for value in minima) == 3
