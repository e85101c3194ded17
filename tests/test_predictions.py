"""Predictions for each test image: they are kept bit by bit, and damage is noticed."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mnv2_jax import checksums, predictions, schema
from mnv2_jax.predictions import LEFT_OUT, Predictions

RUN = "0123456789ab"


def record(workdir, content):
    folder = workdir / "runs" / RUN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / schema.PREDICTIONS).write_bytes(content)
    sums = {schema.PREDICTIONS: checksums.sum_of(content)}
    checksums.write_json(folder / schema.RECORD[-1], {schema.SUMS: sums})
    return folder / schema.PREDICTIONS


@st.composite
def drawn(draw):
    classes = draw(st.integers(2, 300))
    size = draw(st.integers(1, 40))
    labels = st.lists(st.integers(0, classes - 1), min_size=size, max_size=size)
    guesses = st.lists(st.integers(LEFT_OUT, classes - 1), min_size=size, max_size=size)
    losses = st.lists(st.floats(0, 1e6, width=32), min_size=size, max_size=size)
    names = tuple(f"class {number} é" for number in range(classes))
    return Predictions(
        np.array(draw(labels), np.int32),
        np.array(draw(guesses), np.int32),
        np.array(draw(losses), np.float32),
        names,
    )


@hypothesis.given(drawn())
def test_confusion_counts_each_image_once(given):
    seen = given.predicted != LEFT_OUT
    assert given.confusion.sum() == seen.sum()
    assert np.trace(given.confusion) == (given.labels == given.predicted).sum()
    assert len(given.mistaken) == seen.sum() - np.trace(given.confusion)
    for index in given.mistaken:
        assert given.confusion[given.labels[index], given.predicted[index]] > 0
    assert (np.diff(given.losses[given.mistaken]) <= 0).all()


@hypothesis.given(given=drawn())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_file_holds_them(given, tmp_path):
    record(tmp_path, predictions.dumps(given))
    found = predictions.read(tmp_path, RUN)
    assert found is not None
    np.testing.assert_array_equal(found.labels, given.labels)
    np.testing.assert_array_equal(found.predicted, given.predicted)
    np.testing.assert_allclose(found.losses, np.minimum(given.losses, 65504), rtol=1e-3, atol=1e-7)
    assert found.class_names == given.class_names


def test_equal_predictions_give_equal_bytes():
    labels = np.arange(10, dtype=np.int32)
    one = Predictions(labels, labels, labels.astype(np.float32), tuple("0123456789"))
    assert predictions.dumps(one) == predictions.dumps(dataclasses.replace(one))


@pytest.mark.parametrize("damage", ["cut", "bit", "missing", "unsealed"])
def test_damage_is_no_prediction(tmp_path, damage):
    labels = np.arange(10, dtype=np.int32)
    given = Predictions(labels, labels, labels.astype(np.float32), tuple("0123456789"))
    path = record(tmp_path, predictions.dumps(given))
    assert predictions.read(tmp_path, RUN) is not None
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "missing":
        path.unlink()
    else:
        path.with_name(schema.RECORD[-1]).unlink()
    assert predictions.read(tmp_path, RUN) is None
