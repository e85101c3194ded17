import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data import rng


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000), count=st.integers(1, 200))
def test_an_epoch_takes_every_image_once(seed, epoch, count):
    order = rng.epoch_order(seed, epoch, count)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_the_order_is_fixed():
    assert rng.epoch_order(3, 5, 10).tolist() == [9, 7, 8, 1, 4, 6, 5, 0, 3, 2]


def test_the_order_depends_on_seed_and_epoch():
    orders = {
        tuple(rng.epoch_order(seed, epoch, 50).tolist())
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    assert len(orders) == 4


def test_every_place_comes_first_equally_often():
    firsts = np.bincount([rng.epoch_order(7, epoch, 10)[0] for epoch in range(5000)])
    # 500 expected each; five standard deviations are 106.
    assert np.abs(firsts - 500).max() < 106


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(seed=st.integers(0, 2**32 - 1), labels=LABELS, data=st.data())
def test_few_of_each_are_balanced_and_more_hold_fewer(seed, labels, data):
    classes, there = np.unique(labels, return_counts=True)
    before: set[int] = set()
    for count in range(1, there.min() + 1):
        places = rng.few_of_each(seed, labels, count)
        assert places.dtype == np.int32
        assert (np.diff(places) > 0).all()
        found, counts = np.unique(labels[places], return_counts=True)
        np.testing.assert_array_equal(found, classes)
        assert set(counts) == {count}
        np.testing.assert_array_equal(rng.few_of_each(seed, labels, count), places)
        assert before < set(places.tolist())
        before = set(places.tolist())


def test_the_draw_of_few_images_is_fixed_and_depends_on_the_seed():
    labels = np.arange(12) % 3
    assert rng.few_of_each(3, labels, 2).tolist() == [0, 1, 5, 6, 7, 8]
    drawn = {tuple(rng.few_of_each(seed, np.zeros(1000), 10)) for seed in range(20)}
    assert len(drawn) == 20


def test_every_image_is_among_the_few_equally_often():
    labels = np.arange(20) % 2
    drawn = [rng.few_of_each(seed, labels, 3) for seed in range(5000)]
    # 1500 expected each; five standard deviations are 162.
    assert np.abs(np.bincount(np.concatenate(drawn), minlength=20) - 1500).max() < 162


def test_streams_steps_and_rows_do_not_disturb_one_another():
    places = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    found = {rng.generator(*place).random() for place in places}
    assert len(found) == len(places)
    assert rng.generator(*places[3]).random() in found
