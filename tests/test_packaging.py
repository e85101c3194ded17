"""What the packaging files promise each other."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mnv2_jax

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))["project"]


def declared(*extras: str) -> list[Requirement]:
    """What `pip install -e '.[dev]'`, or with more extras, is asked for.

    Accelerators are left to jax's own pins.
    """
    optional = project()["optional-dependencies"]
    lines = [line for extra in ("dev", *extras) for line in optional[extra]]
    return [Requirement(line) for line in [*project()["dependencies"], *lines]]


def environment_of(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.0"}


def pins(python: str, *extras: str) -> dict[str, str]:
    """Package and pinned version of constraints.txt on a version of Python.

    What an extra adds stands below a line that says so.
    """
    first, *rest = read("constraints.txt").split("# Added by the extra ")
    sections = {re.findall("`(.*?)`", section)[0]: section for section in rest}
    assert list(sections) == ["parity", "prepare", "cloud", "docs"]
    # The line itself has come after a comment's sign, which is gone.
    added = ["# " + sections[extra] for extra in extras]
    text = "\n".join([first, *added])
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    environment = environment_of(python)
    found: dict[str, str] = {}
    for requirement in map(Requirement, filter(None, lines)):
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not a pin"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice on Python {python}"
        found[name] = specifier.version
    return found


def closure(requirements: list[Requirement]) -> Iterator[str]:
    """The packages that requirements pull in here, by the metadata of what is installed."""
    todo = [(requirement, "") for requirement in requirements]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(line), wanted) for line in metadata.requires(name) or []]
        yield name


def test_one_version_in_project_package_and_changelog():
    releases = re.findall(r"^## \[(\d[^\]]*)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert project()["version"] == mnv2_jax.__version__ == releases[0]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_declared_dependency_is_pinned_within_its_bounds(python: str):
    pinned = pins(python, "parity", "prepare", "cloud", "docs")
    for requirement in declared("parity", "prepare", "cloud", "docs"):
        if requirement.marker and not requirement.marker.evaluate(environment_of(python)):
            continue
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement}: pinned at {version}"


on_tested_platform = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)),
    reason="constraints.txt is exact for the platform that it was tested on",
)


@on_tested_platform
def test_pins_are_exactly_what_the_install_pulls_in():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert set(pins(python)) == set(closure(declared()))


@on_tested_platform
@pytest.mark.parametrize(
    ("extra", "before"),
    [("parity", ()), ("prepare", ("parity",)), ("cloud", ("parity", "prepare")), ("docs", ())],
)
def test_pins_of_an_extra_are_exactly_what_it_adds(extra, before):
    try:
        needed = set(closure(declared(extra)))
    except metadata.PackageNotFoundError as error:
        pytest.skip(f"the extra {extra} is not installed ({error})")
    if "torch" in needed and not metadata.version("torch").endswith("+cpu"):
        pytest.skip("PyTorch's builds for GPUs bring packages that are not pinned here")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = set(pins(python, *before))
    assert set(pins(python, *before, extra)) - others == needed - others


def test_pins_name_no_place_to_download_from():
    files = [
        path
        for pattern in ("constraints*", "requirements*", "*.lock")
        for path in ROOT.glob(pattern)
    ]
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path.name
        assert not re.search(r"^\s*-", text, flags=re.MULTILINE), f"{path.name} holds pip options"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_in_the_documents_exist(document: str):
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    code = re.findall(r"```.*?```|`[^`\n]+`", read(document), flags=re.DOTALL)
    commands = re.findall(r"\bmake((?: +[a-z]+\b(?!=))+)", "\n".join(code))
    named = {target for command in commands for target in command.split()}
    assert {"ablation", "test"} <= named
    assert named <= targets


def test_files_that_are_no_modules_are_installed_too():
    patterns = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"][
        "mnv2_jax"
    ]
    package = ROOT / "mnv2_jax"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert {path for path in files if "__pycache__" not in path.parts} == installed


def test_hooks_are_local():
    repositories = re.findall(r"\brepo: *(\S+)", read(".pre-commit-config.yaml"))
    assert repositories
    assert set(repositories) == {"local"}


def test_every_command_of_the_results_is_run_by_ci() -> None:
    blocks = re.findall(
        r"^```\n(.*?)^```$", read("experiments/results/README.md"), re.M | re.DOTALL
    )
    commands = [line for block in blocks for line in block.splitlines()]
    ci = (ROOT / ".ci" / "run").read_text()
    assert commands
    assert [line for line in commands if line not in ci] == []
