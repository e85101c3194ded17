import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import datasets

from mnv2_jax.data import sources


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    sources.load("digits", folder)
    return folder


def test_digits_are_those_of_scikit_learn_each_once(cache):
    digits = sources.load("digits", cache)
    splits = [getattr(digits, name) for name in sources.SPLITS]
    assert [len(split) for split in splits] == [1047, 250, 500]
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
    digits = sources.load("digits", cache)
    assert digits.train.labels[:8].tolist() == [7, 6, 6, 7, 5, 8, 7, 3]
    assert digits.test.labels[:8].tolist() == [5, 9, 3, 3, 9, 4, 3, 8]
    assert np.bincount(digits.test.labels).min() >= 39


def test_a_prepared_set_is_read_and_not_built_again(cache):
    folder = cache / "datasets" / "digits"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert any("array_record" in path.name for path in before)
    sources.load("digits", cache)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_preparing_prints_nothing(tmp_path, capsys):
    sources.load("digits", tmp_path)
    assert capsys.readouterr().out == ""
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["digits"]


def test_unknown_data_set():
    with pytest.raises(ValueError, match=r"^data.name='cifar11': expected one of digits"):
        sources.load("cifar11")


def test_tensorflow_is_not_imported(cache):
    code = (
        "import sys; from pathlib import Path; from mnv2_jax.data import sources; "
        f"sources.load('digits', Path({str(cache)!r})); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_killed_preparation_is_done_again(tmp_path):
    code = (
        "from pathlib import Path; from mnv2_jax.data import sources; "
        f"sources.load('digits', Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not any(tmp_path.rglob("*array_record*")) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(sources.load("digits", tmp_path).test) == 500
