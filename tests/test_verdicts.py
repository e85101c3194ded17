"""The claims in the documentation are those that were decided, word for word."""

import json
import subprocess
import sys

import pytest

from mnv2_jax.analysis.claim_tables import claims_markdown
from mnv2_jax.analysis.verdicts import read_decided
from tests import commands

RESULTS = commands.ROOT / "experiments/results"


def test_the_command_prints_the_claims_in_three_formats():
    folder = RESULTS / "digits"
    rows = read_decided(folder)
    printed = {}
    for form in ("table", "markdown", "json"):
        status, printed[form], err = commands.run(
            "verdicts", f"--workdir={folder}", f"--format={form}"
        )
        assert status == 0, err
    assert all(row["verdict"] in printed["table"] for row in rows)
    assert printed["markdown"] == claims_markdown(rows) + "\n"
    assert json.loads(printed["json"]) == rows


PAGES = {
    "index.md": ["digits", "digits_factorial", "cifar10_smoke_factorial", "transfer"],
    "why.md": [
        "digits_dose",
        "digits_place",
        "digits_intervention",
        "cifar10_smoke_dose",
        "cifar10_smoke_intervention",
    ],
    "precision.md": ["digits_precision", "cifar10_smoke_precision"],
}


@pytest.mark.parametrize(
    ("page", "folder"), [(page, folder) for page, folders in PAGES.items() for folder in folders]
)
def test_the_results_pages_have_the_claims_as_the_command_prints_them(page, folder):
    table = claims_markdown(read_decided(RESULTS / folder))
    assert table.count("\n") > 3
    assert table in (commands.ROOT / "docs/results" / page).read_text()


def test_the_readme_has_the_differences_of_the_factorial():
    table = claims_markdown(read_decided(RESULTS / "digits_factorial"))
    readme = (commands.ROOT / "README.md").read_text()
    rows = [line.split(" | ") for line in table.splitlines() if "section" in line]
    assert len(rows) == 6
    for _, _, difference, _, _, p, verdict in rows:
        holm = p.partition("(")[2].rstrip(")")
        shown = f"| {difference.removesuffix(' (95 %)')} | {holm} | {verdict}"
        assert shown in readme


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--workdir: expected the folder of an experiment"),
        (["--workdir=configs"], "--workdir=configs: there is no claims.json"),
        (["--workdir=runs", "--format=html"], "flag --format=html: value should be one of"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(arguments, message):
    status, out, err = commands.run("verdicts", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.verdicts: {message}")
    assert len(err.splitlines()) == 1


def test_every_folder_of_results_is_in_their_readme():
    text = (RESULTS / "README.md").read_text()
    folders = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
    assert folders
    assert [name for name in folders if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("text", ["{", '[{"a": 1}]', "[1]", "7"])
def test_damaged_claims_are_named_with_what_to_do(text, tmp_path):
    path = tmp_path / "claims.json"
    path.write_text(text)
    status, out, err = commands.run("verdicts", f"--workdir={tmp_path}", "--format=json")
    assert (status, out) == (2, "")
    message = "it is damaged; run the experiment's command again, which writes it anew"
    assert err == f"python -m experiments.verdicts: {path}: {message}\n"


def test_reading_records_does_not_import_jax():
    code = "import sys, experiments.verdicts; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=commands.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
