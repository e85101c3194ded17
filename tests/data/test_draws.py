import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data import draws


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000), count=st.integers(1, 200))
def test_an_epoch_takes_every_image_once(seed, epoch, count):
    order = draws.epoch_order(seed, epoch, count)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_the_order_is_fixed():
    assert draws.epoch_order(3, 5, 10).tolist() == [9, 7, 8, 1, 4, 6, 5, 0, 3, 2]


def test_the_order_depends_on_seed_and_epoch():
    orders = {
        tuple(draws.epoch_order(seed, epoch, 50).tolist())
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    assert len(orders) == 4


def test_every_place_comes_first_equally_often():
    firsts = np.bincount([draws.epoch_order(7, epoch, 10)[0] for epoch in range(5000)])
    # 500 expected each; five standard deviations are 106.
    assert np.abs(firsts - 500).max() < 106


def test_streams_steps_and_rows_do_not_disturb_one_another():
    places = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    found = {draws.generator(*place).random() for place in places}
    assert len(found) == len(places)
    assert draws.generator(*places[3]).random() in found
