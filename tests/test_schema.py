"""The schema of files and columns, and that writers and readers go by it."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import checksums, metrics, schema, side_tables
from mnv2_jax.ablation import records as written
from mnv2_jax.analysis import stats, tables
from mnv2_jax.metrics import Metric
from tests.analysis.synthetic import make_frame, write_workdir

ROOT = Path(__file__).resolve().parents[1]
BRIER = Metric("brier", lambda logits, labels: logits, "Brier score", "", "lower", digits=4)


def saved(workdir: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(workdir / schema.RESULTS, index=False)
    return workdir


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in ROOT.glob("experiments/results/*/results.csv"))
)
def test_committed_results_of_every_version_are_read(name):
    workdir = ROOT / "experiments" / "results" / name
    frame = tables.read_results(workdir)
    with (workdir / "results.csv").open() as file:
        columns = next(csv.reader(file))
    own = {name for name in frame if not side_tables.is_of_side_table(name)}
    assert set(schema.in_order(columns)) == own
    assert "test_accuracy" in [column.name for column in tables.measures(frame)]
    known = {name for name in columns if name in schema.KNOWN}
    axes = {name for name in known if schema.KNOWN[name].kind == "axis"}
    assert set(tables.design_axes(frame)) == axes | (set(columns) - known)


@settings(max_examples=15)
@given(st.sets(st.sampled_from([one for one in schema.KNOWN.values() if not one.required])))
def test_a_column_that_older_results_lack_reads_as_missing(tmp_path_factory, lacking):
    frame = make_frame(expansions=(6,), seeds=2)
    names = [column.name for column in lacking if column.name in frame]
    found = tables.read_results(saved(tmp_path_factory.mktemp("old"), frame.drop(columns=names)))
    for column in schema.KNOWN.values():
        if column.name in names:
            empty = "" if column.type == "text" else np.nan
            assert found[column.name].isin([empty]).all()
    kept = [name for name in frame if name not in names]
    pd.testing.assert_frame_equal(found[kept], frame[kept], check_dtype=False)


@pytest.mark.parametrize("name", [one.name for one in schema.KNOWN.values() if one.required])
def test_a_column_that_every_version_has_is_required(tmp_path, name):
    with pytest.raises(ValueError, match=rf"lacks the columns \['{name}'\]"):
        tables.read_results(saved(tmp_path, make_frame().head(2).drop(columns=name)))


def test_an_unknown_column_is_refused_by_name(tmp_path):
    frame = make_frame().head(2)
    saved(tmp_path, frame.assign(colour="red"))
    with pytest.raises(ValueError, match=r"results\.csv, column colour: nothing says what it is"):
        tables.read_results(tmp_path)
    # A path is that of a field.
    found = tables.read_results(saved(tmp_path, frame.assign(**{"train.colour": "red"})))
    assert tables.design_axes(found)[-1] == "train.colour"


def test_an_unknown_column_is_an_axis_where_configs_have_it_as_a_field(tmp_path):
    frame = make_frame().head(2).assign(parallel="lanes")
    write_workdir(tmp_path, frame)
    with pytest.raises(ValueError, match="column parallel: nothing says"):
        tables.read_results(tmp_path)
    for run in frame["run_id"]:
        checksums.write_json(tmp_path / "runs" / run / "config.json", {"parallel": "lanes"})
    assert tables.design_axes(tables.read_results(tmp_path))[-1] == "parallel"


def test_a_metric_of_the_users_own_is_described_where_its_column_is(tmp_path):
    frame = make_frame(expansions=(6,))
    rows = frame.assign(test_brier=1 - frame["test_accuracy"], parallel="lanes").to_dict("records")
    written.write_table(tmp_path, rows, [*metrics.METRICS.values(), BRIER])
    assert set(schema.read_columns(tmp_path)) == {"test_brier", "parallel"}
    found = tables.read_results(tmp_path)
    column = tables.describe(found, "test_brier")
    assert (column.kind, column.title, column.digits) == ("measure", "Test Brier score", 4)
    assert column.better == "lower"
    assert "test_brier" not in tables.design_axes(found)
    assert "parallel" in tables.design_axes(found)
    # Described in what is made of the table too.
    assert tables.describe(found[found["seed"] == 0].assign(more=1), "test_brier") == column
    linear = stats.Contrast("projection", "linear", "relu6")
    pairs = stats.paired_differences(found, linear, "test_brier")
    assert pairs["difference"].notna().all()
    # A later run without that metric leaves what describes its column.
    written.write_table(tmp_path, rows)
    assert tables.describe(tables.read_results(tmp_path), "test_brier") == column
    written.write_table(tmp_path, frame.to_dict("records"))
    assert not (tmp_path / schema.COLUMNS).exists()


def test_a_described_measure_holds_numbers(tmp_path):
    frame = make_frame().head(2)
    schema.write_columns(tmp_path, [schema.Column("depth", "number", "measure", "Depth")])
    found = tables.read_results(saved(tmp_path, frame.assign(depth=[0.5, ""])))
    assert found["depth"].tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
    assert [column.name for column in tables.measures(found)][-2:] == ["depth", "seconds"]
    saved(tmp_path, frame.assign(depth="deep"))
    with pytest.raises(ValueError, match=r"column depth: .*must be numbers"):
        tables.read_results(tmp_path)


TEXT = st.text(max_size=8)
NAMES = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True).filter(lambda n: n not in schema.KNOWN)
MEASURES = st.builds(
    schema.Column,
    name=NAMES,
    type=st.just("number"),
    kind=st.just("measure"),
    label=TEXT,
    unit=TEXT,
    digits=st.integers(0, 9),
    better=st.sampled_from(["higher", "lower"]),
    since=st.just(""),
)


@settings(max_examples=25)
@given(st.lists(MEASURES, unique_by=lambda column: column.name))
def test_descriptions_come_back_as_they_were_written(tmp_path_factory, columns):
    workdir = tmp_path_factory.mktemp("columns")
    schema.write_columns(workdir, columns)
    assert list(schema.read_columns(workdir).values()) == columns


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "thing"}, "depth: kind 'thing'; expected axis, measure, note"),
        ({"kind": "measure", "digits": 12}, "depth: digits 12; expected 0 to 9"),
        ({"kind": "measure", "unit": 1}, "depth: unit 1; expected a text"),
        ({"label": "Depth"}, "depth: expected its kind: axis, measure, note"),
        ("Depth", "depth: expected kind, label"),
    ],
)
def test_a_wrong_description_is_named(tmp_path, entry, message):
    checksums.write_json(tmp_path / schema.COLUMNS, {"columns": {"depth": entry}})
    with pytest.raises(checksums.DamagedError, match=rf"columns\.json.*{message}"):
        schema.read_columns(tmp_path)
    saved(tmp_path, make_frame().head(2))
    with pytest.raises(ValueError, match="; the experiment's command writes it anew"):
        tables.read_results(tmp_path)
    written.write_table(tmp_path, make_frame().head(2).to_dict("records"))
    assert len(tables.read_results(tmp_path)) == 2


def test_every_metric_of_the_registry_has_a_column_of_every_split():
    for metric in metrics.METRICS.values():
        for split in metrics.SPLITS:
            column = schema.KNOWN[metric.column(split)]
            assert (column.kind, column.unit) == ("measure", metric.unit)
            always = column.name in schema.in_order(())
            assert always == (metric.name in metrics.DEFAULT)
    assert "validation_top5_accuracy" in schema.CURVES


def test_values_are_shown_in_their_unit():
    assert schema.KNOWN["test_accuracy"].text(0.9784) == "97.8 %"
    assert schema.KNOWN["test_loss"].text(0.09162) == "0.092 nats"
    assert schema.KNOWN["madds"].text(117776) == "117,776"
    assert schema.KNOWN["test_top5_accuracy"].title == "Test top-5 accuracy (%)"


def test_the_reference_lists_every_file_and_every_column():
    text = (ROOT / "docs" / "reference" / "files-of-a-workdir.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    files = {row[0]: row[1:] for row in rows if len(row) == 3}
    columns = {row[0]: row[1:] for row in rows if len(row) == 6}
    for file in schema.FILES:
        assert files[f"`{file.path}`"] == [file.what, file.since]
    for one in schema.KNOWN.values():
        unit = f"{one.unit}, a fraction of 1" if one.unit == "%" else one.unit
        field = f"`{one.field}`" if one.field else ""
        assert columns[f"`{one.name}`"] == [one.label, one.kind, unit, field, one.since]
    heads = 2  # The head of a table, and the line below it.
    assert (len(files), len(columns)) == (len(schema.FILES) + heads, len(schema.KNOWN) + heads)
