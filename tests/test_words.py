"""The words of the source: docstrings open with a verb or a noun, and names are the field's."""

import ast
import re
import subprocess

import pytest

from tests import commands

SOURCE = [
    commands.ROOT / name
    for name in subprocess.check_output(
        ["git", "ls-files", "mnv2_jax", "experiments", "configs", "docs"],
        cwd=commands.ROOT,
        text=True,
    ).splitlines()
    if name.endswith(".py")
]
OPENINGS = ("What", "How", "Whether", "Where", "Which", "Who", "When")
"""Words that no docstring opens with. Ruff's D401 sees to it that functions' are imperative."""

REPLACED = {
    "LaneValues": "HParams",
    "EvaluationSums": "metric sums and counts",
    "Snapshot": "Checkpoint",
    "Supervision": "Callback",
    "Board": "TensorBoardWriter",
    "Feed": "InputPipeline",
    "Orders": "epoch order",
    "Given": "PretrainedWeights",
    "runlog": "environment",
    "stopping": "preemption",
    "draws": "rng",
    "gaps": "coverage",
    "packs": "chunks",
    "along": "covarying",
    "second_moment": "b2",
    "accumulation": "grad_accum_steps",
    "decayed": "weight_decay_mask",
    "MIDDLES": "SPATIAL_CONVS",
    "PRECISIONS": "COMPUTE_DTYPES",
    "Beginning": "InputPipeline",
    "Starts": "PretrainedLoader",
    "Stop": "StopRequest",
}
"""Names that were replaced, and what by. See CONTRIBUTING.md."""


def texts(tree: ast.AST) -> list[ast.Constant]:
    """Docstrings, those of constants included."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def names(tree: ast.AST) -> set[str]:
    """Names that others see: of imports, classes, functions, arguments and declared fields."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.alias(name=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: str(path.relative_to(commands.ROOT)))
def test_words(path):
    tree = ast.parse(path.read_text())
    opened = [
        f"line {text.lineno}: {str(text.value)[:40]}"
        for text in texts(tree)
        if re.match(rf"\s*({'|'.join(OPENINGS)})\b", str(text.value))
    ]
    assert opened == []
    used = {old: new for old, new in REPLACED.items() if old in names(tree) or path.stem == old}
    assert used == {}


def test_the_list_of_contributors_has_the_same_words():
    told = (commands.ROOT / "CONTRIBUTING.md").read_text()
    assert [old for old, new in REPLACED.items() if f"| `{old}` | " not in told] == []
