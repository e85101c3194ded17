"""What every experiment says of itself."""

from pathlib import Path

import pytest

from configs import digits, transfer
from experiments import command_help
from mnv2_jax.ablation import grid
from mnv2_jax.train import recipe
from tests import commands

EXPERIMENTS = sorted(
    path.stem
    for path in (commands.ROOT / "experiments").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_there_are_experiments():
    assert {"ablate", "train", "prepare", "status", "merge", "plot", "cost"} <= {*EXPERIMENTS}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_help_is_one_screen_with_examples_and_flags(experiment):
    status, out, err = commands.run(experiment, "--help")
    assert status == 0, err
    lines = out.splitlines()
    assert sum(line.startswith(f"  python -m experiments.{experiment}") for line in lines) >= 3
    assert len(lines) <= 50
    assert "None" not in out
    source = Path(commands.ROOT, "experiments", f"{experiment}.py").read_text()
    has_config = "_config_file(" in source or "session" in source
    assert ("--help_config" in out) == has_config


def test_every_field_of_a_config_has_a_meaning():
    for config in (digits.get_config(), transfer.get_config()):
        lacking = [path for path in grid.fields(config) if not command_help.meaning(path)]
        assert lacking == []
    assert command_help.meaning("train.schedule") == "of the learning rate: one of " + ", ".join(
        recipe.SCHEDULES
    )
    assert command_help.meaning("model.wings") == ""


def test_help_on_a_config_shows_its_fields_as_flags_set_them():
    given = ("--config=configs/cifar10.py:smoke", "--config.seed=7", "--help_config")
    status, out, _ = commands.run("train", *given)
    assert status == 0
    assert out.startswith("configs/cifar10.py: Linear against ReLU6")
    assert "Fields of the config, as configs/cifar10.py:smoke sets them:" in out
    assert "--config.train.epochs=8\n" in out
    assert "--config.seed=7\n" in out
    _, out, _ = commands.run("finetune", "--help_config")
    assert "Fields of the config, as configs/transfer.py sets them:" in out
    # One that takes an argument says so without it.
    status, _, err = commands.run("ablate", "--config=configs/folder.py", "--help_config")
    assert status == 2
    assert err.endswith("--config=configs/folder.py: expected configs/folder.py:FOLDER\n")
