"""Every file of an experiment's folder, damaged in every way, under every command."""

import json
import os
import shutil

import pytest

from mnv2_jax import checksums, schema
from mnv2_jax.ablation import status as status_of
from mnv2_jax.analysis.verdicts import read_decided
from tests import commands
from tests.small import CONFIG, curves_of, rows_of

pytestmark = pytest.mark.slow

ARGUMENTS = ("--config.train.epochs=1", "--config.model.expansion=1")
"""Four runs of one cohort, as many as a record has files."""

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
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The folder of a finished experiment, and what lies there while one is trained."""
    workdir = tmp_path_factory.mktemp("work") / "whole"
    status, _, err = commands.run(
        "ablate", f"--config={config}", f"--workdir={workdir}", *ARGUMENTS
    )
    assert status == 0, err
    for name in NOTES:
        if not (workdir / name).exists():
            checksums.write_json(workdir / name, {"runs": ["0123456789ab"], "size": 4})
    return workdir


def measured(workdir):
    """The table without what depends on the hour."""
    return [{**row, "seconds": ""} for row in rows_of(workdir)]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_command_falls_and_the_experiments_own_makes_all_anew(damage, config, whole, tmp_path):
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

    status, out, err = commands.run("ablate", f"--config={config}", where, *ARGUMENTS)
    assert (status, err) == (0, ""), err
    assert "Runs: 4, cohorts: 1; 0 finished before, 4 to train" in out
    assert out.count("the run is trained again") == 4
    assert curves_of(workdir) == curves_of(whole)
    assert measured(workdir) == measured(whole)
    assert "</html>" in (workdir / "report.html").read_text()
    assert status_of.read(workdir)["all"]["done"] == 4
    assert len(read_decided(workdir)) == len(read_decided(whole)) == 1
