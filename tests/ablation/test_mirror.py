"""What a mirror and a bucket tell each other, against a server on this machine."""

import importlib.util
import os
import threading

import pytest

from mnv2_jax.ablation import mirror, workdir
from mnv2_jax.ablation.bucket import Bucket
from mnv2_jax.nn import trained
from tests import buckets

RECORD = {
    "config.json": b"{}\n",
    "metrics.jsonl": b"",
    "environment.json": b"{}\n",
    "result.json": b'{"status": "done"}\n',
}


@pytest.fixture
def uri(server, tmp_path, monkeypatch):
    """A folder that is empty, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def bucket(uri):
    """The folder as others see it."""
    return Bucket(uri, "test")


def write_record(folder, run="a", files=RECORD):
    for name, data in files.items():
        path = folder / "runs" / run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def publish_record(bucket, run="a", files=RECORD):
    for name, data in files.items():
        bucket.write(f"runs/{run}/{name}", data)


def test_the_files_of_a_record_are_those_that_are_copied():
    assert tuple(RECORD) == workdir.RECORD
    assert workdir.RECORD[-1] == "result.json"


def test_a_local_folder_stands_for_itself(tmp_path):
    with workdir.claimed(tmp_path / "work") as here:
        assert here.path == tmp_path / "work"
        assert here.sync() is False
        assert here.shown(here.path / "report.html") == str(tmp_path / "work" / "report.html")
    with workdir.seen(tmp_path / "work") as here:
        assert here.location == str(tmp_path / "work")


@buckets.needed
def test_what_one_machine_wrote_the_other_finds(uri, monkeypatch, tmp_path):
    with workdir.claimed(uri) as here:
        write_record(here.path)
        (here.path / "stated.json").write_text("{}")
        (here.path / "tensorboard").mkdir()
        (here.path / "tensorboard" / "events").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with workdir.claimed(uri, "shard-1-of-2") as here:
        assert str(here.path).startswith(str(tmp_path / "elsewhere"))
        files = {path.name: path.read_bytes() for path in (here.path / "runs" / "a").iterdir()}
        assert files == RECORD
        assert (here.path / "stated.json").read_text() == "{}"
        assert not (here.path / "tensorboard").exists()
        assert here.sync() is False


@buckets.needed
def test_the_network_of_a_run_that_keeps_it_goes_with_its_record(uri, monkeypatch, tmp_path):
    with workdir.claimed(uri) as here:
        write_record(here.path, "with", {trained.FILE: b"weights", **RECORD})
        write_record(here.path, "without")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with workdir.claimed(uri) as here:
        assert (here.path / "runs" / "with" / trained.FILE).read_bytes() == b"weights"
        assert {path.name for path in (here.path / "runs" / "without").iterdir()} == set(RECORD)
    with workdir.seen(uri, files=workdir.RECORD[-1:]) as here:
        assert [path.name for path in here.path.glob("runs/with/*")] == ["result.json"]


@buckets.needed
def test_records_of_others_are_told_once(uri, bucket):
    with workdir.claimed(uri) as here:
        publish_record(bucket)
        assert here.sync() is True
        assert here.sync() is False


@buckets.needed
def test_a_record_comes_last_by_its_result(uri, bucket, monkeypatch):
    written = []
    write = Bucket.write

    def noted(self, name, data):
        written.append(name)
        write(self, name, data)

    monkeypatch.setattr(Bucket, "write", noted)
    with workdir.claimed(uri) as here:
        write_record(here.path)
    assert [name for name in written if name.startswith("runs/")][-1] == "runs/a/result.json"


@buckets.needed
def test_a_record_that_is_not_whole_is_not_there(uri, bucket):
    publish_record(bucket, files={**RECORD, "result.json": b'{"status'})
    publish_record(bucket, "b", {"config.json": b"{}\n"})
    with workdir.claimed(uri) as here:
        assert here.sync() is False
        # Trained anew, both become whole.
        for run in "ab":
            for path in (here.path / "runs").glob(f"{run}/*"):
                path.unlink()
            write_record(here.path, run)
    assert bucket.read("runs/a/result.json") == RECORD["result.json"]
    assert bucket.read("runs/b/result.json") == RECORD["result.json"]


@buckets.needed
def test_what_a_killed_process_left_unpublished_is_published(uri, bucket):
    path = mirror.mirror_folder(uri, "")
    write_record(path)
    (path / "training").mkdir()
    (path / "training" / "old.json").write_text("{}")
    with workdir.claimed(uri):
        pass
    assert bucket.read("runs/a/result.json") == RECORD["result.json"]
    assert bucket.names("training") == []


@buckets.needed
def test_signs_of_life_and_failures_come_and_go(uri, bucket, monkeypatch):
    monkeypatch.setattr(mirror, "_SECONDS_BETWEEN", 0.05)
    bucket.write("failures/a.json", b"{}")
    with workdir.claimed(uri) as here:
        assert (here.path / "failures" / "a.json").exists()
        (here.path / "failures" / "a.json").unlink()
        beat = here.path / "training" / "pack.json"
        beat.parent.mkdir()
        beat.write_text("1")
        await_(lambda: bucket.read("training/pack.json") == b"1")
        beat.write_text("22")
        await_(lambda: bucket.read("training/pack.json") == b"22")
        with workdir.seen(uri, files=()) as there:
            assert (there.path / "training" / "pack.json").read_text() == "22"
        bucket.write("training/other.json", b"3")
        here.sync()
        assert (here.path / "training" / "other.json").read_text() == "3"
        bucket.remove("training/other.json")
        here.sync()
        assert not (here.path / "training" / "other.json").exists()
        beat.unlink()
        await_(lambda: not bucket.names("training"))
    assert bucket.names("failures") == []


@buckets.needed
def test_a_file_that_is_replaced_while_it_is_read_is_read_again(bucket, monkeypatch):
    core = pytest.importorskip("s3fs.core")
    fetch = core.S3File._fetch_range

    def replaced_first(self, start, end):
        monkeypatch.setattr(core.S3File, "_fetch_range", fetch)
        bucket.write("training/pack.json", b"22")
        return fetch(self, start, end)

    bucket.write("training/pack.json", b"1")
    monkeypatch.setattr(core.S3File, "_fetch_range", replaced_first)
    assert bucket.read("training/pack.json") == b"22"


@buckets.needed
def test_a_file_that_is_replaced_at_each_reading_is_told(bucket, monkeypatch):
    core = pytest.importorskip("s3fs.core")
    fetch = core.S3File._fetch_range
    readings = []

    def replaced(self, start, end):
        readings.append(start)
        bucket.write("training/pack.json", b"1" * (1 + len(readings)))
        return fetch(self, start, end)

    bucket.write("training/pack.json", b"1")
    monkeypatch.setattr(core.S3File, "_fetch_range", replaced)
    with pytest.raises(OSError, match="test: it cannot be read"):
        bucket.read("training/pack.json")
    assert len(readings) == 5


def await_(condition):
    ended = threading.Event()
    for _ in range(400):
        if condition():
            return
        ended.wait(0.02)
    pytest.fail("it did not come to pass")


@buckets.needed
def test_only_the_records_asked_for_are_brought(uri, bucket):
    publish_record(bucket, "a")
    publish_record(bucket, "b")
    with workdir.claimed(uri, "pack-1", ["b"]) as here:
        assert [path.name for path in (here.path / "runs").iterdir()] == ["b"]
    with workdir.seen(uri, files=["result.json"]) as here:
        found = sorted(str(path.relative_to(here.path)) for path in here.path.rglob("*.json"))
        assert found == ["runs/a/result.json", "runs/b/result.json"]
    with workdir.seen(uri, files=()) as here:
        assert not (here.path / "runs").exists()


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


@buckets.needed
def test_a_bucket_that_is_lost_does_not_stop_training_but_is_told_at_the_end(uri, monkeypatch):
    monkeypatch.setattr(mirror, "_SECONDS_BETWEEN", 0.01)

    def fail(self, name, data):
        tried.set()
        raise OSError("lost")

    def train():
        with workdir.claimed(uri) as here:
            monkeypatch.setattr(Bucket, "write", fail)
            (here.path / "plan.json").write_text("{}")
            assert tried.wait(10)
            trained.set()

    tried, trained = threading.Event(), threading.Event()
    with pytest.raises(OSError, match="lost"):
        train()
    assert trained.is_set()


@pytest.mark.parametrize("where", ["s3://", "s3:///path", "http://host/path", "://x"])
def test_what_is_in_no_bucket_is_refused(where):
    expected = "expected a folder, gs://BUCKET/PATH or s3://BUCKET/PATH"
    with pytest.raises(ValueError, match=f"^workdir={where}: {expected}"), workdir.claimed(where):
        pass


@pytest.mark.parametrize(("where", "client"), [("s3://bucket/x", "s3fs"), ("gs://b/x", "gcsfs")])
def test_without_its_client_a_bucket_is_refused(where, client, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(ValueError, match=rf"{client} is not installed; expected pip install -e"),
        workdir.seen(where),
    ):
        pass


@buckets.needed
def test_the_mirror_of_each_part_has_a_name_that_tells_what_it_is(uri):
    whole, shard = (mirror.mirror_folder(uri, part) for part in ("", "shard-1-of-2"))
    assert whole != shard
    assert "bucket" in whole.name
    assert "shard_1_of_2" in shard.name


@buckets.needed
@pytest.mark.parametrize(
    "key", ["runs/../result.json", "training/../x.json", "runs/.a/result.json"]
)
def test_names_of_a_bucket_lead_nowhere_else(key, uri, bucket):
    import boto3

    with workdir.claimed(uri) as here:
        write_record(here.path)
        (here.path / "checkpoints").mkdir()
        prefix = uri.removeprefix("s3://bucket/")
        boto3.client("s3").put_object(
            Bucket="bucket", Key=f"{prefix}/{key}", Body=b'{"status": "done"}'
        )
        before = sorted(here.path.rglob("*"))
        here.sync()
        assert sorted(here.path.rglob("*")) == before
    assert bucket.names("runs") == ["a"]
    assert bucket.names("training") == []
