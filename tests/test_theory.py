"""The paper's theory from the command line."""

import csv

import pytest

from mnv2_jax import presets
from mnv2_jax.nn import network, trained
from tests import commands

pytestmark = pytest.mark.slow


def theory(*arguments):
    return commands.run("theory", *arguments)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_tables_and_figures_of_the_parts_without_networks(tmp_path):
    flags = (f"--out={tmp_path}", "--only=theorem1,spiral,rank", "--seeds=3", "--samples=800")
    status, out, err = theory(*flags)
    assert (status, err) == (0, "")
    written = {path.name for path in tmp_path.rglob("*.*")}
    figures = {
        f"{name}{suffix}" for name in ("spiral", "spiral_error") for suffix in (".svg", ".png")
    }
    tables = {f"{name}.csv" for name in ("theorem1", "theorem1_seeds", "spiral", "rank")}
    assert written == figures | tables
    table = rows(tmp_path / "theorem1.csv")
    assert [int(row["outputs"]) for row in table] == [2, 3, 5, 15, 30, 16, 32, 48, 96]
    for row in table:
        assert float(row["measured"]) == pytest.approx(float(row["predicted"]), rel=0.5)
        assert row["verdict"] in out
    assert len(rows(tmp_path / "theorem1_seeds.csv")) == 27
    assert "of 9 predictions lie in their own 95 % intervals." in out
    assert "by its theorem that is the fraction not collapsed." in out
    before = (tmp_path / "theorem1.csv").read_bytes()
    theory(f"--out={tmp_path}", "--only=theorem1", "--seeds=3", "--samples=800")
    assert (tmp_path / "theorem1.csv").read_bytes() == before


def test_figure_7_of_random_and_of_trained_networks(tmp_path):
    spec = presets.build("digits")
    file = tmp_path / trained.FILE
    names = tuple(map(str, range(10)))
    variables = network.initialise(spec)
    trained.save(file, trained.Trained(spec, variables, names, "symmetric", 1.0))
    flags = ("--only=figure7", "--seeds=2", "--resolution=32", f"--pretrained={file}")
    status, out, err = theory(f"--out={tmp_path / 'out'}", *flags)
    assert (status, err) == (0, "")
    assert len(rows(tmp_path / "out" / "figure7a.csv")) == 2 * 2 * 16
    assert len(rows(tmp_path / "out" / "figure7b.csv")) == 2 * 8
    assert (tmp_path / "out" / "figures" / "figure7b.png").is_file()
    assert f"Figure 7b: {file}, 8 crops of two photographs" in out
    assert "The paper: averages 0.46 to 0.53, minima 0.33 to 0.48." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only=theorem2"], "--only=theorem2: expected some of theorem1, spiral, rank, figure7"),
        (["--seeds=1"], "--seeds=1: expected 2 or more"),
        (["--seeds=many"], "flag --seeds=many: "),
        (["--samples=79"], "--samples=79: expected 80 or more"),
        (["--resolution=31"], "--resolution=31: expected 32 or more"),
        (["--out=README.md"], "--out=README.md: it is a file; expected a folder"),
        (["--out=README.md/a"], "--out=README.md/a: cannot be made (Not a directory); expected"),
        (
            ["--only=spiral", "--pretrained=a.h5"],
            "--pretrained=a.h5: read by figure7 alone; expected --only with figure7",
        ),
        (
            ["--only=figure7", "--out={out}", "--pretrained=none.safetensors"],
            "--pretrained=none.safetensors: no such file or folder; expected a network.safetensors",
        ),
        (
            ["--only=figure7", "--out={out}", "--pretrained=README.md"],
            "--pretrained=README.md: expected a file ending in .safetensors",
        ),
        (["everything"], "everything: unknown argument"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(tmp_path, arguments, message):
    status, out, err = theory(*(argument.format(out=tmp_path) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.theory: {message}"), err
    assert len(err.splitlines()) == 1
