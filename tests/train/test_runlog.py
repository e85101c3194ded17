"""What a record says of the code that made it."""

import subprocess

import pytest

import mnv2_jax
from mnv2_jax.train import runlog


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A committed checkout that the package is taken to lie in."""
    package = tmp_path / "mnv2_jax"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "README.md").write_text("")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    monkeypatch.setattr(mnv2_jax, "__file__", str(package / "__init__.py"))
    runlog.checkout.cache_clear()
    yield tmp_path
    runlog.checkout.cache_clear()


def dirty():
    return runlog.environment("test")["dirty"]


@pytest.mark.parametrize("path", ["mnv2_jax/__init__.py", "mnv2_jax/new.py", "configs/mine.py"])
def test_changed_and_new_code_is_dirty(checkout, path):
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("changed = True\n")
    assert dirty() is True


@pytest.mark.parametrize("path", [None, "README.md", "runs/results.csv"])
def test_a_commit_with_its_results_is_clean(checkout, path):
    if path:
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text("changed")
    assert dirty() is False


def test_curves_are_tensorboards_event_files_and_begin_anew(tmp_path):
    metrics = [{"epoch": 1, "train_loss": 2.5}, {"epoch": 1, "train_loss": float("nan")}]
    for _ in range(2):
        board = runlog.Board(tmp_path, ["a", "b"])
        board.write(metrics)
        board.close()
    (file,) = (tmp_path / "a").iterdir()
    content = file.read_bytes()
    assert b"train_loss" in content
    assert b"epoch" not in content
    assert len(list((tmp_path / "b").iterdir())) == 1
