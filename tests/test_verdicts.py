"""The claims in the documentation are those that were decided, word for word."""

import subprocess
import sys

import pytest

from mnv2_jax.analysis.verdicts import read_decided
from tests import commands

RESULTS = commands.ROOT / "experiments/results"
FOLDERS = sorted(path.parent.name for path in RESULTS.glob("*/claims.json"))


@pytest.mark.parametrize(
    "folder", ["digits", "digits_factorial", "cifar10_smoke_factorial", "transfer"]
)
def test_the_results_page_has_the_claims_as_the_command_prints_them(folder):
    status, out, err = commands.run(
        "verdicts", f"--workdir={RESULTS / folder}", "--format=markdown"
    )
    assert status == 0, err
    assert out.count("\n") > 4
    assert out in (commands.ROOT / "docs/results/index.md").read_text()


def test_the_readme_has_the_differences_of_the_factorial():
    _, out, _ = commands.run(
        "verdicts", f"--workdir={RESULTS / 'digits_factorial'}", "--format=markdown"
    )
    readme = (commands.ROOT / "README.md").read_text()
    rows = [line.split(" | ") for line in out.splitlines() if "section" in line]
    assert len(rows) == 6
    for _, _, difference, _, p, verdict in rows:
        holm = p.partition("(")[2].rstrip(")")
        shown = f"| {difference.removesuffix(' (95 %)')} | {holm} | {verdict}"
        assert shown in readme


@pytest.mark.parametrize("folder", FOLDERS)
def test_committed_claims_are_printed(folder):
    status, out, err = commands.run("verdicts", f"--workdir={RESULTS / folder}")
    assert status == 0, err
    for row in read_decided(RESULTS / folder):
        assert row["verdict"] in out


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


def test_every_folder_of_results_is_told_of():
    told = (RESULTS / "README.md").read_text()
    folders = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
    assert folders
    assert [name for name in folders if f"| `{name}` |" not in told] == []


@pytest.mark.parametrize("text", ["{", '[{"a": 1}]', "[1]", "7"])
@pytest.mark.parametrize("format", ["table", "json"])
def test_damaged_claims_are_named_with_what_to_do(text, format, tmp_path):
    path = tmp_path / "claims.json"
    path.write_text(text)
    status, out, err = commands.run("verdicts", f"--workdir={tmp_path}", f"--format={format}")
    assert (status, out) == (2, "")
    message = "it is damaged; run the experiment's command again, which writes it anew"
    assert err == f"python -m experiments.verdicts: {path}: {message}\n"


def test_what_reads_records_alone_does_not_wait_for_jax():
    code = "import sys, experiments.verdicts; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=commands.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
