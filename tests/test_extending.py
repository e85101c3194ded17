"""Everything that a researcher adds from outside of the package: one file each, none of ours."""

import json
import re
from typing import Any

import numpy as np
import pytest

from mnv2_jax import api
from mnv2_jax.nn import trained
from tests import commands
from tests.small import rows_of

pytestmark = pytest.mark.slow

EXTENSIONS = {
    "metric": """
from mnv2_jax.metrics import Metric


def squares(logits, labels):
    xp = logits.__array_namespace__()
    shares = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    shares = shares / xp.sum(shares, axis=-1, keepdims=True)
    truth = xp.astype(labels[:, None] == xp.arange(logits.shape[-1])[None], logits.dtype)
    return xp.sum((shares - truth) ** 2, axis=-1)


BRIER = Metric("brier", squares, "Brier score", better="lower")
""",
    "claim": '''
from dataclasses import dataclass

from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.decisions import decide_sign


@dataclass(frozen=True, kw_only=True)
class Better(Claim):
    """The metric is better than a bound."""

    bound: float
    kind = "better_than"
    counted = "runs"

    def decide(self, runs):
        return decide_sign(runs.compare(runs.distances(self.bound)))
''',
    "evaluator": '''
import jax
import numpy as np


def noisy(subject):
    """Metrics of parameters with noise, and how large the parameters are."""
    subject.describe("largest_weight", "largest weight", better="lower")
    rng = np.random.default_rng(0)

    def shake(leaf):
        return leaf + np.float32(rng.normal(0, 0.5, leaf.shape))

    shaken = [
        {**one.variables, "params": jax.tree.map(shake, one.variables["params"])}
        for one in subject.networks
    ]
    largest = [
        max(abs(leaf).max() for leaf in jax.tree.leaves(one.variables["params"]))
        for one in subject.networks
    ]
    return [
        {**measured, "largest_weight": float(size)}
        for measured, size in zip(subject.measure(variables=shaken), largest)
    ]
''',
    "projection": """
import jax


def swish2(x):
    return x * jax.nn.sigmoid(2 * x)
""",
    "optimizer": """
import optax


def half_sgd(learning_rate, momentum):
    return optax.chain(optax.scale(0.5), optax.sgd(learning_rate, momentum))
""",
    "launcher": """
from pathlib import Path

from mnv2_jax.ablation.launchers import Local


class Noted(Local):
    def launch(self, job, watch):
        Path(__file__).with_name("launched").write_text(str(len(job.cohorts)))
        return super().launch(job, watch)
""",
    "block": """
import flax.linen as nn

from mnv2_jax.nn.blocks.base import Block


class Plain(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        y = self.depthwise(x, "depthwise", train, self.spec.activation)
        y = self.pointwise(y, self.spec.out_channels, "project", train)
        return self.join(x, y, carry), carry
""",
}
"""What is added, each as the one file that its author writes."""

CONFIG = """
from configs import digits
from mnv2_jax import arch, presets, user_code
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import greater

HERE = {here!r}
presets.PRESETS["one_block"] = presets.Preset(
    8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 1, 1),), 32, 10, arch.BlockSpec(divisor=1)
)
Better = user_code.find(
    "claim", HERE + "/claim.py:Better", {{}}, lambda one: isinstance(one, type), "a claim"
)


def get_config():
    config = digits.get_config()
    config.model.preset = "one_block"
    config.model.block = HERE + "/block.py:Plain"
    config.metrics = "accuracy,loss,top5_accuracy," + HERE + "/metric.py:BRIER"
    config.train.epochs = 2
    config.train.optimizer = HERE + "/optimizer.py:half_sgd"
    config.train.nesterov = False
    return config


def get_grid():
    projections = ("linear", HERE + "/projection.py:swish2")
    return product(axis("model.projection", projections), axis("seed", range(2)))


def get_claims():
    return [
        Better(name="learns", source="here", statement="Better than a guess", bound=0.9,
               metric="test_brier"),
        greater("linear", "here", "Linear is better", "model.projection", "linear",
                HERE + "/projection.py:swish2", metric="noise/accuracy"),
    ]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The user's folder: a file for each extension, and the config that uses them."""
    folder = tmp_path_factory.mktemp("mine")
    for name, text in EXTENSIONS.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "config.py").write_text(CONFIG.format(here=str(folder)))
    return folder


@pytest.fixture(scope="module")
def finished(here):
    """The workdir of a grid that uses them, evaluated with noise and reported."""
    workdir = here / "work"
    ablate = (
        *("ablate", f"--config={here}/config.py", f"--workdir={workdir}"),
        f"--launcher={here}/launcher.py:Noted",
    )
    evaluate = (
        *("evaluate", f"--workdir={workdir}", "--name=noise"),
        f"--evaluator={here}/evaluator.py:noisy",
    )
    for arguments in (ablate, evaluate, ablate):  # The claim on noise can be decided at the end.
        status, out, err = commands.run(*arguments)
        assert status == 0, err
    assert "4 finished before, 0 to train" in out
    return workdir


def test_the_metric_is_in_the_table_the_curves_the_report_and_a_plot(here, finished):
    rows = rows_of(finished)
    assert len(rows) == 4
    for row in rows:
        assert 0.01 < float(row["test_brier"]) < 1
        assert 0 <= float(row["validation_top5_accuracy"]) <= 1
        lines = (finished / "runs" / row["run_id"] / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["validation_brier"] == pytest.approx(
            float(row["validation_brier"])
        )
    assert "Brier score" in (finished / "report.html").read_text()
    status, out, err = commands.run(
        *("plot", f"--workdir={finished}", "--x=projection", "--metric=test_brier")
    )
    assert (status, err) == (0, "")
    assert "projection_test_brier.png" in out


def test_the_claims_are_decided_by_the_metric_and_by_the_side_table(finished):
    learns, linear = json.loads((finished / "claims.json").read_text())["claims"]
    assert (learns["kind"], learns["verdict"]) == ("better_than", "supported")
    assert learns["estimate"] < 0  # The score is lower than the bound, which is better.
    assert linear["metric"] == "noise/accuracy"
    assert linear["pairs"] == 2


def test_the_evaluator_wrote_a_side_table_that_results_join(finished):
    rows = rows_of(finished, "evaluations/noise.csv")
    frame = api.Results.open(finished).frame.set_index("run_id")
    assert {row["run_id"] for row in rows} == {*frame.index}
    for row in rows:
        there = frame.loc[row["run_id"]]
        assert there["noise/largest_weight"] == pytest.approx(float(row["noise/largest_weight"]))
        assert there["noise/accuracy"] != there["test_accuracy"]
    assert api.Results.open(finished).column("noise/accuracy").title == "Accuracy, noise (%)"


def test_the_projection_the_block_the_optimizer_and_the_launcher_were_used(here, finished):
    networks = [trained.load(path) for path in finished.glob("runs/*/network.safetensors")]
    blocks = [block for network in networks for block in network.spec.blocks]
    assert {block.block for block in blocks} == {f"{here}/block.py:Plain"}
    assert {block.projection for block in blocks} == {"linear", f"{here}/projection.py:swish2"}
    # Two cohorts: a function is part of a program, as a block is.
    assert (here / "launched").read_text() in ("2", "0")
    network = api.load(finished)
    shares = network.predict(np.zeros((2, 8, 8, 1), np.uint8))
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    for path in finished.glob("runs/*/config.json"):
        assert json.loads(path.read_text())["train"]["optimizer"].endswith("optimizer.py:half_sgd")


OF_FIELD: dict[str, dict[str, Any]] = {
    "metrics": {"metrics": "{}:M"},
    "optimizer": {"train.optimizer": "{}:f", "train.momentum": 0.0, "train.nesterov": False},
}


@pytest.mark.parametrize(
    ("field", "code", "message"),
    [
        ("metrics", "(logits, labels): raise KeyError('no')", "metrics=.*KeyError: 'no'"),
        ("metrics", "(logits, labels): return logits.sum()", r"metrics=.*expected \[batch"),
        ("optimizer", "(learning_rate): raise KeyError('no')", "optimizer=.*KeyError"),
        ("optimizer", "(learning_rate): return 5", "optimizer="),
    ],
)
def test_what_is_wrong_with_an_extension_is_told_before_anything_is_written(
    small_config, tmp_path, field, code, message
):
    mine = tmp_path / "mine.py"
    mine.write_text(
        f"from mnv2_jax.metrics import Metric\ndef f{code}\nM = Metric('mine', f, 'mine')\n"
    )
    changes = {
        name: value.format(mine) if isinstance(value, str) else value
        for name, value in OF_FIELD[field].items()
    }
    experiment = api.Experiment.from_file(str(small_config), changes)
    with pytest.raises(ValueError, match=message):
        experiment.run(tmp_path / "work", seeds=1)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise KeyError('no')", "KeyError: 'no'"),
        ("return None", "TypeError"),
        ("return [{} for _ in subject.runs]", "expected measures"),
        ("return [{'size': float('nan')} for _ in subject.runs]", "a finite number"),
        ("return [{'a b/c': 1.0} for _ in subject.runs]", "a name of letters"),
        ("return [{'size': 1.0}]", "measures of 1 networks; expected 2"),
    ],
)
def test_what_is_wrong_with_an_evaluator_is_told_and_no_table_is_written(
    finished, tmp_path, code, message
):
    (tmp_path / "mine.py").write_text(f"def f(subject):\n    {code}\n")
    results = api.Results.open(finished)
    with pytest.raises(ValueError, match=message) as error:
        results.evaluate(evaluator=f"{tmp_path}/mine.py:f", name="wrong")
    assert "evaluator=" in str(error.value)
    assert not (finished / "evaluations" / "wrong.csv").exists()


def test_a_name_is_that_of_one_measurement(finished):
    with pytest.raises(ValueError, match="name='noise': the side table of that name is of split"):
        api.Results.open(finished).evaluate("validation", name="noise")


@pytest.mark.parametrize(
    ("name", "line", "status", "message"),
    [
        ("metric", "# Another one.", 2, "metric.py.* held something else; expected another"),
        ("optimizer", "# Another one.", 2, "optimizer.py.* held something else; expected another"),
        ("block", "# A remark.", 0, "4 finished before, 0 to train"),
        ("block", "Plain.join = lambda *inputs: 2 * Block.join(*inputs)", 2, "other code of block"),
    ],
)
def test_a_file_that_changed_is_not_what_runs_were_trained_with(
    here, finished, name, line, status, message
):
    path = here / f"{name}.py"
    text = path.read_text()
    path.write_text(f"{text}{line}\n")
    table = (finished / "results.csv").read_bytes()
    try:
        ended = commands.run("ablate", f"--config={here}/config.py", f"--workdir={finished}")
    finally:
        path.write_text(text)
    assert ended[0] == status
    assert re.search(message, ended[1] + ended[2])
    assert (finished / "results.csv").read_bytes() == table
