"""The base of a run: an earlier run, or given weights."""

import jax
import numpy as np
import pytest

from configs import digits
from mnv2_jax.ablation import cohort, grid, phases, pretrained, records, resolve, sweep
from mnv2_jax.ablation.pretrained import NotTrained, PretrainedLoader, PretrainedWeights
from mnv2_jax.nn import trained
from mnv2_jax.train.loop import Trainer
from tests.ablation.bases import assert_is_base_of, config, random_network, refusal


def plan(dots, *axes, given=None, **changes):
    """The cohorts of a transfer, by their phase."""
    points = grid.product(grid.axis("seed", (0,)), *axes)
    configs = grid.expand(config(**changes), points)
    runs = phases.runs(configs, given.identity if given else "")
    return {part.runs[0].config.transfer.phase: part for part in cohort.plan(runs, lambda _: dots)}


def keep(workdir, part, run, seed=0):
    """A network of random weights as that which a run trained."""
    network = random_network(
        resolve.network(run.config, part.dataset),
        seed=seed,
        optimizer=(np.float32(seed), np.arange(3, dtype=np.float32)),
    )
    records.write(workdir, run, {"status": "done"}, [], {}, network)
    return network


def assert_goes_on(start, network):
    """A start is all of a network, bit for bit, its classifier and optimizer included."""
    assert "classifier" in start.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, start.variables, network.variables)
    jax.tree.map(np.testing.assert_array_equal, start.optimizer, network.optimizer)


def test_a_run_starts_from_what_an_earlier_one_trained(tiny, dots, tmp_path):
    axes = (grid.axis("transfer.phase", ("scratch", "finetuning")),)
    cohorts = plan(dots, *axes)
    found = PretrainedLoader(tmp_path)
    for phase in ("scratch", "pretraining"):
        assert found.load(cohorts[phase].runs[0], cohorts[phase]) is None
    base = keep(tmp_path, cohorts["pretraining"], cohorts["pretraining"].runs[0])
    start = found.load(cohorts["extraction"].runs[0], cohorts["extraction"])
    assert_is_base_of(start, base.variables)
    # Fine-tuning goes on, with the classifier and with what its optimizer remembers.
    extracted = keep(tmp_path, cohorts["extraction"], cohorts["extraction"].runs[0], seed=1)
    start = found.load(cohorts["finetuning"].runs[0], cohorts["finetuning"])
    assert_goes_on(start, extracted)
    assert len(extracted.optimizer) == 2


def test_a_run_without_phases_has_no_base(dots, tmp_path):
    (only,) = cohort.plan([digits.get_config()], lambda _: dots)
    assert PretrainedLoader(tmp_path).load(only.runs[0], only) is None


def test_lanes_start_each_from_their_own(tiny, dots, tmp_path):
    cohorts = plan(dots, grid.axis("model.projection", ("linear", "relu6")))
    bases = [
        keep(tmp_path, cohorts["pretraining"], run, seed)
        for seed, run in enumerate(cohorts["pretraining"].runs)
    ]
    found = PretrainedLoader(tmp_path)
    for run, base in zip(cohorts["extraction"].runs, bases, strict=True):
        assert_is_base_of(found.load(run, cohorts["extraction"]), base.variables)


def reason(workdir, part):
    with pytest.raises(NotTrained, match=r"^.+$") as caught:
        PretrainedLoader(workdir).load(part.runs[0], part)
    return str(caught.value)


def test_a_missing_or_damaged_base_is_named_with_the_run_that_needs_it(tiny, dots, tmp_path):
    cohorts = plan(dots)
    (base,), (run,) = cohorts["pretraining"].runs, cohorts["extraction"].runs
    between = f"run {run.id} starts from run {base.id}"
    assert reason(tmp_path, cohorts["extraction"]) == (
        f"{between}, which has not been trained; the same command tries both again"
    )
    records.write_failure(tmp_path, base, cohorts["pretraining"], "out of memory")
    assert "which has not been trained" in reason(tmp_path, cohorts["extraction"])
    keep(tmp_path, cohorts["pretraining"], base)
    path = tmp_path / "runs" / base.id / trained.FILE
    whole = path.read_bytes()
    for found, damage in (
        ("not a whole safetensors file", whole[:-1]),
        ("damaged, ", bytes([*whole[:-1], whole[-1] ^ 1])),
        ("no such file; ", None),
    ):
        path.unlink()
        if damage:
            path.write_bytes(damage)
        told = reason(tmp_path, cohorts["extraction"])
        assert told.startswith(f"{between}: {path}: {found}")
        assert told.endswith("; to have that run trained again, remove its folder")
    path.write_bytes(whole)
    assert PretrainedLoader(tmp_path).load(run, cohorts["extraction"]) is not None


def test_runs_start_from_a_base_that_is_given(tiny, ours, dots, tmp_path):
    given = PretrainedWeights.open(ours)
    changes = {"data__scaling": "imagenet", "model__conventions": "torchvision"}
    cohorts = plan(dots, given=given, **changes)
    assert set(cohorts) == {"extraction", "finetuning"}
    pretrained.check_fits(given, list(cohorts.values()))
    found = PretrainedLoader(tmp_path, given)
    start = found.load(cohorts["extraction"].runs[0], cohorts["extraction"])
    assert_is_base_of(start, trained.load(ours).variables)
    extracted = keep(tmp_path, cohorts["extraction"], cohorts["extraction"].runs[0])
    start = found.load(cohorts["finetuning"].runs[0], cohorts["finetuning"])
    assert_goes_on(start, extracted)


@pytest.mark.parametrize(
    ("field", "values"),
    [("projection", ("linear", "relu6")), ("shortcut", ("bottleneck", "none"))],
)
def test_every_lane_has_the_network_of_a_base_that_is_given(
    tiny, ours, dots, tmp_path, field, values
):
    given = PretrainedWeights.open(ours)
    changes = {"data__scaling": "imagenet", "model__conventions": "torchvision"}
    cohorts = plan(dots, grid.axis(f"model.{field}", values), given=given, **changes)
    extraction = cohorts["extraction"]
    assert [run.config.model[field] for run in extraction.runs] == [*values]
    right, wrong = values
    expected = (
        f"{ours}: what was trained there has {field} {right!r}, not {wrong!r} in blocks 1 to 3; "
    )
    told = refusal(pretrained.check_fits, given, list(cohorts.values()))
    assert told.startswith(f"pretrained={expected}")
    found = PretrainedLoader(tmp_path, given)
    assert found.load(extraction.runs[0], extraction) is not None
    assert refusal(found.load, extraction.runs[1], extraction).startswith(expected)


class Told(sweep.Progress):
    """Keeps what a sweep tells of cohorts that fail."""

    def __init__(self):
        self.failures = []

    def cohort_failed(self, part, error):
        self.failures.append((part.runs[0].config.transfer.phase, error))


@pytest.mark.slow
def test_runs_whose_base_fails_fail_too_and_are_trained_the_next_time(
    tiny, dots, tmp_path, compiled_once, monkeypatch
):
    recipe = {"epochs": 1, "batch_size": 32}
    sections = {f"{phase}__train": recipe for phase in ("pretraining", "extraction")}
    cohorts = list(plan(dots, **sections, train__epochs=1).values())
    base, extraction, finetuning = (part.runs[0] for part in cohorts)
    error = "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"
    tried = []

    def run(self, values, *others, run=Trainer.run):
        tried.append(self.program.tuning)
        if self.program.tuning is None:
            raise jax.errors.JaxRuntimeError(error)
        return run(self, values, *others)

    told, saving = Told(), sweep.Saving(networks=True)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", run)
        outcome = sweep.Sweep(tmp_path, cohorts, "test", told, saving=saving).run()
    # What starts from the base is not trained, once it is known that there is none.
    assert tried == [None]
    assert (outcome.trained, outcome.failed) == (0, 3)
    missing = "which has not been trained; the same command tries both again"
    reasons = [
        ("pretraining", error),
        ("extraction", f"run {extraction.id} starts from run {base.id}, {missing}"),
        ("finetuning", f"run {finetuning.id} starts from run {extraction.id}, {missing}"),
    ]
    assert told.failures == reasons
    rows = records.rows(tmp_path, cohorts)
    assert [(row["status"], row["error"]) for row in rows] == [
        ("failed", reason) for _, reason in reasons
    ]
    assert not (tmp_path / "runs").exists()
    outcome = sweep.Sweep(tmp_path, cohorts, "test", told, saving=saving).run()
    assert (outcome.trained, outcome.failed, told.failures) == (3, 0, reasons)
    assert [row["status"] for row in records.rows(tmp_path, cohorts)] == ["done"] * 3
    assert not list((tmp_path / "failures").iterdir())
