import dataclasses
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from mnv2_jax.data import embedded, image_checks, sources, stream, subsets
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.stored import prepared
from mnv2_jax.metrics import SPLITS
from tests import commands
from tests.data import made
from tests.data.images import fill

DIGITS = sources.Selection("digits", "train", "validation", "test", 8, 1.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    sources.load(DIGITS, folder)
    return folder


@pytest.fixture(scope="module")
def digits(cache):
    return sources.load(DIGITS, cache)


@pytest.fixture(scope="module")
def arrays(digits):
    """The decoded splits."""
    return {split: decoded(digits, split) for split in SPLITS}


def decoded(dataset, split):
    return stream.read(getattr(dataset, split), print)[0]


def test_digits_are_those_of_scikit_learn_each_once(arrays):
    assert [len(arrays[split].labels) for split in SPLITS] == [1047, 250, 500]
    images = np.concatenate([arrays[split].images for split in SPLITS])
    labels = np.concatenate([arrays[split].labels for split in SPLITS])
    original = datasets.load_digits()
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 1)

    def rows(grey, classes):
        flat = np.concatenate([grey.reshape(len(grey), -1), classes[:, None]], axis=1)
        return sorted(map(tuple, flat.astype(int)))

    assert rows(images, labels) == rows(np.round(original.images * 255 / 16), original.target)


def test_digits_are_those_of_the_committed_results(digits):
    recorded = commands.ROOT / "experiments/results/digits_factorial/environment.json"
    assert json.loads(recorded.read_text())["data"] == digits.fingerprint


def test_the_split_is_fixed(arrays):
    test = arrays["test"].labels
    assert arrays["train"].labels[:8].tolist() == [7, 6, 6, 7, 5, 8, 7, 3]
    assert test[:8].tolist() == [5, 9, 3, 3, 9, 4, 3, 8]
    assert np.bincount(test).min() >= 39


def test_a_prepared_set_is_read_and_not_built_again(cache):
    folder = cache / "digits"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert any("array_record" in path.name for path in before)
    sources.load(DIGITS, cache)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty_folder_of(path):
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (Path.unlink, "dataset_info.json"),
        (cut, "features.json"),
        (cut, "digits-test.array_record-00000-of-00001"),
        (flip, "digits-train.array_record-00000-of-00001"),
        (empty_folder_of, "features.json"),
    ],
)
def test_a_damaged_embedded_set_is_prepared_again(cache, arrays, tmp_path, damage, file):
    shutil.copytree(cache, tmp_path / "set")
    place = tmp_path / "set" / "digits" / "1.0.0"
    damage(place / file)
    lines: list[str] = []
    dataset = sources.load(DIGITS, tmp_path / "set", tell=lines.append)
    assert lines == [f"{place}: the data set was damaged or half written, and is prepared anew"]
    assert [len(getattr(dataset, split)) for split in SPLITS] == [1047, 250, 500]
    assert np.array_equal(decoded(dataset, "train").images, arrays["train"].images)
    assert [path.name for path in place.parent.iterdir()] == ["1.0.0"]
    sources.load(DIGITS, tmp_path / "set", tell=lines.append)
    assert len(lines) == 1


def test_an_embedded_set_that_is_not_written_whole_is_left_out(tmp_path, monkeypatch, capsys):
    build = embedded.EMBEDDED["digits"]

    def torn(folder):
        builder = build(folder)
        prepare = builder.download_and_prepare

        def half():
            prepare()
            cut(next(folder.glob("digits/1.0.0/*train*")))

        builder.download_and_prepare = half
        return builder

    monkeypatch.setitem(embedded.EMBEDDED, "digits", torn)
    with pytest.raises(OSError, match=r"digits/1.0.0: it was not written whole"):
        sources.load(DIGITS, tmp_path)
    assert list((tmp_path / "digits").iterdir()) == []
    monkeypatch.undo()
    assert len(sources.load(DIGITS, tmp_path).test) == 500
    assert capsys.readouterr().out == ""
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")] == [
        "digits/1.0.0"
    ]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match=r"digits/1.0.0: cannot be written \(.*File too large"):
            sources.load(DIGITS, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list((tmp_path / "digits").iterdir()) == []


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


def test_parts_of_splits_and_another_resolution(cache, arrays):
    selection = dataclasses.replace(
        DIGITS, train="train[:90%]", validation="train[90%:]", resolution=16
    )
    dataset = sources.load(selection, cache)
    assert [len(dataset.train), len(dataset.validation)] == [942, 105]
    parts = [decoded(dataset, split) for split in ("train", "validation")]
    assert parts[0].images.shape == (942, 16, 16, 1)
    labels = np.concatenate([part.labels for part in parts])
    np.testing.assert_array_equal(labels, arrays["train"].labels)


def test_neither_tensorflow_nor_jax_is_imported(cache, tmp_path):
    """Of array_record, TFRECORD and a folder of images, even where TensorFlow is installed."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow!')")
    made.tfrecord(tmp_path)
    fill(tmp_path / "in", "train/ant/1.png", "train/bee/2.png")
    program = f"""
        import sys
        from pathlib import Path

        sys.path.insert(0, {str(tmp_path)!r})
        from mnv2_jax.data import image_files, sources, stream
        from mnv2_jax.data.stored import prepared

        digits = sources.load(sources.{DIGITS}, Path({str(cache)!r}))
        patches = prepared.find("patches", Path({str(tmp_path)!r}))
        folder = image_files.find({f"{tmp_path}/in/"!r}, print)
        assert digits.train[0].image.shape == (8, 8, 1)
        assert patches.records("train", "data.train")[0].image
        assert folder.records("train", "data.train")[0].image
        assert not {{"tensorflow", "jax"}} & set(sys.modules)
        del sys.path[0]
        stream.read(digits.test, print)
        assert "tensorflow" not in sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(command, cwd=commands.ROOT, check=True)


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


def some(**change):
    return dataclasses.replace(DIGITS, **change)


def stored(dataset):
    """Every record of a data set by what it is called, with its split."""
    return {
        record.where: (split, *record[:2])
        for split in SPLITS
        for records in [getattr(dataset, split).records]
        for record in (records[index] for index in range(len(records)))
    }


def test_two_halves_of_the_classes_make_up_the_whole(cache, digits):
    low, high = (sources.load(some(classes=classes), cache) for classes in ("0-4", "5-9"))
    assert (low.class_names, high.class_names) == (tuple("01234"), tuple("56789"))
    assert (low.classes, high.classes) == (5, 5)
    found = [stored(dataset) for dataset in (low, high)]
    assert not found[0].keys() & found[1].keys()
    shifted = {where: (*of[:2], of[2] + 5) for where, of in found[1].items()}
    assert found[0] | shifted == stored(digits)
    assert len(low.train) == low.training_images == np.isin(digits.train_labels, range(5)).sum()


def test_classes_are_relabelled_in_the_order_of_their_labels(cache, arrays):
    dataset = sources.load(some(classes="7,2-3"), cache)
    assert dataset.class_names == ("2", "3", "7")
    for split in SPLITS:
        part, whole = decoded(dataset, split), arrays[split]
        kept = np.isin(whole.labels, [2, 3, 7])
        np.testing.assert_array_equal(np.array([2, 3, 7])[part.labels], whole.labels[kept])
        np.testing.assert_array_equal(part.images, whole.images[kept])


def count_reads(monkeypatch):
    read = []
    original = prepared.Records.__getitem__

    def counted(self, index):
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(prepared.Records, "__getitem__", counted)
    return read


def test_all_classes_are_opened_unread(cache, monkeypatch):
    sources.load(DIGITS, cache)  # An embedded data set is checked once in a process.
    read = count_reads(monkeypatch)
    dataset = sources.load(DIGITS, cache)
    assert isinstance(dataset.train.records, prepared.Records)
    assert dataset.training_images == 1047
    places = dataset.chosen(3)
    assert places.dtype == np.int32
    np.testing.assert_array_equal(places, np.arange(1047))
    assert read == []


@pytest.mark.parametrize(("classes", "reads"), [("", 1047), ("5-9", 1797)])
def test_labels_are_read_once(cache, monkeypatch, classes, reads):
    read = count_reads(monkeypatch)
    dataset = sources.load(some(classes=classes, images_per_class=5), cache)
    for seed in range(3):
        dataset.chosen(seed)
    assert len(read) == reads


def test_a_run_trains_on_few_images_of_each_class(cache):
    dataset = sources.load(some(classes="5-9", images_per_class=4), cache)
    assert dataset.training_images == 20
    places = dataset.chosen(1)
    labels = decoded(dataset, "train").labels
    np.testing.assert_array_equal(labels, dataset.train_labels)
    np.testing.assert_array_equal(np.bincount(labels[places]), [4] * 5)
    np.testing.assert_array_equal(
        places, sources.load(some(classes="5-9", images_per_class=4), cache).chosen(1)
    )
    assert set(places) != set(dataset.chosen(2))
    more = dataclasses.replace(dataset, images_per_class=10)
    assert set(places) < set(more.chosen(1))
    # As many as there are of the rarest class are not too many.
    most = int(np.bincount(labels).min())
    all_of_it = sources.load(some(classes="5-9", images_per_class=most), cache)
    assert all_of_it.training_images == 5 * most == len(all_of_it.chosen(0))


def test_a_sample_of_training_images_is_as_large_as_validation(cache):
    dataset = sources.load(DIGITS, cache)
    sample = dataset.sample(1)
    assert len(set(sample)) == len(sample) == len(dataset.validation)
    np.testing.assert_array_equal(sample, np.sort(sample))
    np.testing.assert_array_equal(sample, dataset.sample(2))  # Of all images: lanes share them.
    labels = subsets.labels(dataset.of_train(sample).records)
    np.testing.assert_array_equal(labels, dataset.train_labels[sample])
    assert np.bincount(labels).min() > 0.5 * len(sample) / 10
    few = dataclasses.replace(dataset, images_per_class=4)
    np.testing.assert_array_equal(few.sample(1), few.chosen(1))


def test_chosen_images_of_some_classes_go_to_workers(cache):
    dataset = sources.load(some(classes="5-9", images_per_class=4), cache)
    batches = stream.TrainBatches(
        dataset.train, 1, 10, 1, range(10), Augmentation(), dataset.chosen(1)
    )
    copy = pickle.loads(pickle.dumps(batches))
    assert len(copy) == 2
    labels = np.concatenate([copy[step].labels for step in range(2)])
    np.testing.assert_array_equal(np.bincount(labels), [4] * 5)
    for step in range(2):
        np.testing.assert_array_equal(copy[step].images, batches[step].images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "4-x"}, "classes='4-x': expected label numbers such as '0-4' or '0,2,5', or"),
        ({"classes": "0-4,3"}, "classes='0-4,3': class 3 is given twice; expected each once"),
        ({"classes": "4-0"}, "classes='4-0': the range 4-0 falls; expected 0-4"),
        ({"images_per_class": -1}, "images_per_class=-1: expected 1 or more, or 0 for all"),
    ],
)
def test_an_invalid_subset_is_refused(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        some(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classes": "5-999999999"},
            "config.transfer.classes='5-999999999': 'digits' has no class 10; expected labels from "
            "0 ('0') to 9 ('9')",
        ),
        (
            {"classes": "0,1,12"},
            "config.transfer.classes='0,1,12': 'digits' has no class 12; expected labels from 0 "
            "('0') to 9 ('9')",
        ),
        (
            {"classes": "3"},
            "config.transfer.classes='3': it leaves one class, '3'; expected two or more to tell "
            "apart",
        ),
        # The first images are of 7, 6, 6.
        (
            {"classes": "6,9", "train": "train[:3]"},
            "config.transfer.classes='6,9': config.data.train='train[:3]' has no image of class 9 "
            "('9'); expected classes that it has images of",
        ),
        (
            {"images_per_class": 1, "train": "train[:3]"},
            "config.transfer.classes='': config.data.train='train[:3]' has no image of class 0 "
            "('0'); expected classes that it has images of",
        ),
        (
            {"classes": "6-7", "images_per_class": 2, "train": "train[:3]"},
            "config.transfer.images_per_class=2: images of class 7 ('7') in config.data.train="
            "'train[:3]': 1; expected at most as many as these, or 0 for all",
        ),
        (
            {"classes": "0-1", "test": "test[:3]"},
            "config.transfer.classes='0-1': config.data.test='test[:3]' has no image of class",
        ),
    ],
)
def test_a_subset_without_images_is_refused(cache, change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        sources.load(some(**change), cache)
    assert "\n" not in str(caught.value)


def test_a_folder_of_images_is_a_data_set_whose_labels_are_known_unread(tmp_path, monkeypatch):
    kinds = ("ant", "bee", "cow")
    fill(tmp_path, *(f"in/train/{kind}/{n}.png" for kind in kinds for n in range(4)))
    fill(
        tmp_path,
        *(f"in/{split}/{kind}/{split}.png" for kind in kinds for split in ("test", "validation")),
    )
    selection = some(name=f"{tmp_path}/in/", classes="1-2", images_per_class=2)
    whole = sources.load(selection)
    monkeypatch.setattr(image_checks, "read", None)  # Known by now.
    dataset = sources.load(selection)
    assert dataset.class_names == ("bee", "cow")
    assert [len(getattr(dataset, split)) for split in SPLITS] == [8, 2, 2]
    places = dataset.chosen(0)
    assert np.bincount(dataset.train_labels[places]).tolist() == [2, 2]
    assert dataset.train.shape == (8, 8, 3)
    assert dataset.remarks[0].endswith("in/: classes: 3; images: train 12, validation 3, test 3")
    assert dataset.fingerprint == whole.fingerprint
    overlapping = dict.fromkeys(SPLITS, "train")
    with pytest.raises(ValueError, match="they share 12 records; expected none"):
        sources.load(dataclasses.replace(selection, **overlapping))
    assert (
        len(sources.load(dataclasses.replace(selection, **overlapping), overlapping=True).test) == 8
    )
