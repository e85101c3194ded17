"""Moments and what follows from them, against NumPy and scikit-learn on whole matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from mnv2_jax.nn.moments import PENALTY, Moments, effective_rank, explained_variance


def moments_of(rows, sizes=(10**6,)):
    """The moments of a matrix given in parts of these sizes, again and again."""
    found, begin, turn = Moments(), 0, 0
    while begin < len(rows):
        size = sizes[turn % len(sizes)]
        found.add(rows[begin : begin + size])
        begin, turn = begin + size, turn + 1
    return found


@st.composite
def matrices(draw, least=1):
    """Matrices of any rank, whose columns may be constant and far from 0."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, width = draw(st.integers(8, 60)), draw(st.integers(least, 6))
    inner = draw(st.integers(1, width))
    matrix = generator.normal(size=(rows, inner)) @ generator.normal(size=(inner, width))
    matrix *= generator.choice([0.0, 0.01, 1.0, 30.0], size=width)
    return (matrix + generator.choice([0.0, 1.0, -500.0], size=width)).astype(np.float32)


SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=4)


def rank_by_svd(matrix):
    matrix = matrix.astype(np.float64)
    singular = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False)
    singular = singular[singular > 1e-9 * max(1.0, np.abs(matrix).max())]
    if not singular.size:
        return 0.0
    shares = singular / singular.sum()
    return np.exp(-(shares * np.log(shares)).sum())


@settings(max_examples=60)
@given(matrices(), SIZES)
def test_moments_and_rank_are_those_of_the_whole_matrix_whatever_the_parts(matrix, sizes):
    found = moments_of(matrix, sizes)
    wide = matrix.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-12, atol=1e-12)
    expected = np.cov(wide, rowvar=False, bias=True).reshape(found.covariance.shape)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-11 * np.abs(expected).max())
    assert effective_rank(found.covariance) == pytest.approx(rank_by_svd(matrix), abs=2e-4)


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_the_rank_of_a_line_is_one_of_the_identity_all_and_of_a_constant_none(channels):
    generator = np.random.default_rng(0)
    line = 5 + generator.normal(size=(100, 1)) * np.arange(1, channels + 1)
    assert effective_rank(moments_of(line).covariance) == pytest.approx(1, abs=1e-5)
    corners = np.concatenate([np.eye(channels), -np.eye(channels)])
    assert effective_rank(moments_of(corners).covariance) == pytest.approx(channels)
    # One third of float32 has no exact float64 sum of many.
    constant = np.full((1001, channels), np.float32(1 / 3))
    assert effective_rank(moments_of(constant, (7,)).covariance) == 0


def test_the_rank_of_two_singular_values_is_that_of_the_formula():
    rows = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # Singular values in a ratio of 3 to 1.
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert effective_rank(moments_of(rows).covariance) == pytest.approx(np.exp(entropy))


@settings(max_examples=60)
@given(matrices(2), SIZES, st.data())
def test_explained_variance_is_that_of_scikit_learn_whatever_the_parts(matrix, sizes, data):
    features = data.draw(st.integers(1, matrix.shape[1] - 1))
    fitted, measured = matrix[::2].astype(np.float64), matrix[1::2].astype(np.float64)
    found = explained_variance(moments_of(fitted, sizes), moments_of(measured, sizes), features)
    targets = measured[:, features:]
    if (targets == targets[0]).all():
        assert found is None
        return
    penalty = PENALTY * len(fitted) * fitted[:, :features].var(0).mean()
    if penalty > 0:
        model = Ridge(penalty, solver="svd").fit(fitted[:, :features], fitted[:, features:])
        predicted = model.predict(measured[:, :features]).reshape(targets.shape)
    else:
        predicted = np.broadcast_to(fitted[:, features:].mean(0), targets.shape)
    expected = r2_score(targets, predicted, multioutput="variance_weighted")
    scale = max(1.0, abs(expected))
    assert found == pytest.approx(expected, abs=1e-6 * scale)


def test_what_is_linear_is_decodable_and_what_is_independent_is_not():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 3))
    y = x @ generator.normal(size=(3, 3)) + 4
    for features, low, high in ((y, 0.999, 1.0), (generator.normal(size=x.shape), -0.01, 0.01)):
        rows = np.concatenate([features, x], 1)
        found = explained_variance(moments_of(rows[::2]), moments_of(rows[1::2]), 3)
        assert found is not None
        assert low <= found <= high


def test_there_is_no_explained_variance_without_rows():
    assert explained_variance(moments_of(np.ones((3, 2))), Moments(), 1) is None
