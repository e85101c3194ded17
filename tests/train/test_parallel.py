import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnv2_jax.train import parallel

DEVICES = jax.local_devices()


@pytest.mark.parametrize(
    ("count", "devices", "per_device"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (24, 2, 12)]
)
def test_lanes_fill_devices(count, devices, per_device):
    layout = parallel.Lanes(count)
    assert (len(layout.devices), layout.per_device, layout.axis_size) == (devices, per_device, 1)
    values = layout.shard_lanes(np.arange(count))
    assert values.shape == (devices, per_device)
    assert layout.unstack(jnp.asarray(values)) == list(range(count))


def test_devices_that_share_batches_hold_every_lane():
    layout = parallel.Batch(3)
    assert (len(layout.devices), layout.per_device, layout.axis_size) == (2, 3, 2)
    values = layout.shard_lanes(np.arange(3))
    np.testing.assert_array_equal(values, [[0, 1, 2], [0, 1, 2]])
    assert layout.unstack(layout.device_put(values)) == [0, 1, 2]


@pytest.mark.parametrize("layout", [parallel.Lanes(4), parallel.Batch(4)])
def test_fewer_lanes_than_places_are_filled_up(layout):
    values = layout.shard_lanes({"a": np.arange(3)})
    assert layout.unstack(layout.device_put(values)) == [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 2}]


@pytest.mark.parametrize("layout", [parallel.Lanes(3), parallel.Batch(3)])
def test_a_program_sees_its_lane_and_what_is_shared(layout):
    def run(lane, shared):
        return lane * shared.sum()

    lanes = layout.shard_lanes(np.arange(3.0, dtype=np.float32))
    shared = layout.replicate(np.arange(4.0, dtype=np.float32))
    program = layout.compile(run, (lanes,), (shared,))
    assert layout.unstack(program.run(3, lanes, shared)) == [0.0, 6.0, 12.0]
    assert program.bytes > 0
    placed = program.run(3, layout.device_put(lanes), layout.device_put(shared))
    assert layout.unstack(placed) == [0.0, 6.0, 12.0]


@pytest.mark.parametrize("layout", [parallel.Lanes(5), parallel.Batch(5)])
def test_places_without_a_lane_are_not_run(layout):
    lanes = layout.shard_lanes(np.arange(1.0, 3.0, dtype=np.float32))
    program = layout.compile(lambda lane: lax.fori_loop(0, 3, lambda _, x: 2 * x, lane), (lanes,))
    assert layout.unstack(program.run(5, lanes)) == [8.0, 16.0, 16.0, 16.0, 16.0]
    assert layout.unstack(program.run(2, lanes)) == [8.0, 16.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("lanes", range(6))
def test_devices_take_turns(lanes):
    used = parallel.Lanes(5).in_use(lanes)
    assert (used.sum(), used.max() - used.min()) == (lanes, lanes % 2)
