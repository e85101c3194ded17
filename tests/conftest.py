"""Fixtures, and jax with two CPU devices, as on a laptop with two cores."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# Tests have a cache folder of their own: estimates of time must not be made from tiny networks.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xdg")
# Programs of tests mostly run for milliseconds: neither LLVM's optimisation pays nor XLA's newer
# emitters of fusions, which take three times as long to compile (from jaxlib 0.11 on there are no
# others). The commands that CI runs beside the tests compile as users do.
emitters = "--xla_cpu_use_fusion_emitters=false" if version("jaxlib") < "0.11" else ""
os.environ.setdefault("XLA_FLAGS", f"--xla_backend_optimization_level=0 {emitters}".strip())

# `nohup`, and `&` in a script, ignore these signals, and processes of tests would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax

jax.config.update("jax_num_cpu_devices", 2)

import hypothesis
import pytest

from mnv2_jax import atomic, presets
from mnv2_jax.data.sources import Dataset
from tests import buckets, commands, samples, small

# Compilation and a busy machine make single examples slow without anything being wrong.
hypothesis.settings.register_profile(
    "project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny() -> Iterator[str]:
    """A preset that compiles in seconds: one block of each stride."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", samples.TINY)
        yield "tiny"


@pytest.fixture(scope="session")
def dots() -> Dataset:
    """Images that can be learned; see `tests.samples.dots`."""
    return samples.dots()


@pytest.fixture(scope="session")
def small_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a small experiment; see `tests.small`."""
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(small.CONFIG)
    return path


@pytest.fixture(scope="session")
def small_trained(small_config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The workdir of that experiment, trained by experiments.ablate, and what that prints."""
    workdir = tmp_path_factory.mktemp("work") / "small"
    arguments = (f"--config={small_config}", f"--workdir={workdir}")
    status, out, err = commands.run("ablate", *arguments, charts=True)
    assert status == 0, err
    return workdir, out


@pytest.fixture(scope="session")
def longer_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four longer runs of two cohorts; there is time to kill one."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    text = small.CONFIG.replace("epochs = 3", "epochs = 12").replace("range(2)", "range(1)")
    atomic.write_text(shared / "longer.py", text)  # Others may be reading it.
    return shared / "longer.py"


@pytest.fixture(scope="session")
def longer(longer_config: Path) -> Path:
    """The workdir of these runs, trained by one process in a local folder; tests only read it."""
    workdir = longer_config.with_suffix(".work")
    with longer_config.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Of several processes of tests, the first trains it.
        if not (workdir / "report.html").exists():
            arguments = (f"--config={longer_config}", f"--workdir={workdir}")
            status, _, err = commands.run("ablate", *arguments)
            assert status == 0, err
    return workdir


@pytest.fixture(scope="session")
def serving() -> Iterator[dict[str, str]]:
    """A server of buckets on this machine, one for all tests: clients keep its address."""
    with buckets.serving() as environment:
        yield environment


@pytest.fixture(scope="module")
def server(serving: dict[str, str]) -> Iterator[None]:
    """Set the environment in which processes find the server of buckets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in serving.items():
            patch.setenv(name, value)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: side by side, processes then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
