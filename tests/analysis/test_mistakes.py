"""What networks mistake: the best run's confusions, and how many runs mistake an image."""

import dataclasses

import numpy as np
import pytest

from mnv2_jax import checksums, predictions, schema
from mnv2_jax.analysis import mistakes
from mnv2_jax.analysis.html import mistakes as html
from mnv2_jax.analysis.mistakes import Picture
from mnv2_jax.predictions import Predictions
from tests.analysis.synthetic import make_frame

NAMES = ("cat", "dog", "<b>")
LABELS = np.array([0, 0, 1, 1, 2, 2], np.int32)


def made(predicted, losses=(0, 1, 2, 3, 4, 5), names=NAMES, labels=LABELS):
    return Predictions(labels, np.array(predicted, np.int32), np.array(losses, np.float32), names)


@pytest.fixture
def frame():
    frame = make_frame((6,), ("linear", "relu6"), ("none",), seeds=2)
    return frame.assign(validation_accuracy=[0.8, 0.9, 0.9, 0.7])


def record(workdir, frame, of_runs):
    for run, found in zip(frame["run_id"], of_runs, strict=True):
        folder = workdir / "runs" / run
        folder.mkdir(parents=True)
        sums = {}
        if found is not None:
            content = predictions.dumps(found)
            (folder / schema.PREDICTIONS).write_bytes(content)
            sums = {schema.PREDICTIONS: checksums.sum_of(content)}
        checksums.write_json(folder / schema.RECORD[-1], {schema.SUMS: sums})


def test_the_first_of_the_best_runs_and_images_that_others_mistake(tmp_path, frame):
    best = made([0, 1, 1, 0, 2, 2])
    all_right = made(LABELS)
    other = made([0, 1, 1, 1, 2, -1])
    record(tmp_path, frame, [all_right, best, other, made([2, 2, 1, 1, 2, 2])])
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    assert found.run == frame["run_id"][1]
    assert found.runs == 4
    assert found.wrong.tolist() == [1, 3, 0, 1, 0, 0]
    assert found.shown == [3, 1, 0]  # Its own by loss, then one that another run mistakes.
    assert found.best.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 2]]


def test_runs_on_other_images_and_bases_do_not_count(tmp_path, frame):
    others = made([0, 0, 0, 0, 0, 0], labels=LABELS[::-1].copy())
    record(tmp_path, frame, [None, made([0, 1, 1, 0, 2, 2]), others, made(LABELS)])
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    assert found.runs == 2
    phases = frame.assign(
        **{schema.PHASE: ["extraction", "finetuning", "finetuning", "extraction"]}
    )
    found = mistakes.read(tmp_path, phases)
    assert found is not None
    assert found.runs == 1
    bases = frame.assign(**{schema.PHASE: schema.PRETRAINING})
    assert mistakes.read(tmp_path, bases) is None


def test_runs_whose_splits_another_seed_drew_do_not_count(tmp_path, frame):
    pictures = {3: Picture("aGk=")}
    record(tmp_path / "fixed", frame, [made([0, 1, 1, 0, 2, 2])] * 4)
    fixed = mistakes.read(tmp_path / "fixed", frame)
    assert fixed is not None
    draws = ("seed 1", "seed 0", "seed 0", "")
    all_made = [dataclasses.replace(made([0, 1, 1, 0, 2, 2]), images=draw) for draw in draws]
    record(tmp_path, frame, all_made)
    mistakes.write_pictures(tmp_path, fixed, pictures)
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    assert (found.run, found.runs) == (frame["run_id"][1], 2)
    assert mistakes.read_pictures(tmp_path, found) == {}
    mistakes.write_pictures(tmp_path, found, pictures)
    assert mistakes.read_pictures(tmp_path, found) == pictures


def test_without_predictions_there_is_no_section(tmp_path, frame):
    assert mistakes.read(tmp_path, frame) is None
    assert html.section(None, {}) == ""


def test_pictures_belong_to_a_test_split(tmp_path, frame):
    record(tmp_path, frame, [None, made([0, 1, 1, 0, 2, 2]), None, None])
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    assert mistakes.read_pictures(tmp_path, found) == {}
    pictures = {3: Picture("aGk=", "photos/dog/1.jpg"), 1: Picture("aGo=")}
    mistakes.write_pictures(tmp_path, found, pictures)
    assert mistakes.read_pictures(tmp_path, found) == pictures
    elsewhere = dataclasses.replace(found, best=made(LABELS, labels=LABELS[::-1].copy()))
    assert mistakes.read_pictures(tmp_path, elsewhere) == {}
    path = tmp_path / schema.MISTAKEN
    path.write_bytes(path.read_bytes().replace(b"aGk=", b"aGl="))
    assert mistakes.read_pictures(tmp_path, found) == {}


def test_the_section_has_every_number(tmp_path, frame):
    record(tmp_path, frame, [made(LABELS), made([0, 1, 1, 0, 2, 2]), None, None])
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    text = html.section(found, {3: Picture("aGk=", "photos/dog/1.jpg")})
    assert "test accuracy 66.7 % (4 of 6)" in text
    assert '<th scope="row">cat</th><td class="number">50.0 % (1 of 2)</td>' in text
    assert '<td class="number">75.0 %</td>' in text  # Of cats, by both runs.
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "dog, taken for cat<br>wrong in 1 of 2 runs<br>photos/dog/1.jpg" in text
    one_seed = frame[frame["seed"] == 0].drop(columns="seed").assign(seed=0)
    lead = html.lead(one_seed, found)
    assert "The best network takes dog for cat (1), cat for dog (1): " in lead
    assert text.count("<img ") == 1  # Images without a picture are not shown.
    assert text.count('class="number wrong-3"') == 2
    assert text.count('class="number right-5"') == 1


def test_many_classes_are_not_a_matrix(tmp_path, frame):
    labels = np.arange(60, dtype=np.int32) % 30
    predicted = np.where(np.arange(60) < 5, (labels + 1) % 30, labels)
    many = made(predicted, np.zeros(60), tuple(f"class {n}" for n in range(30)), labels)
    record(tmp_path, frame, [None, many, None, None])
    found = mistakes.read(tmp_path, frame)
    assert found is not None
    text = html.section(found, {})
    assert "confusion" not in text
    assert text.count('<th scope="row">') == 20
    for wrong in range(5):
        assert f'<th scope="row">class {wrong}</th><td class="number">50.0 % (1 of 2)' in text
