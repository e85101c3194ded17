"""Write the pages that are generated from the code: config fields and commands.

  python -m docs.generate

`tests/test_docs.py` checks that they are current.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from configs import transfer
from experiments import command_help
from mnv2_jax import schema
from mnv2_jax.ablation import grid

ROOT = Path(__file__).resolve().parents[1]
COMMANDS: Sequence[str] = (
    *("ablate", "train", "finetune", "status", "plot", "verdicts", "report", "evaluate", "predict"),
    *("cost", "check_block", "theory", "prepare", "merge", "bench"),
)


def config_fields() -> str:
    """Return the page of the config's fields: path, default, meaning."""
    rows = [
        f"| `{path}` | `{value!r}` | {command_help.meaning(path)} |"
        for path, value in grid.fields(transfer.get_config()).items()
        if path.partition(".")[0] not in schema.SECTIONS
    ]
    return f"""# Config fields

Every field of a config, with its value in `configs/transfer.py`; other configs lack the section
`transfer`. Each is a flag, `--config.FIELD=VALUE`, and may be an axis of a grid. The sections
`pretraining`, `extraction` and `scratch` of a transfer hold the fields that these phases set
differently.

| Field | Value | Meaning |
|---|---|---|
{chr(10).join(rows)}
"""


def commands(help_of: Callable[[str], str]) -> str:
    """Return the page of commands.

    Args:
      help_of: returns what `--help` of a command prints, 100 columns wide.
    """
    parts = [f"## {name}\n\n```text\n{help_of(name).rstrip()}\n```\n" for name in COMMANDS]
    return "# Commands\n\nWhat `python -m experiments.NAME --help` prints.\n\n" + "\n".join(parts)


def _help_of(name: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    reference = ROOT / "docs" / "reference"
    (reference / "config-fields.md").write_text(config_fields(), encoding="utf-8")
    (reference / "commands.md").write_text(commands(_help_of), encoding="utf-8")
