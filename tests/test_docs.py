"""README and docs: generated pages are current, and every command and code block is executed."""

import doctest
import re
import shutil
import subprocess
import sys

from docs import generate
from tests import commands

ROOT = commands.ROOT
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CI = (ROOT / ".ci" / "run").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

ELSEWHERE = {
    "make .venv/.installed": "the first step of .ci/run",
    "python -m pip install -e '.[cuda]' -c constraints.txt": "needs a GPU",
    "python -m pip install -e '.[prepare]' -c constraints.txt": "TensorFlow, of 500 MB",
    "ray start": "tests/ablation/launchers/test_ray.py",
    "python -m experiments.prepare --dataset=cifar10": "downloads; tests/test_prepare.py mocks it",
    "python -m experiments.ablate --config=configs/cifar10.py --config.data.name=cifar10/": (
        "hours; tests/test_configs.py plans it"
    ),
    "python -m experiments.ablate --config=configs/block.py:my_block.py:MixedKernels,cifar10": (
        "hours; tests/test_configs.py plans it"
    ),
    "python -m experiments.ablate --config=configs/cifar10.py:factorial": (
        "hours, a cluster, a bucket; tests/test_sweeps.py, launchers/test_ray.py, test_buckets.py"
    ),
    "python -m experiments.merge --workdir=runs/factorial": "tests/test_merge.py",
    "python -m experiments.status --workdir=s3://bucket/factorial": "tests/test_buckets.py",
}
"""The commands that .ci/run does not execute as they stand, by how they begin, and the reason."""


def blocks(page, language):
    return [code for found, code in BLOCK.findall(page.read_text()) if found == language]


def shown():
    """Every command of README and docs, with its page."""
    for page in PAGES:
        if page.name == "commands.md":  # The text of --help; tests/test_help.py.
            continue
        for code in [*blocks(page, "sh"), *blocks(page, "")]:
            for line in code.splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if re.match(r"(\.venv/bin/)?(python|make|ray) ", command):
                    yield page.relative_to(ROOT), command.removeprefix(".venv/bin/")


def test_every_command_is_executed():
    lacking = [
        f"{page}: {command}"
        for page, command in shown()
        if command not in CI and not any(command.startswith(start) for start in ELSEWHERE)
    ]
    assert lacking == []


def test_no_exception_is_left_over():
    found = [command for _, command in shown()]
    assert [one for one in ELSEWHERE if not any(c.startswith(one) for c in found)] == []


def test_every_python_block_is_executed():
    named = {
        ("README.md", 0): "python_of README.md 1",
        ("README.md", 1): "python_of README.md 2",
        ("docs/how-to/extend.md", 0): "python_of docs/how-to/extend.md 1",
        ("docs/reference/claims-and-grids.md", 0): "python_of docs/reference/claims-and-grids.md 1",
        ("docs/tutorials/own-block.md", 0): "python_of docs/tutorials/own-block.md 1",
        ("docs/tutorials/own-photos.md", 1): "python_of docs/tutorials/own-photos.md 2",
        ("docs/reference/python-api.md", 0): "python_of docs/reference/python-api.md 1",
        ("docs/tutorials/own-photos.md", 0): "",  # By a test below.
    }
    found = {
        (str(page.relative_to(ROOT)), number)
        for page in PAGES
        for number in range(len(blocks(page, "python")))
    }
    assert found == named.keys()
    assert [text for text in named.values() if text not in CI] == []


def test_pages_that_follow_from_the_code_are_current(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    reference = ROOT / "docs" / "reference"
    # In a process of its own: other tests register presets of theirs.
    fields = subprocess.run(
        [
            sys.executable,
            "-c",
            "from docs import generate; print(generate.config_fields(), end='')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert fields == (reference / "config-fields.md").read_text()
    commands_page = generate.commands(lambda name: commands.run(name, "--help")[1])
    assert commands_page == (reference / "commands.md").read_text()
    there = {
        path.stem
        for path in (ROOT / "experiments").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert there == {*generate.COMMANDS}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_a_block_gets_a_name_as_the_tutorial_says(tmp_path):
    page = ROOT / "docs" / "tutorials" / "own-block.md"
    (module,) = blocks(page, "python")
    imported, entry = re.findall(r"^(from .*|    \".*)$", blocks(page, "")[0], re.M)
    for name in ("mnv2_jax", "experiments", "configs"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "results")
        )
    (tmp_path / "mnv2_jax/nn/blocks/mixed_kernels.py").write_text(module)
    registry = tmp_path / "mnv2_jax/nn/blocks/__init__.py"
    first = "from mnv2_jax.nn.blocks.base import Block\n"
    text = registry.read_text().replace(first, f"{first}{imported}\n")
    registry.write_text(text.replace('    "fused": Fused,\n', f'    "fused": Fused,\n{entry}\n'))
    status, out, err = commands.run_in(tmp_path, "cost", "--preset=digits", "--block=mixed_kernels")
    assert status == 0, err
    assert "block_02/depthwise_5" in out


def test_the_claim_of_phases_names_what_covaries(tmp_path):
    claim, _ = blocks(ROOT / "docs" / "tutorials" / "own-photos.md", "python")
    imports, _, claim = claim.partition("\n\n")
    config = tmp_path / "phases.py"
    whole = f"""{imports}
from configs import transfer
from mnv2_jax.ablation.grid import axis, product

get_config = transfer.get_config

def get_grid():
    return product(axis("transfer.phase", ("scratch", "finetuning")), axis("seed", range(2)))

def get_claims():
    return [
{claim}]
"""
    config.write_text(whole)
    status, out, err = commands.run("finetune", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert "cannot be decided" not in out
    config.write_text(re.sub(r"\n +covarying=.*", "", whole))
    _, out, _ = commands.run("finetune", f"--config={config}", "--dry_run")
    assert (
        "claim 'tuned_from_scratch' cannot be decided: runs with transfer.phase finetuning and "
        "scratch differ in epochs, train.learning_rate, transfer.first and transfer.norm too; "
        "name them in covarying=(...)"
    ) in out


def test_the_session_with_weights_gives_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to" / "import-weights.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 5
    assert failed == 0
