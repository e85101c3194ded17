"""Splits drawn anew for each seed: what they promise, and that they are decoded once."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data import images, sources, splits, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.metrics import SPLITS
from tests import samples

SEEDS = st.integers(0, 2**32 - 1)
LABELS = st.lists(
    st.lists(st.integers(0, 4), max_size=30).map(lambda few: np.array(few, np.int32)),
    min_size=3,
    max_size=3,
)
NAMES = ("ant", "bee", "cow", "dog", "elk")


@given(seed=SEEDS, labels=LABELS)
def test_every_image_is_in_one_split_and_each_split_keeps_its_count_of_every_class(seed, labels):
    found = splits.drawn(seed, labels, NAMES)
    everything = np.concatenate(labels)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(len(everything)))
    for own, before in zip(found, labels, strict=True):
        assert own.dtype == np.int32
        assert (np.diff(own) > 0).all()
        np.testing.assert_array_equal(np.sort(everything[own]), np.sort(before))
    for own, again in zip(found, splits.drawn(seed, labels, NAMES), strict=True):
        np.testing.assert_array_equal(own, again)


@given(seed=SEEDS, labels=LABELS, kept=st.sets(st.integers(0, 4), min_size=1))
def test_an_image_stays_in_its_split_where_other_classes_are_left_out(seed, labels, kept):
    left = sorted(kept)
    among = [np.flatnonzero(np.isin(own, left)) for own in labels]
    starts = np.cumsum([0, *map(len, labels)])
    numbers = np.concatenate([start + own for start, own in zip(starts, among, strict=False)])
    fewer = [np.searchsorted(left, own[place]) for own, place in zip(labels, among, strict=True)]
    whole = splits.drawn(seed, labels, NAMES)
    part = splits.drawn(seed, fewer, [NAMES[label] for label in left])
    everything = np.concatenate(labels)
    for own, of_few in zip(whole, part, strict=True):
        np.testing.assert_array_equal(own[np.isin(everything[own], left)], numbers[of_few])


def test_the_draw_is_fixed_and_depends_on_the_seed():
    labels = [np.arange(count) % 2 for count in (8, 2, 4)]
    assert [own.tolist() for own in splits.drawn(3, labels, NAMES[:2])] == [
        [1, 2, 6, 7, 10, 11, 12, 13],
        [5, 8],
        [0, 3, 4, 9],
    ]
    drawn = {tuple(splits.drawn(seed, [np.zeros(50, int)] * 3, NAMES)[2]) for seed in range(20)}
    assert len(drawn) == 20


def test_every_image_is_tested_on_equally_often():
    labels = [np.arange(count) % 2 for count in (12, 4, 4)]
    seeds = 3000
    counts = np.bincount(
        np.concatenate([splits.drawn(seed, labels, NAMES)[2] for seed in range(seeds)])
    )
    # A fifth of the seeds; five standard deviations of a binomial count are 110.
    assert np.abs(counts - seeds / 5).max() < 110


@pytest.fixture
def dataset():
    """Images of three splits, of which four cannot be decoded."""
    found = samples.dots(train=64, validation=30, test=50)
    for split, numbers in {"train": (3, 4, 63), "validation": (), "test": (20,)}.items():
        for number in numbers:
            getattr(found, split).records._encoded[number] = b"no image"
    own = {split: dataclasses.replace(getattr(found, split), skip_corrupt=True) for split in SPLITS}
    return dataclasses.replace(found, **own)


def test_whole_splits_are_those_that_are_read_one_by_one(dataset):
    """Also where the image that stands in for a damaged one is of another split by now."""
    for seed in range(5):
        redrawn = splits.redrawn(dataset, seed)
        for split in SPLITS:
            arrays, problems = redrawn.arrays(split, print)
            expected, lines = stream.read(getattr(redrawn, split), print)
            for one, other in zip(arrays, expected, strict=True):
                np.testing.assert_array_equal(one, other)
            assert sorted(problems) == sorted(lines)
        assert redrawn.training_images == 64
        np.testing.assert_array_equal(np.sort(redrawn.train_labels), np.sort(dataset.train_labels))


def test_images_are_decoded_once_for_all_seeds(dataset, monkeypatch):
    reads = []
    read = stream.read

    def counted(images, tell):
        reads.append(images)
        return read(images, tell)

    monkeypatch.setattr(stream, "read", counted)
    for seed in (None, 1, 2, None):
        for split in SPLITS:
            splits.redrawn(dataset, seed).arrays(split, print)
    assert len(reads) == 3
    assert splits.redrawn(dataset, None) is dataset


def test_a_split_of_damaged_images_alone_is_refused(dataset):
    parts = [dataset.arrays(split, print) for split in SPLITS]
    assert len(images.gathered(parts, np.array([3, 5]))[1]) == 1
    with pytest.raises(ValueError, match=r"^record 3: .*; and no other image of its split can be"):
        images.gathered(parts, np.array([3, 4, 64 + 30 + 20]))


def test_drawn_images_go_to_workers(dataset):
    redrawn = splits.redrawn(dataset, 1)
    batches = stream.TrainBatches(redrawn.train, 1, 16, 1, range(16), Augmentation())
    copy = pickle.loads(pickle.dumps(batches))
    for step in range(4):
        np.testing.assert_array_equal(copy[step].images, batches[step].images)


def test_labels_are_read_once(dataset, monkeypatch):
    read = []
    original = samples.Pngs.__getitem__

    def counted(self, index):
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(samples.Pngs, "__getitem__", counted)
    for seed in range(3):
        splits.redrawn(dataset, seed)
    assert len(read) == 64 + 30 + 50


def test_validation_may_be_carved_out_of_train_and_classes_left_out(tmp_path):
    selection = sources.Selection("digits", "train[:90%]", "train[90%:]", "test[:100]", 8, 1.0)
    whole, some = (
        sources.load(dataclasses.replace(selection, classes=classes), tmp_path)
        for classes in ("", "3,7")
    )
    where = {}
    for of, dataset in {"whole": whole, "some": some}.items():
        redrawn = splits.redrawn(dataset, 5)
        assert [len(getattr(redrawn, split)) for split in SPLITS] == [
            len(getattr(dataset, split)) for split in SPLITS
        ]
        records = {split: getattr(redrawn, split).records for split in SPLITS}
        where[of] = {
            split: {of.where for of in (own[n] for n in range(len(own)))}
            for split, own in records.items()
        }
    assert sum(map(len, where["whole"].values())) == 1147
    assert all(where["some"][split] < where["whole"][split] for split in SPLITS)
