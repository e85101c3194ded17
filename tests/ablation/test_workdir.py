"""Claims of folders, and copies between mirror and bucket, with a server on this machine."""

import importlib.util
import os
import signal
import socket
import threading

import pytest

from mnv2_jax.ablation import workdir
from mnv2_jax.schema import NETWORK, RECORD
from tests import buckets, commands

RUN = {
    NETWORK: b"weights",
    "config.json": b"{}\n",
    "metrics.jsonl": b"",
    "environment.json": b"{}\n",
    "result.json": b'{"status": "done"}\n',
}


def hold(folder, ready):
    with workdir.claimed(folder):
        ready.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed `tmp_path / "work"`."""
    context = commands.forks()
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "work", ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_claim_keeps_others_out_until_its_process_ends(tmp_path, holder):
    expected = f"process {holder.pid} on {socket.gethostname()} is at work there"
    with pytest.raises(ValueError, match=expected), workdir.claimed(tmp_path / "work"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    for _ in range(2):
        with workdir.claimed(tmp_path / "work"):
            pass


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file"), workdir.claimed(tmp_path / "file"):
        pass


def test_a_local_folder_stands_for_itself(tmp_path):
    with workdir.claimed(tmp_path / "work") as here:
        assert here.path == tmp_path / "work"
        assert here.sync() is False
        assert here.shown(here.path / "report.html") == str(tmp_path / "work" / "report.html")
    with workdir.seen(tmp_path / "work") as here:
        assert here.location == str(tmp_path / "work")


@pytest.mark.parametrize("where", ["s3://", "s3:///path", "http://host/path", "://x"])
def test_what_is_in_no_bucket_is_refused(where):
    expected = "expected a folder, gs://BUCKET/PATH or s3://BUCKET/PATH"
    with pytest.raises(ValueError, match=f"^workdir={where}: {expected}"):
        workdir.check_location(where)


@pytest.mark.parametrize(("where", "client"), [("s3://bucket/x", "s3fs"), ("gs://b/x", "gcsfs")])
def test_without_its_client_a_bucket_is_refused(where, client, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(ValueError, match=rf"{client} is not installed; expected pip install -e"),
        workdir.seen(where),
    ):
        pass


@pytest.fixture
def uri(server, tmp_path, monkeypatch):
    """A folder that is empty, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def there(uri):
    """The folder as others see it, by another client."""
    return buckets.Folder(uri)


@pytest.fixture
def client():
    """The client of the code under test."""
    return pytest.importorskip("fsspec").filesystem("s3", use_listings_cache=False)


def write_run(folder, run="a", files=RUN):
    for name, data in files.items():
        path = folder / "runs" / run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def send_run(there, run="a", files=RUN):
    for name, data in files.items():
        there.write(f"runs/{run}/{name}", data)


def found(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@buckets.needed
def test_what_one_machine_wrote_another_finds(uri, monkeypatch, tmp_path):
    with workdir.claimed(uri) as here:
        write_run(here.path)
        write_run(here.path, "b", {name: RUN[name] for name in RECORD})  # It keeps no network.
        (here.path / "stated.json").write_text("{}")
        (here.path / "tensorboard").mkdir()
        (here.path / "tensorboard" / "events").touch()
        (here.path / "report.html").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    runs = {*(f"runs/a/{name}" for name in RUN), *(f"runs/b/{name}" for name in RECORD)}
    with workdir.claimed(uri, "shard-1-of-2") as here:
        assert str(here.path).startswith(str(tmp_path / "elsewhere"))
        assert found(here.path) == {"stated.json", ".lock", *runs}
        assert (here.path / "runs" / "a" / NETWORK).read_bytes() == b"weights"
        assert here.sync() is False
    with workdir.claimed(uri, "pack-1", ["b"]) as here:  # The runs that are asked for.
        assert [path.name for path in (here.path / "runs").iterdir()] == ["b"]
    for files in (RECORD[-1:], ()):  # And of each run the files.
        with workdir.seen(uri, files=files) as here:
            assert found(here.path) == {
                "stated.json",
                *(f"runs/{x}/{y}" for x in "ab" for y in files),
            }


@buckets.needed
def test_new_runs_are_reported_once_and_no_run_is_copied_twice(uri, there, client, monkeypatch):
    copied: list[str] = []
    for name in ("get", "put"):
        method = getattr(client, name)

        def noted(sources, targets, method=method):
            copied.extend(path.rpartition("/")[2] for path in sources)
            return method(sources, targets)

        monkeypatch.setattr(client, name, noted)
    with workdir.claimed(uri) as here:
        send_run(there)
        assert here.sync() is True
        assert sorted(copied) == sorted(RUN)
        write_run(here.path, "b")
        (here.path / "results.csv").touch()
        copied.clear()
        assert here.sync() is False
        # What has a result is whole, and what is in the table is there.
        assert sorted(copied[:4]) == sorted({*RUN} - {"result.json"})
        assert copied[4:6] == ["result.json", "results.csv"]
        copied.clear()
    with workdir.claimed(uri) as here:
        assert here.sync() is False
    assert copied == ["results.csv"]


@buckets.needed
def test_a_run_that_is_not_whole_is_not_there_until_it_is_trained_anew(uri, there):
    send_run(there, files={**RUN, "result.json": b'{"status'})
    send_run(there, "b", {"config.json": b"{}\n"})
    with workdir.claimed(uri) as here:
        assert here.sync() is False
        for run in "ab":
            write_run(here.path, run)
    for run in "ab":
        assert there.read(f"runs/{run}/result.json") == RUN["result.json"]


@buckets.needed
def test_what_a_killed_process_left_is_sent_but_for_signs_of_life(uri, there):
    path = workdir.mirror(uri, "")
    write_run(path)
    (path / "training").mkdir()
    (path / "training" / "old.json").write_text("{}")
    with workdir.claimed(uri):
        pass
    assert there.names() == {f"runs/a/{name}" for name in RUN}


@buckets.needed
def test_signs_of_life_and_failures_come_and_go(uri, there, monkeypatch):
    monkeypatch.setattr(workdir, "_SECONDS_BETWEEN", 0.05)
    there.write("failures/a.json", b"{}")
    with workdir.claimed(uri) as here:
        (here.path / "failures" / "a.json").unlink()
        beat = here.path / "training" / "pack.json"
        beat.parent.mkdir()
        for text in ("1", "22"):
            beat.write_text(text)
            await_(lambda text=text: there.read("training/pack.json") == text.encode())
        with workdir.seen(uri, files=()) as other:
            assert (other.path / "training" / "pack.json").read_text() == "22"
        there.write("training/other.json", b"3")
        here.sync()
        assert (here.path / "training" / "other.json").read_text() == "3"
        there.remove("training/other.json")
        here.sync()
        assert not (here.path / "training" / "other.json").exists()
        beat.unlink()
        await_(lambda: not there.names())


def await_(condition):
    ended = threading.Event()
    for _ in range(400):
        if condition():
            return
        ended.wait(0.02)
    pytest.fail("it did not come to pass")


@buckets.needed
def test_what_ends_while_it_is_brought_does_no_harm(uri, there, client, monkeypatch):
    there.write("training/pack.json", b"1")
    there.write("plan.json", b"{}")
    find = client.find

    def ends(*arguments, **options):
        listed = find(*arguments, **options)
        there.remove("training/pack.json")
        return listed

    monkeypatch.setattr(client, "find", ends)
    with workdir.seen(uri) as here:
        assert found(here.path) == {"plan.json"}


@buckets.needed
def test_of_a_file_that_both_sides_changed_the_local_one_stays(uri, there):
    there.write("results.csv", b"1")
    with workdir.claimed(uri) as here:
        table = here.path / "results.csv"
        there.write("results.csv", b"theirs")
        table.write_text("ours")
        here.sync()
        assert (table.read_text(), there.read("results.csv")) == ("ours", b"ours")
        there.write("results.csv", b"later")
        here.sync()
        assert table.read_text() == "later"


@buckets.needed
def test_errors_name_the_bucket(uri):
    with pytest.raises(ValueError, match=f"^{uri}/x is wrong$"), workdir.seen(uri) as here:
        raise ValueError(f"{here.path}/x is wrong")


@buckets.needed
def test_two_processes_of_one_machine_are_kept_apart(uri):
    with (
        workdir.claimed(uri),
        workdir.claimed(uri, "shard-1-of-2"),
        pytest.raises(ValueError, match=f"process {os.getpid()} on .* is at work there"),
        workdir.claimed(f"{uri}/"),
    ):
        pass
    assert "shard_1_of_2" in workdir.mirror(uri, "shard-1-of-2").name


@buckets.needed
def test_a_lost_bucket_does_not_stop_training_but_raises_at_the_end(uri, client, monkeypatch):
    monkeypatch.setattr(workdir, "_SECONDS_BETWEEN", 0.01)

    def fail(*arguments):
        tried.set()
        raise RuntimeError("lost")  # Not every client raises errors of the system.

    def train():
        with workdir.claimed(uri):
            monkeypatch.setattr(client, "put", fail)
            assert tried.wait(10)
            trained.set()

    tried, trained = threading.Event(), threading.Event()
    with pytest.raises(OSError, match=f"^workdir={uri}: it cannot be written to .lost.$"):
        train()
    assert trained.is_set()


@buckets.needed
def test_what_an_interrupted_process_wrote_is_sent(uri, there):
    def train():
        with workdir.claimed(uri) as here:
            write_run(here.path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert there.names() == {f"runs/a/{name}" for name in RUN}


@buckets.needed
@pytest.mark.parametrize(
    "key", ["runs/../result.json", "training/../x.json", "runs/.a/result.json", "other.json"]
)
def test_names_of_a_bucket_lead_nowhere_else(key, uri, there):
    there.write(key, b'{"status": "done"}')
    with workdir.claimed(uri) as here:
        assert found(here.path) == {".lock"}


@buckets.needed
def test_a_bucket_is_refused_that_is_not_there(server):
    with (
        pytest.raises(ValueError, match=r"^it=s3://no/x: it cannot be read \(.* does not exist\)$"),
        workdir.seen("s3://no/x", "it="),
    ):
        pass
