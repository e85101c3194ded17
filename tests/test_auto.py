"""Seeds that stop by themselves, end to end: killed, in shards, and by hand."""

import os
import signal
import time

import pytest

from mnv2_jax import api
from mnv2_jax.ablation import heartbeat
from mnv2_jax.ablation.grid import auto
from mnv2_jax.ablation.launchers.shards import Shard
from mnv2_jax.ablation.sweep import Progress
from mnv2_jax.analysis import report
from mnv2_jax.checksums import read_json
from tests import commands
from tests.small import CONFIG, curves_of, rows_of

pytestmark = pytest.mark.slow

RATES = """
from mnv2_jax.ablation.grid import auto

def get_grid():
    return product(
        axis("train.learning_rate", (0.05, 1e-6)),
        axis("model.projection", ("linear", "relu6")),
        axis("seed", auto(minimum=4, step=2, budget=8)),
    )

def get_claims():
    clear = greater(
        "clear", "-", "Training helps", "train.learning_rate", 0.05, 1e-6,
        where={"model.projection": "linear"}, metric="test_loss",
    )
    unclear = greater(
        "unclear", "-", "Linear is better", "model.projection", "linear", "relu6",
        where={"train.learning_rate": 1e-6}, metric="test_accuracy",
    )
    return [clear, unclear]
"""
"""Four cells: the claims share one, and one is of no claim."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "rates.py"
    path.write_text(CONFIG.replace("epochs = 3", "epochs = 12") + RATES)
    return path


@pytest.fixture(scope="module", autouse=True)
def without_charts():
    """Reports have no figures, which take seconds to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "make_charts", lambda *arguments: {})
        yield


class Told(Progress):
    """Keeps the lines of an experiment."""

    def __init__(self):
        self.lines = []

    def said(self, line):
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self.lines.append(line)


def run(config, workdir, **arguments):
    """Run an experiment in this process; return how many runs it trained, and its lines."""
    told = Told()
    outcome = api.Experiment.from_file(str(config)).run(workdir, progress=told, **arguments).outcome
    assert outcome
    return outcome.trained, told.lines


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    """The workdir of one process, and its lines."""
    workdir = tmp_path_factory.mktemp("auto") / "work"
    trained, lines = run(config, workdir)
    assert trained == 26
    return workdir, lines


def seeds_of(workdir):
    """Return the seeds of each cell in the table."""
    found: dict[tuple[str, str], set[int]] = {}
    for row in rows_of(workdir):
        cell = row["train.learning_rate"], row["projection"]
        found.setdefault(cell, set()).add(int(row["seed"]))
    return found


def measured(workdir):
    """Return the table without what depends on the machine and on other lanes."""
    of_machine = {"seconds": "", "lanes": "", "device": ""}
    return [{**row, **of_machine} for row in rows_of(workdir)]


def assert_same(workdir, other):
    assert measured(workdir) == measured(other)
    assert curves_of(workdir) == curves_of(other)


def test_seeds_stop_where_claims_are_decided(undisturbed):
    workdir, lines = undisturbed
    first, then, every = set(range(4)), set(range(6)), set(range(8))
    assert seeds_of(workdir) == {
        ("0.05", "linear"): then,
        ("0.05", "relu6"): first,
        ("1e-06", "linear"): every,
        ("1e-06", "relu6"): every,
    }
    clear = "decided: clear supported (6 seeds); undecided: unclear"
    assert [line for line in lines if line.startswith("After")] == [
        "After 4 seeds: decided: none; undecided: clear, unclear; next: 6 runs, up to 6 seeds",
        f"After 6 seeds: {clear}; next: 4 runs, up to 8 seeds",
        f"After 8 seeds: {clear}; the budget is spent",
    ]
    # The plan of the runs stands beside the time of the claims.
    for entry in read_json(workdir / "stated.json").values():
        assert entry["seeds"].items() >= {"minimum": 4, "step": 2, "budget": 8}.items()
        assert (entry["finished"], entry["seeds"]["finished"]) == (0, 0)
    (planned,) = read_json(workdir / "plan.json")["cohorts"]
    assert len(planned["runs"]) == 26


MOMENTS = (
    ("0 finished before, 8 to train", True, signal.SIGKILL),  # Within the first round.
    ("After 4 seeds", False, signal.SIGKILL),  # Between rounds.
    ("6 to train", True, signal.SIGTERM),  # Within one that adds seeds, to runs of two claims.
    ("4 to train", True, signal.SIGKILL),  # Within the last one.
    ("After 8 seeds", False, signal.SIGTERM),  # Before the report.
)


def test_killed_at_five_moments_it_trains_the_same_seeds_to_the_same_bits(
    config, undisturbed, tmp_path
):
    workdir, _ = undisturbed
    again, out = tmp_path / "work", tmp_path / "out"
    arguments = ("ablate", f"--config={config}", f"--workdir={again}", "--checkpoint_seconds=0")
    texts = []
    for text, in_training, number in MOMENTS:
        out.unlink(missing_ok=True)
        process = commands.begin(out, tmp_path / "err", *arguments)
        commands.wait_for(text, out, process)
        while in_training and process.pid not in [beat.pid for beat in heartbeat.beats(again)]:
            assert process.is_alive()
            time.sleep(0.01)
        assert process.pid
        os.kill(process.pid, number)
        process.join(commands.SECONDS)
        assert process.exitcode in (128 + number, -number)
        texts.append(out.read_text())
    status, printed, err = commands.run(*arguments)
    assert status == 0, err
    assert "\nresuming from step " in texts[3]  # What SIGTERM interrupted was saved.
    assert not any("Runs: 8" in text for text in texts[2:])  # They were done.
    assert "\n0 runs trained, 0 failed, " in printed
    assert_same(again, workdir)


def test_shards_by_turns_train_the_same_seeds_to_the_same_bits(small_config, tmp_path):
    whole, work = tmp_path / "whole", tmp_path / "work"
    # One seed at a time: each shard has a cohort, and so as many lanes as one process.
    plan = auto(minimum=2, step=1, budget=3)
    trained, lines = run(small_config, whole, seeds=plan)
    assert trained == 12
    spent = "After 3 seeds: decided: none; undecided: linear_bottleneck; the budget is spent"
    assert spent in lines
    # The minimum, then a round each: before others have trained their part, nothing is decided.
    for number, trained, line in (
        (1, 4, "Claims wait for 4 runs of the first 2 seeds"),
        (2, 4 + 2, "Claims wait for 2 runs of the first 3 seeds"),
        (1, 2, spent),
    ):
        turn = run(small_config, work, seeds=plan, launcher=Shard(number, 2))
        assert turn[0] == trained
        assert any(said.startswith(line) for said in turn[1])
    assert_same(work, whole)
    # Fixed seeds are other runs in the same folder, and change nothing for those that stop.
    assert run(small_config, work, seeds=[0, 7])[0] == 4
    assert {row["seed"] for row in rows_of(work)} == {"0", "7"}
    assert run(small_config, work, seeds=plan)[0] == 0
    assert measured(work) == measured(whole)


def test_a_dry_run_tells_least_and_most(config, tmp_path):
    arguments = (f"--config={config}", f"--workdir={tmp_path / 'none'}", "--dry_run")
    status, out, err = commands.run("ablate", *arguments, "--seeds=auto:2,3,9")
    assert status == 0, err
    assert "\nRuns: 8, cohorts: 1; nothing is trained\n" in out
    assert (
        "\nSeeds: 2 at first, then 3 at a time until every claim is decided, 9 at most: "
        "8 to 36 runs\n"
    ) in out
    assert "\nTime of all seeds: " in out
    assert "\nReach: 2 seeds cannot decide any claim, whatever the results; 4 seeds could\n" in out
    assert "\nReach: with 9 seeds, the first verdict on 2 claims needs a mean difference of " in out
    later = tmp_path / "later.py"
    later.write_text(config.read_text().replace('metric="test_loss"', 'metric="noise/size"'))
    _, out, err = commands.run("ablate", f"--config={later}", *arguments[1:])
    assert "\nClaim clear: experiments.evaluate writes noise/size (--name=noise)\n" in out, err
    status, out, err = commands.run("ablate", *arguments, "--seeds=some")
    assert (status, out) == (2, "")
    assert err.startswith("python -m experiments.ablate: --seeds=some: expected how many, such as")
