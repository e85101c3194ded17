"""What every experiment says of itself."""

from pathlib import Path

import pytest

from tests import commands

EXPERIMENTS = sorted(
    path.stem
    for path in (commands.ROOT / "experiments").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_there_are_experiments():
    assert {"ablate", "train", "prepare", "status", "merge", "plot", "cost"} <= {*EXPERIMENTS}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_help_shows_three_examples_and_the_flags(experiment):
    status, out, err = commands.run(experiment, "--help")
    assert status == 0, err
    examples = [
        line
        for line in out.splitlines()
        if line.startswith(f"  python -m experiments.{experiment}")
    ]
    assert len(examples) >= 3
    source = Path(commands.ROOT, "experiments", f"{experiment}.py").read_text()
    assert ("--config.model.expansion=" in out) == (
        "_config_file(" in source or "session" in source
    )


def test_help_shows_the_fields_of_the_config_that_is_named():
    status, out, _ = commands.run("train", "--help", "--config=configs/cifar10.py:smoke")
    assert status == 0
    assert "Fields of the config, as configs/cifar10.py:smoke sets them:" in out
    assert "--config.train.epochs=8\n" in out


def test_help_shows_what_the_config_that_is_named_says_of_itself():
    _, out, _ = commands.run("ablate", "--help", "--config=configs/digits.py")
    assert "\nconfigs/digits.py: Linear against ReLU6 projections, shortcuts on and off" in out
    said, fields = out.index("QUESTION is one of"), out.index("Fields of the config, as configs/")
    assert said < fields
    # One that takes an argument says so without it.
    _, out, _ = commands.run("ablate", "--help", "--config=configs/folder.py")
    assert "NAME" in out
    assert out.endswith("--config=configs/folder.py: expected configs/folder.py:FOLDER\n")
