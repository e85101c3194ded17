"""Every file of an experiment's folder, damaged in every way, under every command."""

import json
import os
import shutil
import signal

import pytest
import vl_convert

from mnv2_jax import api, checksums, schema
from mnv2_jax.ablation import chunks
from mnv2_jax.ablation import status as status_of
from mnv2_jax.analysis.verdicts import read_decided
from tests import commands
from tests.small import curves_of, rows_of

pytestmark = pytest.mark.slow

NOTES = (
    *("plan.json", "stated.json", "results.csv", "results.csv.sha256", "claims.json"),
    *("report.html", "columns.json", "figures/learning_curves.svg", "failures/0123456789ab.json"),
    *("training/0123456789ab.json", "checkpoints/0123456789ab/pack.json"),
)


def flipped(path):
    """One bit of a digit: it stays one, and JSON stays JSON."""
    data = bytearray(path.read_bytes())
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    data[digits[len(digits) // 2]] ^= 1
    path.write_bytes(data)


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def without_its_last_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def renamed_field(path):
    path.write_bytes(path.read_bytes().replace(b"a", b"b"))


def numbers_for_texts(path):
    texts = {"run_id": 7, "status": [], "name": 7, "command": {}, "cohorts": "x", "runs": 3}
    path.write_text(json.dumps(texts))


def holding(text):
    def hold(path):
        path.write_bytes(text)

    hold.__name__ = f"holding_{text[:8].decode('latin-1')}"
    return hold


def removed(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = (
    *(flipped, truncated, without_its_last_line, renamed_field, numbers_for_texts),
    *map(holding, (b"", b"[]", b'{"status": NaN}', b'{"test_accuracy": 1e999}', b"[" * 10**5)),
    *(removed, folder, pipe, endless),
)


@pytest.fixture(scope="module")
def train(small_config):
    """Trains four runs of one cohort, as many as a record has files, and writes the report.

    What takes long, and is the same each time, is done once: programs and figures.
    """
    experiment = api.Experiment.from_file(
        str(small_config), {"train.epochs": 1, "model.expansion": 1.0}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "trainer_of", once(chunks.trainer_of))
        for name in ("vegalite_to_svg", "svg_to_png"):
            patch.setattr(vl_convert, name, once(getattr(vl_convert, name)))
        yield experiment.run


def once(function):
    """A function that is called once for what its texts and numbers are."""
    results = {}

    def call(*arguments, **options):
        key = tuple(one for one in arguments if isinstance(one, str | int))
        if key not in results:
            results[key] = function(*arguments, **options)
        return results[key]

    return call


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """The folder of a finished experiment, and what lies there while one is trained."""
    workdir = tmp_path_factory.mktemp("work") / "whole"
    train(workdir, progress=False)
    for name in NOTES:
        if not (workdir / name).exists():
            checksums.write_json(workdir / name, {"runs": ["0123456789ab"], "size": 4})
    return workdir


@pytest.fixture
def within_a_minute():
    """Ends a test that waits for a pipe, say."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it takes more than a minute"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def measured(workdir):
    """The table without what depends on the hour."""
    return [{**row, "seconds": ""} for row in rows_of(workdir)]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_command_crashes_and_training_rewrites_all(
    damage, train, whole, within_a_minute, tmp_path, capfd
):
    workdir = tmp_path / "work"
    shutil.copytree(whole, workdir)
    runs = sorted(path.name for path in (workdir / "runs").iterdir())
    assert len(runs) == len(schema.RECORD)
    for run, name in zip(runs, schema.RECORD, strict=True):
        damage(workdir / "runs" / run / name)
    for name in NOTES:
        damage(workdir / name)

    where = f"--workdir={workdir}"
    merged = tmp_path / "merged"
    for experiment, *arguments in (
        ("status", where, "--format=json"),
        ("plot", where, "--x=projection", f"--output={tmp_path / 'plot.svg'}"),
        ("verdicts", where, "--format=json"),
        ("merge", f"--workdir={merged}", workdir),
    ):
        status, out, err = commands.run(experiment, *arguments)
        assert status in (0, 2), (experiment, err)
        assert len(err.splitlines()) == (1 if status else 0), (experiment, err)
        assert experiment != "status" or status or json.loads(out)["all"]["done"] == 0
        # No claims are what an earlier version may have written.
        assert experiment not in ("plot", "verdicts") or status == 2 or json.loads(out) == []
    assert not (merged / "runs").exists()

    train(workdir)
    out, err = capfd.readouterr()
    assert err == ""
    assert "Runs: 4, cohorts: 1; 0 finished before, 4 to train" in out
    assert out.count("the run is trained again") == 4
    assert curves_of(workdir) == curves_of(whole)
    assert measured(workdir) == measured(whole)
    assert "</html>" in (workdir / "report.html").read_text()
    assert status_of.read(workdir)["all"]["done"] == 4
    assert len(read_decided(workdir)) == len(read_decided(whole)) == 1
