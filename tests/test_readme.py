"""The README's "Add a block", done word for word in a copy of the checkout, and its session."""

import doctest
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests import commands

pytestmark = pytest.mark.slow

README = commands.ROOT / "README.md"
SECTION = README.read_text().partition("## Add a block")[2].partition("\n## ")[0]
((MODULE),) = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
IMPORT, ENTRY = re.findall(r"^(from .*|    \".*)$", SECTION.partition("To give it a name")[2], re.M)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in ("mnv2_jax", "experiments", "configs"):
        shutil.copytree(
            commands.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "mnv2_jax/nn/blocks/mixed_kernels.py").write_text(MODULE)
    blocks = folder / "mnv2_jax/nn/blocks/__init__.py"
    text = blocks.read_text()
    first = "from mnv2_jax.nn.blocks.base import Block\n"
    text = text.replace(first, f"{first}{IMPORT}\n")
    blocks.write_text(text.replace('    "fused": Fused,\n', f'    "fused": Fused,\n{ENTRY}\n'))
    return folder


def test_it_is_under_twenty_five_lines():
    assert len(MODULE.splitlines()) + 2 < 25


def test_it_is_in_the_cost_table(copy):
    status, out, err = commands.run_in(copy, "cost", "--preset=digits", "--block=mixed_kernels")
    assert status == 0, err
    assert "block_02/depthwise_3" in out
    assert "block_02/depthwise_5" in out


def test_it_is_to_be_compared(copy):
    # CI checks it and trains it, out of its file.
    status, out, err = commands.run_in(
        copy, "ablate", "--config=configs/block.py:mixed_kernels", "--dry_run"
    )
    assert status == 0, out + err
    assert "mixed_kernels" in out
    assert "Runs: 16, cohorts: 2; nothing is trained" in out


def test_the_grid_of_ones_own_is_what_its_text_says(tmp_path):
    section = README.read_text().partition("\n## Questions")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    config = tmp_path / "my_grid.py"
    config.write_text(code)
    status, out, err = commands.run("ablate", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert "Runs: 24, cohorts: 1; nothing is trained" in out
    assert "Claims: decay, decay_without" in out
    assert "cannot be decided" not in out


def test_the_claim_of_phases_is_decided_by_what_its_text_says(tmp_path):
    section = README.read_text().partition("A claim names the phase")[2].partition("\n## ")[0]
    claim, grid = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    config = tmp_path / "my_transfer.py"
    config.write_text(grid)
    status, out, err = commands.run("finetune", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert "cannot be decided" not in out
    imports, _, claim = claim.partition("\n\n")
    without = re.sub(r"\n +along=.*", "", claim)
    phases = f"""{imports}
from configs import transfer
from mnv2_jax.ablation.grid import axis, product

get_config = transfer.get_config

def get_grid():
    return product(axis("transfer.phase", ("scratch", "finetuning")), axis("seed", range(2)))

def get_claims():
    return [
"""
    config.write_text(f"{phases}{claim}]\n")
    status, out, err = commands.run("finetune", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert "cannot be decided" not in out
    config.write_text(f"{phases}{without}]\n")
    status, out, err = commands.run("finetune", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert (
        "claim 'tuned_from_scratch' cannot be decided: runs with transfer.phase finetuning and "
        "scratch differ in epochs, train.learning_rate, transfer.first and transfer.norm too; "
        "name them in along=(...)"
    ) in out


def test_the_lines_from_python_do_what_they_say(copy):
    section = README.read_text().partition("\n## From Python")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    Image.new("RGB", (40, 30)).save(copy / "photo.png")
    shown = "print(results.decide()['pairs'].item(), network.predict(['photo.png']).shape)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=commands.SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "Runs: 6, cohorts: 1; 0 finished before, 6 to train" in done.stdout
    assert done.stdout.endswith("\n3 (1, 10)\n")
    assert (copy / "runs/notebook/report.html").is_file()


def test_the_session_with_weights_gives_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried > 5
    assert failed == 0
    assert (tmp_path / "mobilenet_v2_035.safetensors").is_file()
