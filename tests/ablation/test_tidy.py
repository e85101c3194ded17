"""Damaged files are put aside, and leftovers removed, before an experiment goes on."""

import json
import os
import shutil

import pytest

from configs import digits
from mnv2_jax import checksums
from mnv2_jax.ablation import cohort, grid, heartbeat, merging, plans, records, status, tidy

GRID = grid.product(grid.axis("seed", range(3)))


@pytest.fixture
def cohorts(dots):
    return cohort.plan(grid.expand(digits.get_config(), GRID), lambda _: dots)


@pytest.fixture
def workdir(cohorts, tmp_path):
    """Two finished runs of three."""
    plans.write(tmp_path, "small", "python -m experiments.ablate", cohorts)
    for run in cohorts[0].runs[:2]:
        row = {**records.describe(run, cohorts[0]), "status": "done", "test_accuracy": 0.5}
        records.write(tmp_path, run, row, [{"epoch": 1, "train_loss": float("nan")}], {"data": "x"})
    return tmp_path


@pytest.fixture
def runs(cohorts):
    return [run.id for run in cohorts[0].runs]


def test_sound_files_are_not_put_aside(workdir, runs):
    before = sorted(path for path in workdir.rglob("*") if path.name != ".results.lock")
    assert tidy.tidy(workdir, runs, alone=True) == []
    assert sorted(path for path in workdir.rglob("*") if path.name != ".results.lock") == before
    row = records.read(workdir, runs[0])
    assert row is not None
    assert (row["run_id"], row["test_accuracy"], "files" in row) == (runs[0], 0.5, False)


def of_another_run(folder):
    shutil.copytree(
        next(path for path in folder.parent.iterdir() if path != folder), folder, dirs_exist_ok=True
    )


def without_its_folder(folder):
    shutil.rmtree(folder)
    folder.touch()


def linked(folder):
    (folder / "metrics.jsonl").rename(folder.parents[1] / "elsewhere")
    (folder / "metrics.jsonl").symlink_to(folder.parents[1] / "elsewhere")
    unsealed(folder)


def without_its_checksum(folder):
    path = folder / "result.json"
    text = path.read_text().replace('"schema"', '"sghema"').replace('"sha256"', '"sha257"')
    path.write_text(text.replace("0.5", "0.75"))


def with_another_curve(folder):
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "train_loss": 0.5}\n')


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (of_another_run, "result.json: it is damaged (of run "),
        (without_its_folder, "it is damaged (it is no folder)"),
        (without_its_checksum, "result.json: it is damaged (it does not have the checksum"),
        (linked, "metrics.jsonl: it is damaged (a link; expected a regular file)"),
        (with_another_curve, "metrics.jsonl: it is damaged (not the checksum in result.json)"),
    ],
)
def test_a_damaged_record_is_reported_by_all_and_put_aside(damage, reason, workdir, runs, tmp_path):
    folder = workdir / "runs" / runs[0]
    damage(folder)
    found = status.read(workdir)
    assert (found["all"]["done"], found["all"]["waiting"]) == (1, 2)
    assert [reason in line for line in found["damaged"]] == [True]
    merged = merging.merge(tmp_path / "merged", [workdir])
    assert (merged.copied, merged.damaged) == (1, tuple(found["damaged"]))
    (line,) = tidy.tidy(workdir, runs, alone=False)
    aside = workdir / "runs" / ".damaged" / runs[0]
    assert line.startswith(f"{found['damaged'][0]}; the run is trained again; ")
    assert line.endswith(f"put aside as {aside}")
    assert os.path.lexists(aside)
    assert not folder.exists()
    assert tidy.tidy(workdir, runs, alone=False) == []


def unsealed(folder, **changed):
    """Makes a record one of an earlier version."""
    path = folder / "result.json"
    row = checksums.read_json(path)
    row.pop("files", None)
    path.write_text(json.dumps({**row, **changed}, indent=2))


def test_a_link_to_what_was_written_is_followed(workdir, runs):
    path = workdir / "runs" / runs[0] / "config.json"
    path.rename(workdir / "elsewhere")
    path.symlink_to(workdir / "elsewhere")
    assert tidy.tidy(workdir, runs, alone=True) == []


def test_a_checksum_of_another_kind_of_record_is_not_enough(workdir, runs):
    path = workdir / "runs" / runs[0] / "result.json"
    checksums.write_json(path, {**checksums.read_json(path), "files": "all"})
    with pytest.raises(checksums.DamagedError, match="files 'all'; expected checksums by file"):
        records.read_checked(workdir, runs[0])


def test_records_of_earlier_versions_are_read(workdir, runs):
    before = records.read(workdir, runs[0])
    unsealed(workdir / "runs" / runs[0])
    assert "sha256" not in (workdir / "runs" / runs[0] / "result.json").read_text()
    assert records.read(workdir, runs[0]) == before
    assert tidy.tidy(workdir, runs, alone=True) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"run_id": "0123456789ab"}, "of run '0123456789ab'"),
        ({"status": "dona"}, "status 'dona'; expected done or diverged"),
        ({"test_accuracy": 5.5}, "test_accuracy 5.5; expected 0 to 1"),
        ({"validation_accuracy": "0.5"}, "validation_accuracy '0.5'; expected a number"),
        ({"lanes": True}, "lanes True; expected a number"),
        ({"device": 3}, "device 3; expected a text"),
        ({"seed": 7}, "config.json: it is damaged (seed 0, not 7)"),
        ({"projection": "relu6"}, "config.json: it is damaged (model.projection 'linear', not"),
    ],
)
def test_their_values_are_checked(changed, reason, workdir, runs):
    unsealed(workdir / "runs" / runs[0], **changed)
    with pytest.raises(checksums.DamagedError) as caught:
        records.read_checked(workdir, runs[0])
    assert reason in str(caught.value)


LEFT = (
    ".results.csv.x1.tmp",
    "runs/.0123456789ab.x.tmp/config.json",
    "checkpoints/a/.pack.json.x.tmp",
)


def test_leftovers_of_killed_processes_are_removed_by_a_process_alone(workdir, runs):
    for name in (*LEFT, "training/a.json"):
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).touch()
    tidy.tidy(workdir, runs, alone=False)
    assert all((workdir / name).exists() for name in LEFT)
    tidy.tidy(workdir, runs, alone=True)
    left = [path.name for path in workdir.rglob("*") if ".tmp" in str(path.relative_to(workdir))]
    assert left == []
    assert list((workdir / "training").iterdir()) == []


def test_signs_of_life_of_what_goes_on_elsewhere_stay(workdir, runs):
    heartbeat.Heartbeat(workdir, "here", "c", runs).beat(1, 8)
    heartbeat.Heartbeat(workdir, "stopped", "c", runs).beat(1, 8)
    path = workdir / "training" / "stopped.json"
    checksums.write_json(path, {**checksums.read_json(path), "host": "elsewhere", "time": 0})
    tidy.tidy(workdir, runs, alone=True)
    assert [path.name for path in (workdir / "training").iterdir()] == ["here.json"]


def test_what_is_no_folder_is_put_aside(workdir, runs):
    (workdir / "failures").touch()
    (line,) = tidy.tidy(workdir, runs, alone=True)
    assert line.startswith(f"{workdir / 'failures'}: it is no folder; ")
    assert not (workdir / "failures").exists()
