"""Experiments from Python: without flags, with the results of the commands."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from mnv2_jax import api, config_file, cores
from mnv2_jax.ablation import grid
from mnv2_jax.analysis.claims import greater
from mnv2_jax.nn import trained
from tests import commands
from tests.small import curves_of

pytestmark = pytest.mark.slow

SCRIPT = """
import sys

sys.argv = ["ipykernel_launcher.py", "-f", "kernel.json"]  # As in a notebook.

import numpy as np
from mnv2_jax import api

experiment = api.Experiment.from_file({config!r}, {{"train.epochs": 3}})
results = experiment.run({workdir!r})
frame = results.frame
figure = results.plot(x="expansion", hue="projection")
decided = results.decide()
report = results.report()
network = api.load(results.best())
shares = network.predict(np.zeros((3, 8, 8, 1), np.uint8))

import jax
print("devices", jax.device_count())
print("runs", len(frame), len(results.curves), list(decided.index), report.name)
print("figure", figure._repr_png_()[:4])
print("network", shares.shape, shares.sum(axis=1).round(3).tolist(), network.cost().params)
again = experiment.run({workdir!r}, progress=False)
print("again", again.outcome)
"""


@pytest.fixture(scope="module")
def done(small_config, tmp_path_factory):
    """The workdir of a script in a process of its own, and what the script prints."""
    workdir = tmp_path_factory.mktemp("api") / "work"
    text = SCRIPT.format(config=str(small_config), workdir=str(workdir))
    script = subprocess.run(
        [sys.executable, "-c", text],
        cwd=workdir.parent,
        capture_output=True,
        text=True,
        timeout=commands.SECONDS,
    )
    assert script.returncode == 0, script.stderr
    assert script.stderr == ""
    return workdir, script.stdout


def test_the_lines_of_a_notebook_work_in_a_fresh_process(done):
    _, out = done
    assert f"\ndevices {cores.available()}\n" in out
    assert "\nruns 8 24 ['linear_bottleneck'] report.html\n" in out
    assert "\nfigure b'\\x89PNG'\n" in out
    assert "\nnetwork (3, 10) [1.0, 1.0, 1.0] " in out


def test_progress_is_told_as_on_the_command_line(done):
    workdir, out = done
    assert "Runs: 8, cohorts: 2; 0 finished before, 8 to train\n" in out
    assert "cohort 1 of 2 (inverted_residual, expansion 1), 4 lanes: " in out
    assert "8 runs trained, 0 failed" in out
    assert f'Its best network, by validation accuracy: mnv2_jax.api.load("{workdir}/runs/' in out


def test_a_second_run_trains_nothing_and_can_be_silent(done):
    _, out = done
    assert "\nagain Outcome(trained=0, failed=0)\n" in out
    assert "0 to train" not in out


def test_the_command_comes_to_the_same_bits(done, small_trained):
    assert len(curves_of(done[0])) == 8
    assert curves_of(done[0]) == curves_of(small_trained[0])


def test_records_say_how_they_were_made(done, small_config):
    workdir, _ = done
    call = f'mnv2_jax.api: Experiment.from_file("{small_config}", {{"train.epochs": 3}}).run()'
    environment = json.loads(next(workdir.glob("runs/*/environment.json")).read_text())
    assert environment["command"] == call
    status, out, err = commands.run("status", f"--workdir={workdir}", "--format=json")
    assert status == 0, err
    assert json.loads(out)["command"] == call
    stated = json.loads((workdir / "stated.json").read_text())
    (claim,) = (one for one in stated.values() if isinstance(one, dict))
    assert claim["config"] == str(small_config)
    assert "Experiment.from_file" in (workdir / "report.html").read_text()


def test_results_are_opened_again(done):
    workdir, _ = done
    results = api.Results.open(workdir)
    assert results.outcome is None
    assert list(results.runs) == list(results.frame["run_id"])
    frame = results.frame.set_index("run_id")
    assert results.best() == workdir / "runs" / frame["validation_accuracy"].idxmax()
    assert results.best("test_loss") == workdir / "runs" / frame["test_loss"].idxmin()
    assert results.column("params").label
    with pytest.raises(ValueError, match="column='accuracy': expected one of run_id, "):
        results.column("accuracy")
    assert results.plot("expansion", "projection").rows
    with pytest.raises(ValueError, match=r"^x=expansoin: .*; did you mean expansion\?"):
        results.plot("expansoin")
    assert results.plot("test_loss", "projection").heading == "Test accuracy over test loss"
    with pytest.raises(ValueError, match=r"^metric=test_loss: x shows it; expected another"):
        results.plot("test_loss", metric="test_loss")
    decided = results.decide()
    assert decided.loc["linear_bottleneck", "pairs"] == 4
    mine = greater("seed", "mine", "Expansion 2 beats 1", "model.expansion", 2, 1)
    assert list(results.decide([mine]).index) == ["seed"]
    before = results.report().read_bytes()
    assert results.report().read_bytes() == before
    assert "<table" in results._repr_html_()


def test_a_network_takes_arrays_and_files(done, tmp_path):
    workdir, _ = done
    results = api.Results.open(workdir)
    network = api.load(results.best())
    assert api.load(workdir).path == network.path == str(results.best() / trained.FILE)
    assert api.load(results.best() / trained.FILE).best_of == ""
    assert api.load(workdir).best_of == str(workdir)
    pixels = np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8, 1)
    shares = network.predict(pixels)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(network.predict(pixels, batch_size=2), shares, rtol=1e-5)
    names = [network.class_names[label] for label in shares.argmax(axis=1)]
    assert network.classify(pixels) == names
    path = tmp_path / "image.png"
    PIL.Image.fromarray(pixels[0, ..., 0]).save(path)
    np.testing.assert_allclose(network.predict(path), shares[:1], rtol=1e-5)
    assert network.predict([]).shape == (0, 10)
    # Of another size, an array is what the file of it is.
    large = np.repeat(np.repeat(pixels[:1], 3, axis=1), 4, axis=2)
    PIL.Image.fromarray(large[0, ..., 0]).save(path)
    np.testing.assert_allclose(network.predict(large), network.predict([path]), rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 8, 8, 1), np.float32), "images: float32[1, 8, 8, 1]; expected uint8 [batch"),
        (np.zeros((8, 8, 1), np.uint8), "images: uint8[8, 8, 1]; expected uint8 [batch, height"),
        (np.zeros((1, 8, 8, 3), np.uint8), "images: uint8[1, 8, 8, 3]; expected uint8 [batch, hei"),
    ],
)
def test_wrong_images_are_told(done, images, message):
    network = api.load(done[0])
    with pytest.raises(ValueError, match="expected") as error:
        network.predict(images)
    assert str(error.value).startswith(message)


def experiment_of(path, **options):
    config = config_file.config(str(path))
    config.train.epochs = 1
    points = grid.product(grid.axis("model.expansion", (1, 2)), grid.axis("seed", (5,)))
    return api.Experiment(config, points, name="mine", **options)


def test_a_plan_has_a_row_per_run_with_what_tells_runs_apart(small_config):
    plan = experiment_of(small_config).plan()
    assert list(plan) == ["run_id", "cohort", "params", "madds", "expansion", "seconds"]
    assert list(plan["expansion"]) == [1, 2]
    assert plan["madds"].is_monotonic_increasing
    more = experiment_of(small_config).plan(seeds=3)
    assert list(more["seed"]) == [0, 1, 2] * 2
    assert list(experiment_of(small_config).plan(seeds=[7])["run_id"]) != list(plan["run_id"])
    pinned = experiment_of(small_config, pinned=["model.expansion"])
    assert len(pinned.plan(seeds=2)) == 2


def test_a_config_that_is_changed_is_planned_anew(small_config):
    experiment = experiment_of(small_config)
    before = experiment.plan()
    experiment.config.train.batch_size = 32
    assert set(experiment.plan()["run_id"]).isdisjoint(before["run_id"])


class Told:
    """Notes what an experiment tells."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


def test_an_object_is_told_of_progress_and_a_function_launches(small_config, tmp_path, capsys):
    told = Told()
    jobs = []

    def launch(job, watch):
        jobs.append(job)
        watch.say("not today")
        return api.Outcome(trained=0, failed=0)

    results = experiment_of(small_config).run(tmp_path / "work", launch, told, seeds=2)
    assert capsys.readouterr().out == ""
    assert ("said", "not today") in told.calls
    (job,) = jobs
    assert [len(cohort.runs) for cohort in job.cohorts] == [2, 2]
    assert job.workdir == str(tmp_path / "work")
    assert job.command == (
        'mnv2_jax.api: Experiment(config, grid, claims, name="mine").run(seeds=[0, 1])'
    )
    assert isinstance(results.frame, pd.DataFrame)
    assert results.frame.empty
    with pytest.raises(ValueError, match="no run is done and has a validation_accuracy"):
        results.best()


def test_it_runs_in_a_thread_which_receives_no_signals(small_config, tmp_path):
    def launch(job, watch):
        return api.Outcome(trained=0, failed=0)

    with ThreadPoolExecutor() as pool:
        found = pool.submit(experiment_of(small_config).run, tmp_path / "work", launch, False)
    assert found.result().frame.empty


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.expansoin": 6}, "config.model.expansoin: no such field; did you mean expansion?"),
        ({"model.expansion": "six"}, "config.model.expansion='six': expected a value of type"),
    ],
)
def test_a_wrong_override_is_told(small_config, overrides, message):
    with pytest.raises(ValueError, match="config") as error:
        api.Experiment.from_file(str(small_config), overrides)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one, path: one.run(path / "a", "slurm"), "launcher='slurm': expected FILE.py:NAME"),
        (lambda one, path: one.run(path / "a", on_corrupt="no"), "on_corrupt='no': expected one"),
        (lambda one, path: one.run("http://x/y"), "workdir=http://x/y: expected a folder, gs://"),
        (lambda one, path: api.Results.open(path / "a"), "workdir={}/a: no such folder; expected"),
        (lambda one, path: api.load(path / "a"), "{}/a: no such file or folder; expected a netw"),
        (lambda one, path: api.Results.open(path).decide(), "claims: there are none in {}; expec"),
        (lambda one, path: api.Results.open(path).report(), "workdir={}: it holds no results.csv;"),
        (lambda one, path: api.Results.open(path).frame, "workdir {} holds no results.csv"),
    ],
)
def test_wrong_input_is_told_in_a_line_and_leaves_nothing(small_config, tmp_path, call, message):
    with pytest.raises(ValueError, match=r"expected|name a folder") as error:
        call(experiment_of(small_config), tmp_path)
    assert str(error.value).startswith(message.format(tmp_path))
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": -1}, "seeds=-1: expected how many, 1 or more, or which ones"),
        ({"seeds": 1.5}, "seeds=1.5: expected how many, or which ones"),
        ({"seeds": []}, r"seeds=\[\]: expected how many, or which ones"),
        ({"progress": "yes"}, "progress='yes': expected True, False or an object"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds=-1: expected a number, 0 or more"),
        ({"launcher": lambda job, watch: None}, "launcher: it returns None; expected a mnv2_jax"),
        ({"launcher": lambda job, watch: job.queue}, "launcher: AttributeError: 'Job' object"),
    ],
)
def test_a_wrong_argument_of_run_is_named(small_config, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        api.Experiment.from_file(str(small_config)).run(tmp_path / "work", **arguments)


def test_an_experiment_of_wrong_parts_is_refused(small_config):
    config = config_file.config(str(small_config))
    for arguments, message in (
        (("configs/digits.py",), "config='configs/digits.py': expected a ConfigDict"),
        ((config, [{"seed": 0}]), "grid=.*: expected a Grid"),
        ((config, None, ["linear"]), "claims=.*: expected a list of"),
        ((config, None, 5), "claims=5: expected a list of"),
    ):
        with pytest.raises(ValueError, match=message):
            api.Experiment(*arguments)
