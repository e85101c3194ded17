import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import datasets

from mnv2_jax.data import sources, stream
from tests.data import made

DIGITS = sources.Selection("digits", "train", "validation", "test", 8, 1.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    sources.load(DIGITS, folder)
    return folder


def decoded(dataset, split):
    return stream.read(getattr(dataset, split), print)[0]


def test_digits_are_those_of_scikit_learn_each_once(cache):
    digits = sources.load(DIGITS, cache)
    splits = [decoded(digits, name) for name in sources.SPLITS]
    assert [len(split.labels) for split in splits] == [1047, 250, 500]
    images = np.concatenate([split.images for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    original = datasets.load_digits()
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 1)

    def rows(grey, classes):
        flat = np.concatenate([grey.reshape(len(grey), -1), classes[:, None]], axis=1)
        return sorted(map(tuple, flat.astype(int)))

    assert rows(images, labels) == rows(np.round(original.images * 255 / 16), original.target)


def test_the_split_is_fixed(cache):
    digits = sources.load(DIGITS, cache)
    train, test = (decoded(digits, split) for split in ("train", "test"))
    assert train.labels[:8].tolist() == [7, 6, 6, 7, 5, 8, 7, 3]
    assert test.labels[:8].tolist() == [5, 9, 3, 3, 9, 4, 3, 8]
    assert np.bincount(test.labels).min() >= 39


def test_a_prepared_set_is_read_and_not_built_again(cache):
    folder = cache / "digits"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert any("array_record" in path.name for path in before)
    sources.load(DIGITS, cache)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_preparing_prints_nothing(tmp_path, capsys):
    sources.load(DIGITS, tmp_path)
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_another_data_set_is_asked_to_be_prepared(tmp_path):
    selection = dataclasses.replace(DIGITS, name="cifar10")
    with pytest.raises(ValueError, match=r"^config.data.name='cifar10': .*experiments.prepare"):
        sources.load(selection, tmp_path)


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    made.tfrecord(tmp_path, "dull", classes=1)
    selection = dataclasses.replace(DIGITS, name="dull")
    with pytest.raises(ValueError, match=r"^config.data.name='dull': it has one class, '.*'; exp"):
        sources.load(selection, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": "train[90%:]"}, r"^config.data.train='train' and config.data.validation="),
        ({"test": "tests"}, r"^config.data.test='tests': "),
    ],
)
def test_splits_that_overlap_or_do_not_exist_are_refused(cache, change, message):
    with pytest.raises(ValueError, match=message):
        sources.load(dataclasses.replace(DIGITS, **change), cache)


def test_parts_of_splits_and_another_resolution(cache):
    selection = dataclasses.replace(
        DIGITS, train="train[:90%]", validation="train[90%:]", resolution=16
    )
    dataset = sources.load(selection, cache)
    assert [len(dataset.train), len(dataset.validation)] == [942, 105]
    whole = decoded(sources.load(DIGITS, cache), "train")
    parts = [decoded(dataset, split) for split in ("train", "validation")]
    assert parts[0].images.shape == (942, 16, 16, 1)
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), whole.labels)


def test_tensorflow_is_not_imported(cache):
    code = (
        "import sys; from pathlib import Path; from mnv2_jax.data import sources, stream; "
        f"stream.read(sources.load(sources.{DIGITS}, Path({str(cache)!r})).test, print); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_killed_preparation_is_done_again(tmp_path):
    code = (
        "from pathlib import Path; from mnv2_jax.data import sources; "
        f"sources.load(sources.{DIGITS}, Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not any(tmp_path.rglob("*")) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(sources.load(DIGITS, tmp_path).test) == 500
