"""README and docs: pages agree with the code, and every command and code block is executed."""

import doctest
import fnmatch
import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest
import yaml  # type: ignore[import-untyped]

from docs import generate
from mnv2_jax import schema
from mnv2_jax.nn import conformance
from tests import commands

ROOT = commands.ROOT
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
CI = (ROOT / ".ci" / "run").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT))
)

ELSEWHERE = {
    "make .venv/.installed": "the first step of .ci/run",
    "python -m pip install -e '.[cuda]' -c constraints.txt": "needs a GPU",
    "python -m pip install -e '.[prepare]' -c constraints.txt": "TensorFlow, of 500 MB",
    "ray start": "tests/ablation/launchers/test_ray.py",
    "python -m experiments.prepare --dataset=cifar10": "downloads; tests/test_prepare.py mocks it",
    "python -m experiments.ablate --config=configs/cifar10.py --config.data.name=cifar10/": (
        "hours; tests/test_configs.py plans it"
    ),
    "python -m experiments.ablate --config=configs/block.py:my_block.py:MixedKernels,cifar10": (
        "hours; tests/test_configs.py plans it"
    ),
    "python -m experiments.ablate --config=configs/cifar10.py:factorial": (
        "hours, a cluster, a bucket; tests/test_sweeps.py, launchers/test_ray.py, test_buckets.py"
    ),
    "python -m experiments.merge --workdir=runs/factorial": "tests/test_merge.py",
    "python -m experiments.ablate --config=configs/digits.py:dose": "minutes; planned by a test",
    "python -m experiments.ablate --config=configs/cifar10.py:smoke,dose": "an hour; as dose",
    "python -m experiments.ablate --config=configs/cifar10.py:smoke,intervention": "as dose",
    "python -m experiments.ablate --config=configs/digits.py:place": "as dose",
    "python -m experiments.ablate --config=configs/digits.py:intervention": "as dose",
    "python -m experiments.evaluate --workdir=runs/digits_intervention": "of runs/digits",
    "python -m experiments.ablate --config=configs/digits.py:precision": "as dose",
    "python -m experiments.ablate --config=configs/cifar10.py:smoke,precision": "as dose",
    "python -m experiments.evaluate --workdir=runs/digits --evaluator=precision": (
        "minutes; tests/ablation/test_precision.py"
    ),
    "python -m experiments.plot --workdir=runs/digits --x=expansion --hue=projection "
    "--metric=test_precision": "of that table; tests/test_plot.py",
    "python -m experiments.evaluate --workdir=runs/digits_precision": "as that",
    "python -m experiments.evaluate --workdir=runs/cifar10_smoke_precision": "as that",
    "python -m experiments.plot --workdir=runs/cifar10_smoke_precision": "tests/test_plot.py",
    "python -m experiments.evaluate --pretrained=": "tests/ablation/test_weights.py",
    "python -m experiments.cost --preset=mobilenet_v2 --width=1.0 --resolution=224 --memory": (
        "minutes; tests/test_cost.py"
    ),
    "python -m experiments.cost --config=configs/digits.py --memory": "as that",
    "python -m experiments.evaluate --workdir=runs/digits --pieces": (
        "tests/ablation/test_evaluations.py"
    ),
    "python -m experiments.status --workdir=s3://bucket/factorial": "tests/test_buckets.py",
}
"""The commands that .ci/run does not execute as they stand, by how they begin, and the reason."""

NOT_YET = {"mnv2_jax/nn/blocks/mixed_kernels.py"}
"""The files that a reader of a tutorial adds."""


def blocks(page, language):
    return [code for of_block, code in BLOCK.findall(page.read_text()) if of_block == language]


def inline_code(page):
    """The texts between backticks, outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))


def documented_commands():
    """Every command of README and docs, with its page."""
    for page in PAGES:
        if page.name == "commands.md":  # The text of --help; tests/test_help.py.
            continue
        for code in [*blocks(page, "sh"), *blocks(page, "")]:
            for line in code.splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if re.match(r"(\.venv/bin/)?(python|make|ray) ", command):
                    yield page.relative_to(ROOT), command.removeprefix(".venv/bin/")


def test_every_command_is_executed():
    missing = [
        f"{page}: {command}"
        for page, command in documented_commands()
        if command not in CI and not any(command.startswith(start) for start in ELSEWHERE)
    ]
    assert missing == []


def test_every_exception_is_used():
    documented = [command for _, command in documented_commands()]
    unused = [
        start for start in ELSEWHERE if not any(command.startswith(start) for command in documented)
    ]
    assert unused == []


def test_every_python_block_is_executed():
    executed = {
        ("README.md", 0): "python_of README.md 1",
        ("README.md", 1): "python_of README.md 2",
        ("docs/how-to/extend.md", 0): "python_of docs/how-to/extend.md 1",
        ("docs/reference/claims-and-grids.md", 0): "python_of docs/reference/claims-and-grids.md 1",
        ("docs/tutorials/own-block.md", 0): "python_of docs/tutorials/own-block.md 1",
        ("docs/tutorials/own-photos.md", 1): "python_of docs/tutorials/own-photos.md 2",
        ("docs/reference/python-api.md", 0): "python_of docs/reference/python-api.md 1",
        ("docs/tutorials/own-photos.md", 0): "",  # By a test below.
    }
    documented = {
        (str(page.relative_to(ROOT)), number)
        for page in PAGES
        for number in range(len(blocks(page, "python")))
    }
    assert documented == executed.keys()
    assert [text for text in executed.values() if text not in CI] == []


@pages
def test_files_and_modules_that_a_page_names_exist(page):
    folders = "|".join(("configs", "docs", "experiments", "mnv2_jax", "tests"))
    missing = []
    for code in inline_code(page):
        paths = re.findall(rf"(?<![\w/.])(?:{folders})/[\w./-]*[\w/]", code)
        if re.fullmatch(r"\w+\.(py|toml|txt|md|cff)", code) and not re.match("my_|FILE", code):
            paths.append(code)
        missing += [path for path in paths if not (path in NOT_YET or (ROOT / path).exists())]
        if re.fullmatch(r"(configs|mnv2_jax)(\.\w+)+", code):
            try:
                pkgutil.resolve_name(code)
            except (ImportError, AttributeError):
                missing.append(code)
        # Not imported: commands define flags.
        if re.fullmatch(r"experiments\.\w+", code) and not importlib.util.find_spec(code):
            missing.append(code)
    # "`NAME` (`path`)", "`NAME` in `path`" and "`NAME`, `path`": the file has the name.
    prose = BLOCK.sub("", page.read_text())
    for name, path in re.findall(r"`(\w+)`(?:, | in | \()`(mnv2_jax/[\w/]+\.py)`", prose):
        if not re.search(rf"\b{name}\b", (ROOT / path).read_text()):
            missing.append(f"{name} in {path}")
    assert missing == []


@pages
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pages
def test_prose_is_wrapped_at_120_columns(page):
    prose = BLOCK.sub("", page.read_text())
    long = [line for line in prose.splitlines() if len(line) > 120 and line[0] != "|"]
    assert long == []


def test_the_tree_of_a_workdir_has_every_file():
    (tree,) = blocks(DOCS / "reference" / "files-of-a-workdir.md", "text")
    folders: list[str] = []
    files: set[str] = set()
    for line in tree.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 4
        folders[depth - 1 :] = [line.strip()]
        if not line.endswith("/"):
            files.add("".join(folders))
    # In the folder itself a network is one run's, and predictions are of results without runs/.
    beside = (schema.NETWORK, schema.PREDICTIONS)
    patterns = {file.path for file in schema.FILES if file.path not in beside}
    matched = {
        file: [pattern for pattern in patterns if fnmatch.fnmatch(file, pattern)] for file in files
    }
    assert [file for file, pattern in matched.items() if not pattern] == []
    assert {pattern for found in matched.values() for pattern in found} == patterns


def test_the_contract_of_blocks_lists_every_check():
    text = (DOCS / "reference" / "blocks.md").read_text()
    table = text.partition("| Check |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*conformance.CHECKS]


def test_bibtex_says_what_citation_cff_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = citation["references"]
    entries = blocks(DOCS / "index.md", "bibtex")[0].replace("\\", "").split("\n\n")
    software, article = (re.sub("[{}]", "", entry) for entry in entries)
    for text in (citation["authors"][0]["name"], citation["title"], citation["version"]):
        assert f" = {text}," in software
    assert f"year = {citation['date-released'].year}," in software
    names = (f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for text in (" and ".join(names), paper["title"], str(paper["year"])):
        assert f" = {text}," in article
    identifier = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    assert f"eprint = {identifier}," in article


def test_generated_pages_are_current(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    reference = DOCS / "reference"
    # In a process of its own: other tests register presets of theirs.
    fields = subprocess.run(
        [
            sys.executable,
            "-c",
            "from docs import generate; print(generate.config_fields(), end='')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert fields == (reference / "config-fields.md").read_text()
    commands_page = generate.commands(lambda name: commands.run(name, "--help")[1])
    assert commands_page == (reference / "commands.md").read_text()
    runnable = {
        path.stem
        for path in (ROOT / "experiments").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert runnable == {*generate.COMMANDS}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_tutorial_on_blocks_names_the_folder_and_the_seeds_of_its_command():
    text = (DOCS / "tutorials" / "own-block.md").read_text()
    (config,) = set(re.findall(r"--config=(configs/block.py:\S+)\n", text))
    _, _, argument = config.partition(":")
    name = "_".join(["block", re.sub(r"\W+", "_", argument).strip("_")])
    assert f"writes `runs/{name}/report.html`" in text
    points = importlib.import_module("configs.block").get_grid("fused").points
    seeds = len({point["seed"] for point in points})
    assert f"over {('six', 'seven', 'eight')[seeds - 6]} seeds" in text


def test_the_tutorial_adds_a_block_to_the_checkout(tmp_path):
    page = DOCS / "tutorials" / "own-block.md"
    (module,) = blocks(page, "python")
    imported, entry = re.findall(r"^(from .*|    \".*)$", blocks(page, "")[0], re.M)
    for name in ("mnv2_jax", "experiments", "configs"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "results")
        )
    (tmp_path / "mnv2_jax/nn/blocks/mixed_kernels.py").write_text(module)
    registry = tmp_path / "mnv2_jax/nn/blocks/__init__.py"
    first = "from mnv2_jax.nn.blocks.base import Block\n"
    text = registry.read_text().replace(first, f"{first}{imported}\n")
    registry.write_text(text.replace('    "fused": Fused,\n', f'    "fused": Fused,\n{entry}\n'))
    status, out, err = commands.run_in(tmp_path, "cost", "--preset=digits", "--block=mixed_kernels")
    assert status == 0, err
    assert "block_02/depthwise_5" in out


def test_the_claim_about_phases_can_be_decided(tmp_path):
    claim, _ = blocks(DOCS / "tutorials" / "own-photos.md", "python")
    imports, _, claim = claim.partition("\n\n")
    config = tmp_path / "phases.py"
    source = f"""{imports}
from configs import transfer
from mnv2_jax.ablation.grid import axis, product

get_config = transfer.get_config

def get_grid():
    return product(axis("transfer.phase", ("scratch", "finetuning")), axis("seed", range(2)))

def get_claims():
    return [
{claim}]
"""
    config.write_text(source)
    status, out, err = commands.run("finetune", f"--config={config}", "--dry_run")
    assert status == 0, err
    assert "cannot be decided" not in out
    config.write_text(re.sub(r"\n +covarying=.*", "", source))
    _, out, _ = commands.run("finetune", f"--config={config}", "--dry_run")
    assert (
        "claim 'tuned_from_scratch' cannot be decided: runs with transfer.phase finetuning and "
        "scratch differ in epochs, train.learning_rate, transfer.first and transfer.norm too; "
        "name them in covarying=(...)"
    ) in out


def test_the_session_of_import_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = DOCS / "how-to" / "import-weights.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 5
    assert failed == 0
