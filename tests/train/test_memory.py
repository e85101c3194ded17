import resource

import jax
import pytest

from mnv2_jax.train import memory

DEVICE = jax.devices()[0]


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    return tmp_path


def test_usable_memory_is_some_of_the_machines(groups):
    total = memory._field(memory.Path("/proc/meminfo"), "MemTotal")
    assert total is not None
    assert 2**24 < memory.usable(DEVICE) < total


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_container_counts(groups, limit, used):
    for name, value in ((limit, 1_000_000), (used, 250_000)):
        (groups / name).parent.mkdir(exist_ok=True)
        (groups / name).write_text(f"{value}\n")
    assert memory.usable(DEVICE) == 600_000


def test_a_container_without_a_limit_does_not_count(groups):
    (groups / "memory.max").write_text("max\n")
    (groups / "memory.current").write_text("250000\n")
    assert memory.usable(DEVICE) > 2**24


def test_the_limits_of_the_process_count(groups, monkeypatch):
    taken = memory._field(memory.Path("/proc/self/status"), "VmData")
    assert taken is not None
    limits = {resource.RLIMIT_DATA: taken + 10_000_000, resource.RLIMIT_AS: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert memory.usable(DEVICE) == pytest.approx(8_000_000, abs=2_000_000)


def test_an_accelerator_reports_its_memory():
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": 500}

    assert memory.usable(Device()) == 400  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [2_200_000 * 1024, 2_734_375 * 1024, resource.RLIM_INFINITY])
def test_too_small_an_address_space_is_refused(monkeypatch, limit):
    monkeypatch.setattr("mnv2_jax.cores.available", lambda: 2)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    if limit != 2_200_000 * 1024:
        memory.check_limit()
        return
    with pytest.raises(ValueError, match=r"^ulimit -v 2200000: .* 2 cores.*expected 2734375 or"):
        memory.check_limit()
