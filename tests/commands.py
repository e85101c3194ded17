"""Experiments run as a user runs them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(experiment: str, *arguments: object, folder: Path = ROOT) -> tuple[int, str, str]:
    """Runs `python -m experiments.EXPERIMENT` in a checkout: exit status, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{experiment}", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr
