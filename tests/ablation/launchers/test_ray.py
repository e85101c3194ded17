"""The ablation on a Ray cluster of two nodes: the same bits, though a worker is killed."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from typing import Any

import pytest

from mnv2_jax.ablation import heartbeat
from mnv2_jax.ablation.launchers import ray as cluster
from mnv2_jax.train.preemption import Interrupted, StopRequest
from tests import commands
from tests.small import curves_of, rows_of

RUNS = 4  # Of two cohorts, which are a chunk each.


@pytest.fixture(scope="module")
def address():
    """Of a cluster of two nodes."""
    # Ray's workers take the lowest priority where it is not told otherwise.
    with subprocess.Popen(
        [sys.executable, "-m", "tests.nodes"],
        cwd=commands.ROOT,
        env={**os.environ, "RAY_worker_niceness": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nodes:
        assert nodes.stdout is not None
        yield nodes.stdout.readline().strip()
        nodes.communicate("")


def kill_one(workdir, process):
    """Kills the first worker that is seen in training."""
    while process.is_alive():
        for beat in heartbeat.beats(workdir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(beat.pid, signal.SIGKILL)
                return beat
        time.sleep(0.02)
    pytest.fail("nothing was seen in training")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: '.[sweep]'"
)
def test_a_cluster_trains_to_the_same_bits_though_a_worker_is_killed(
    longer_config, longer, address, tmp_path
):
    workdir = tmp_path / "work"
    arguments = (
        *(f"--config={longer_config}", f"--workdir={workdir}", "--checkpoint_seconds=0"),
        *("--launcher=ray", f"--ray_address={address}"),
    )
    process = commands.begin(tmp_path / "out", tmp_path / "err", "ablate", *arguments)
    killed = kill_one(workdir, process)
    process.join(2 * commands.SECONDS)
    out, err = ((tmp_path / name).read_text() for name in ("out", "err"))
    assert process.exitcode == 0, err
    assert "Ray: 2 chunks on 2 machines" in out
    assert len(curves_of(workdir)) == RUNS
    assert curves_of(workdir) == curves_of(longer)
    assert (workdir / "report.html").is_file()
    for run in killed.runs:  # Another process ended what it had begun.
        environment = json.loads((workdir / "runs" / run / "environment.json").read_text())
        assert "--launcher=ray" in environment["command"]
    _, out, _ = commands.run("status", f"--workdir={workdir}", "--format=json")
    assert json.loads(out)["all"]["done"] == RUNS
    assert not json.loads(out)["training"]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: '.[sweep]'"
)
def test_a_cluster_trains_round_by_round(small_config, address, tmp_path):
    workdir = tmp_path / "work"
    status, out, err = commands.run(
        *("ablate", f"--config={small_config}", f"--workdir={workdir}", "--seeds=auto:2,2,4"),
        *("--config.model.expansion=1", "--launcher=ray", f"--ray_address={address}"),
    )
    assert status == 0, err
    assert out.count("Ray: 2 chunks on 2 machines") == 2
    assert "After 2 seeds: decided: none; undecided: linear_bottleneck; next: 4 runs" in out
    assert len(rows_of(workdir)) == 2 * 4


class AuthenticationError(Exception):
    pass


@pytest.fixture
def ray(monkeypatch):
    """A stand-in for Ray."""
    module = types.SimpleNamespace()
    module.exceptions = types.SimpleNamespace(AuthenticationError=AuthenticationError)
    module.shutdown = lambda: None
    monkeypatch.setitem(sys.modules, "ray", module)
    # What the code under test sets is taken back after the test.
    for name in ("RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return module


@pytest.mark.parametrize(
    "error", [ConnectionError("Failed to connect\nthere"), AuthenticationError("no token")]
)
def test_a_cluster_that_asks_for_a_token_is_refused_in_one_line(ray, error, capfd):
    def init(*_, **__):
        os.write(2, b"what Ray's C++ says\n")
        raise error

    ray.init = init
    with (
        pytest.raises(ValueError, match=r"^ray_address=auto: no cluster .* RAY_AUTH_MODE=token"),
        cluster._connected("auto"),
    ):
        pass
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_an_address_where_no_cluster_answers_is_refused(ray):
    expected = (
        r"^ray_address=127\.0\.0\.1:1: no cluster answers there .*; expected HOST:PORT of one"
    )
    with pytest.raises(ValueError, match=expected), cluster._connected("127.0.0.1:1"):
        pass


def test_a_cluster_started_here_has_a_token_that_is_not_written_to_disk(ray):
    tokens = []
    ray.init = lambda *_, **__: tokens.append(os.environ["RAY_AUTH_TOKEN"])
    with cluster._connected(None):
        pass
    assert [len(token) for token in tokens] == [64]


def signalled_once(number):
    os.kill(os.getpid(), number)


def signalled_again(number):
    """A second signal, whose exception inside of Ray's code becomes another error."""
    os.kill(os.getpid(), number)
    try:
        os.kill(os.getpid(), number)
    except Interrupted as stopped:
        raise SystemError("returned a result with an exception set") from stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("signalled", [signalled_once, signalled_again])
def test_a_signal_is_reported_whatever_error_ray_makes_of_it(ray, number, signalled):
    def wait(references, timeout):
        signalled(number)
        return [], references

    ray.wait = wait
    stop = StopRequest()
    watch: Any = types.SimpleNamespace(stop=stop)
    chunk: Any = None
    with (
        stop.listening(),
        pytest.raises(Interrupted, match="goes on from its last checkpoint") as caught,
        cluster._stoppable(stop),
    ):
        cluster._await(ray, watch, {"task": chunk})
    assert caught.value.signal == number


def test_a_task_takes_a_gpu_or_else_a_machine():
    node = {"Alive": True, "Resources": {"CPU": 8.0}}
    with_gpus = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}}
    gone = {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 8.0}}
    larger = {"Alive": True, "Resources": {"CPU": 16.0}}
    assert str(cluster.slots([node, with_gpus, gone])) == "4 GPUs"
    assert (cluster.slots([node, larger]).count, cluster.slots([node, larger]).cpus) == (3, 8)
