import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax.train import parallel

DEVICES = jax.local_devices()


@pytest.mark.parametrize(
    ("count", "devices", "per_device"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (24, 2, 12)]
)
def test_lanes_fill_devices(count, devices, per_device):
    layout = parallel.Lanes(count)
    assert (len(layout.devices), layout.per_device, layout.parts) == (devices, per_device, 1)
    values = layout.spread(np.arange(count))
    assert values.shape == (devices, per_device)
    assert layout.gather(jnp.asarray(values)) == list(range(count))


def test_devices_that_share_batches_hold_every_lane():
    layout = parallel.Batch(3)
    assert (len(layout.devices), layout.per_device, layout.parts) == (2, 3, 2)
    values = layout.spread(np.arange(3))
    np.testing.assert_array_equal(values, [[0, 1, 2], [0, 1, 2]])
    assert layout.gather(layout.place(values)) == [0, 1, 2]


@pytest.mark.parametrize("layout", [parallel.Lanes(4), parallel.Batch(4)])
def test_fewer_lanes_than_places_are_filled_up(layout):
    values = layout.spread({"a": np.arange(3)})
    assert layout.gather(layout.place(values)) == [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 2}]


@pytest.mark.parametrize("layout", [parallel.Lanes(3), parallel.Batch(3)])
def test_a_program_sees_its_lane_and_what_is_shared(layout):
    def run(lane, shared):
        return lane * shared.sum()

    lanes = layout.spread(np.arange(3.0, dtype=np.float32))
    shared = layout.share(np.arange(4.0, dtype=np.float32))
    program = layout.compile(run, (lanes,), (shared,))
    assert layout.gather(program.run(lanes, shared)) == [0.0, 6.0, 12.0]
    assert program.bytes > 0
    placed = program.run(layout.place(lanes), layout.place(shared))
    assert layout.gather(placed) == [0.0, 6.0, 12.0]


@pytest.mark.parametrize(
    ("platform", "wish", "lanes", "batch_size", "name", "why"),
    [
        ("cpu", "auto", 2, 64, "lanes", "enough of them for 2 devices"),
        ("cpu", "auto", 1, 64, "lanes", "one lane has threads on every core already"),
        ("gpu", "auto", 1, 64, "batch", "since there are fewer lanes"),
        ("gpu", "auto", 1, 63, "lanes", "batches of 63 do not divide among 2 devices"),
        ("gpu", "auto", 2, 64, "lanes", "enough of them for 2 devices"),
        ("cpu", "lanes", 1, 64, "lanes", "as asked for"),
        ("cpu", "batch", 24, 64, "batch", "as asked for"),
    ],
)
def test_the_choice_of_a_layout_is_said_with_its_reason(
    monkeypatch, platform, wish, lanes, batch_size, name, why
):
    device = types.SimpleNamespace(platform=platform, process_index=0)
    monkeypatch.setattr(jax, "devices", lambda: [device] * 2)
    layout, said = parallel.choose(wish, lanes, batch_size)
    assert layout(lanes).name == name
    assert said.startswith(f"{name}: ")
    assert why in said


def test_batches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"^config.train.batch_size: 63 images at a time do not"):
        parallel.choose("batch", 1, 63)


def test_several_processes_share_batches(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    layout, said = parallel.choose("auto", 24, 64)
    assert layout(24).name == "batch"
    assert "2 processes train together" in said
    with pytest.raises(ValueError, match=r"^config.parallel='lanes': expected 'batch' or 'auto'"):
        parallel.choose("lanes", 24, 64)
