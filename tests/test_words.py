"""Docstrings open with a verb or a noun, and names are the field's terms."""

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
"""Words that no docstring opens with. Ruff's D401 checks that those of functions are imperative."""

REPLACED = dict(
    re.findall(
        r"^\| `(\w+)` \| (.+) \|$", (commands.ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
)
"""Names that were replaced, and what by, as CONTRIBUTING.md lists them."""


def texts(tree: ast.AST) -> list[ast.Constant]:
    """Return docstrings, those of constants included."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def names(tree: ast.AST) -> set[str]:
    """Return public names: of imports, classes, functions, arguments and declared fields."""
    result: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.alias(name=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                result.add(name)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                result.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                result.add(name)
    return result


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: str(path.relative_to(commands.ROOT)))
def test_docstrings_and_names(path):
    tree = ast.parse(path.read_text())
    opened = [
        f"line {text.lineno}: {str(text.value)[:40]}"
        for text in texts(tree)
        if re.match(rf"\s*({'|'.join(OPENINGS)})\b", str(text.value))
    ]
    assert opened == []
    used = {old: new for old, new in REPLACED.items() if old in names(tree) or path.stem == old}
    assert used == {}


def test_replaced_names_are_listed():
    assert REPLACED["LaneValues"] == "HParams"
