"""Ranks of random layers: the formula, its model, and measures by hand."""

import numpy as np
import pytest

from mnv2_jax.analysis import ranks


def test_the_model_has_the_formula_as_its_mean():
    rng = np.random.default_rng(0)
    drawn = np.mean([ranks.returning(rng, 64, 4) for _ in range(2000)], 0)
    formula = [ranks.formula(depth) for depth in (1, 2, 3, 4)]
    assert formula[:2] == pytest.approx([0.63662, 0.867955], rel=1e-5)
    np.testing.assert_allclose(drawn, formula, atol=0.005)


def test_ranks_and_participation_ratios_of_layers():
    found = ranks.of_relu_layers(np.random.default_rng(1), 6, 9, 2)
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(6, 9))
    for layer in range(2):
        hidden = np.maximum(hidden @ (rng.normal(size=(9, 9)) * np.sqrt(2 / 9)), 0)
        gram = hidden @ hidden.T
        ratio = np.trace(gram) ** 2 / np.trace(gram @ gram)
        assert found[0][layer] == np.linalg.matrix_rank(hidden) / 6
        assert found[1][layer] == pytest.approx(ratio / 6)


def test_rows_are_means_over_seeds():
    rows = list(ranks.rank_rows(2, inputs=8, widths=(8, 32), depth=3))
    assert [(row["width"], row["layer"]) for row in rows] == [
        (width, layer) for width in (8, 32) for layer in (1, 2, 3)
    ]
    assert all(row["relu_rank"] == 1 for row in rows if row["width"] == 32)
    assert {row["formula"] for row in rows if row["layer"] == 2} == {ranks.formula(2)}
    drawn = []
    for seed in (0, 1):
        rng = np.random.default_rng([seed, 8])
        drawn.append([ranks.returning(rng, 8, 3), *ranks.of_relu_layers(rng, 8, 8, 3)])
    model, rank, ratio = np.mean(drawn, 0)
    for number, row in enumerate(rows[:3]):
        measured = row["returning_model"], row["relu_rank"], row["relu_participation"]
        assert measured == (model[number], rank[number], ratio[number])
