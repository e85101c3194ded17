import types

import jax
import pytest

from mnv2_jax.train import layouts


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
def test_the_choice_of_a_layout_has_its_reason(
    monkeypatch, platform, wish, lanes, batch_size, name, why
):
    device = types.SimpleNamespace(platform=platform, process_index=0)
    monkeypatch.setattr(jax, "devices", lambda: [device] * 2)
    layout, reason = layouts.choose(wish, lanes, batch_size)
    assert layout(lanes).name == name
    assert reason.startswith(f"{name}: ")
    assert why in reason


def test_batches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"^config.train.batch_size: 63 images at a time do not"):
        layouts.choose("batch", 1, 63)


def test_several_processes_share_batches(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    layout, reason = layouts.choose("auto", 24, 64)
    assert layout(24).name == "batch"
    assert "2 processes train together" in reason
    with pytest.raises(ValueError, match=r"^config.parallel='lanes': expected 'batch' or 'auto'"):
        layouts.choose("lanes", 24, 64)
