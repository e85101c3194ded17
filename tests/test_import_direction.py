"""One direction: configs → experiments → api → {analysis, ablation} → train → {nn, data} → arch.

No cycles between files of one layer either.

The imports are read from the source, so one inside a function or under TYPE_CHECKING counts too.
"""

import ast
import graphlib
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mnv2_jax"

# Lowest first. A unit may import itself and everything below its layer; units of one layer do not
# know each other.
LAYERS = (
    ("atomic", "cache", "config_file", "cores", "neutral", "terminal", "user_code", "values"),
    ("arch", "checksums", "metrics"),
    ("presets", "schema"),
    ("predictions",),
    ("side_tables",),
    ("nn", "data"),
    ("train",),
    ("ablation", "analysis"),
    ("api",),
    ("experiments",),
    ("configs",),
)
ALLOWED = {
    unit: {unit}.union(*LAYERS[:depth]) for depth, layer in enumerate(LAYERS) for unit in layer
}
# Reads records only, never a network: a report can be rebuilt where nothing can be trained.
ALLOWED["analysis"] = {
    *("analysis", "atomic", "cache", "checksums", "metrics", "neutral", "predictions", "schema"),
    *("side_tables", "user_code", "values"),
}
# Importing any part of the package runs its __init__, which therefore must bring in nothing.
ALLOWED[PACKAGE] = {PACKAGE}

JAX = {"jax", "jaxlib", "flax", "optax", "orbax"}
WITHOUT_JAX = {"analysis", PACKAGE}.union(*LAYERS[:5])

# What is likely to be replaced has one home.
ONLY_HOME = {
    "fsspec": "mnv2_jax/ablation/bucket.py",
    "pmap": "mnv2_jax/train/parallel.py",
    "orbax": "mnv2_jax/train/checkpoint.py",
}


def unit_of(module: str) -> str:
    """The part of the project that a dotted name belongs to, or its top-level package."""
    top, *rest = module.split(".")
    return rest[0] if top == PACKAGE and rest else top


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dynamic_import(node: ast.Call) -> str | None:
    """The module named by import_module("...") or __import__("..."), where it is written out."""
    match node:
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
    return None


def origin(node: ast.ImportFrom, path: Path) -> str:
    """The absolute dotted name that stands between `from` and `import`."""
    package = path.parent.parts
    base = package[: len(package) - node.level + 1] if node.level else ()
    return ".".join((*base, *([node.module] if node.module else [])))


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = origin(node, path)
            if module == PACKAGE:  # each name is a module of its own, or an attribute of __init__
                for alias in node.names:
                    known = alias.name in ALLOWED
                    yield node.lineno, f"{PACKAGE}.{alias.name}" if known else PACKAGE
            else:
                yield node.lineno, module
        elif isinstance(node, ast.Call) and (name := dynamic_import(node)):
            yield node.lineno, name


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every identifier used; text in docstrings and comments is free."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = (getattr(node, "module", None) or "").split(".")
            for alias in node.names:
                yield from ((node.lineno, part) for part in (*module, *alias.name.split(".")))


def violations_of(path: Path, source: str) -> Iterator[str]:
    """What a file, named relative to the root of the project, does against the rules."""
    tree = ast.parse(source)
    unit = unit_of(module_of(path))
    if unit not in ALLOWED:
        yield f"{path}: belongs to no layer, give it one in LAYERS"
        return
    for line, module in imports(tree, path):
        target = unit_of(module)
        inside = module.split(".")[0] in (PACKAGE, "experiments", "configs")
        if inside and target not in ALLOWED[unit] | {PACKAGE}:
            yield f"{path}:{line}: {unit} must not import {target}"
        if unit in WITHOUT_JAX and target in JAX:
            yield f"{path}:{line}: {unit} must not import {target}"
    for line, name in sorted(set(identifiers(tree))):
        if name in ONLY_HOME and path.as_posix() != ONLY_HOME[name]:
            yield f"{path}:{line}: {name} belongs in {ONLY_HOME[name]}"


def source_files(root: Path) -> list[Path]:
    return sorted(
        path
        for directory in (PACKAGE, "experiments", "configs")
        for path in (root / directory).rglob("*.py")
    )


def violations(root: Path) -> list[str]:
    return [
        message
        for path in source_files(root)
        for message in violations_of(path.relative_to(root), path.read_text(encoding="utf-8"))
    ]


def imported_files(tree: ast.AST, path: Path, modules: Collection[str]) -> Iterator[str]:
    """Those of `modules` that a file imports by name; packages around them do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = origin(node, path)
            inside = [f"{module}.{alias.name}" for alias in node.names]
            named = [name if name in modules else module for name in inside]
        elif isinstance(node, ast.Call):
            named = [dynamic_import(node) or ""]
        else:
            continue
        yield from (name for name in named if name in modules)


def cycle(root: Path) -> set[str]:
    """Files, by dotted name, that import each other; empty where there are none."""
    paths = {module_of(path.relative_to(root)): path for path in source_files(root)}
    imported = {
        module: imported_files(
            ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root), paths
        )
        for module, path in paths.items()
    }
    try:
        graphlib.TopologicalSorter(imported).prepare()
    except graphlib.CycleError as error:
        return {*error.args[1]}
    return set()


def test_no_files_import_each_other():
    assert cycle(ROOT) == set()


def test_no_import_turns_back():
    files = {path.relative_to(ROOT).parts[0] for path in source_files(ROOT)}
    assert files == {PACKAGE, "experiments", "configs"}
    assert violations(ROOT) == []


def plant(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("mnv2_jax/arch.py", "import jax.numpy as jnp", "arch must not import jax"),
        ("mnv2_jax/arch.py", "from . import train", "arch must not import train"),
        ("mnv2_jax/arch.py", "from mnv2_jax import presets", "arch must not import presets"),
        ("mnv2_jax/atomic.py", "import mnv2_jax.arch", "atomic must not import arch"),
        ("mnv2_jax/__init__.py", "import flax", "mnv2_jax must not import flax"),
        ("mnv2_jax/__init__.py", "from .nn import x", "mnv2_jax must not import nn"),
        ("mnv2_jax/nn/a.py", "from mnv2_jax.data import x", "nn must not import data"),
        ("mnv2_jax/data/a.py", "from ..nn.layers import x", "data must not import nn"),
        ("mnv2_jax/data/a.py", "def f():\n    import mnv2_jax.train", "data must not import train"),
        ("mnv2_jax/ablation/a.py", "from experiments import x", "must not import experiments"),
        ("mnv2_jax/train/a.py", "__import__('configs.digits')", "train must not import configs"),
        ("mnv2_jax/analysis/a.py", "from optax import adam", "analysis must not import optax"),
        ("mnv2_jax/analysis/a.py", "from .. import ablation", "analysis must not import ablation"),
        (
            "mnv2_jax/ablation/a.py",
            "import importlib\nimportlib.import_module('mnv2_jax.analysis.stats')",
            "a.py:2: ablation must not import analysis",
        ),
        ("experiments/a.py", "import configs.digits", "experiments must not import configs"),
        ("experiments/a.py", "import jax\njax.pmap(f)", "a.py:2: pmap belongs in"),
        ("mnv2_jax/train/loop.py", "from jax import pmap as p", "pmap belongs in"),
        ("mnv2_jax/train/loop.py", "import orbax.checkpoint", "orbax belongs in"),
        ("mnv2_jax/models/a.py", "", "belongs to no layer"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, source: str, message: str):
    plant(tmp_path, path, source)
    (found,) = violations(tmp_path)
    assert message in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mnv2_jax/arch.py", "import dataclasses\nimport numpy as np"),
        ("mnv2_jax/nn/a.py", "import jax\nfrom mnv2_jax import __version__, arch\nfrom . import b"),
        ("mnv2_jax/train/parallel.py", "import jax\njax.pmap(f)\nfrom mnv2_jax.data import x"),
        ("mnv2_jax/train/loop.py", '"""Runs under jax.pmap."""  # not orbax'),
        ("mnv2_jax/analysis/a.py", "import pandas\nfrom mnv2_jax.atomic import write"),
        ("mnv2_jax/ablation/a.py", "from mnv2_jax.train import loop\nimport mnv2_jax.arch"),
        ("experiments/a.py", "from mnv2_jax import ablation, analysis"),
        ("configs/a.py", "from experiments import x\nimport mnv2_jax.arch\nimport configs.b"),
    ],
)
def test_what_the_rules_allow_passes(tmp_path: Path, path: str, source: str):
    plant(tmp_path, path, source)
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import mnv2_jax.nn.b", "import mnv2_jax.nn.a"),
        ("from mnv2_jax.nn import b", "from mnv2_jax.nn.a import f"),
        ("from . import b", "from .a import f"),
        ("from . import b as other", "from ..nn import a"),
        ("def f():\n    from mnv2_jax.nn import b", "from mnv2_jax.nn import a"),
        ("if TYPE_CHECKING:\n    from mnv2_jax.nn.b import B", "import mnv2_jax.nn.a as a"),
        ("import_module('mnv2_jax.nn.b')", "importlib.import_module('mnv2_jax.nn.a')"),
        ("import mnv2_jax.nn.b", "import mnv2_jax.nn.c"),  # and c imports a
    ],
)
def test_a_planted_cycle_is_found(tmp_path: Path, first: str, second: str):
    plant(tmp_path, "mnv2_jax/nn/a.py", first)
    plant(tmp_path, "mnv2_jax/nn/b.py", second)
    plant(tmp_path, "mnv2_jax/nn/c.py", "from mnv2_jax.nn import a")
    assert {"mnv2_jax.nn.a", "mnv2_jax.nn.b"} <= cycle(tmp_path)


def test_a_cycle_through_a_package_is_found(tmp_path: Path):
    plant(tmp_path, "mnv2_jax/nn/blocks/__init__.py", "from mnv2_jax.nn.blocks.fused import F")
    plant(tmp_path, "mnv2_jax/nn/blocks/fused.py", "from mnv2_jax.nn.blocks import block_class")
    assert cycle(tmp_path) == {"mnv2_jax.nn.blocks", "mnv2_jax.nn.blocks.fused"}


def test_a_file_that_imports_itself_is_found(tmp_path: Path):
    plant(tmp_path, "experiments/a.py", "import experiments.a")
    assert cycle(tmp_path) == {"experiments.a"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from mnv2_jax.nn.b import a", "import mnv2_jax.arch"),  # the name a of b
        ("from mnv2_jax.nn import b", '"""See mnv2_jax.nn.a."""\nx = "mnv2_jax.nn.a"'),
        ("import mnv2_jax.nn.b", "from mnv2_jax import nn"),  # an empty package leads nowhere
    ],
)
def test_what_is_no_cycle_passes(tmp_path: Path, first: str, second: str):
    plant(tmp_path, "mnv2_jax/nn/__init__.py", "")
    plant(tmp_path, "mnv2_jax/nn/a.py", first)
    plant(tmp_path, "mnv2_jax/nn/b.py", second)
    assert cycle(tmp_path) == set()
