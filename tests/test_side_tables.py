"""Side tables: written, read back, joined to results, and refused where they are damaged."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import side_tables
from mnv2_jax.ablation import tidy
from mnv2_jax.analysis import tables
from mnv2_jax.analysis.claims import greater
from mnv2_jax.analysis.verdicts import decide
from mnv2_jax.checksums import DamagedError
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import BlockRow, SideTable
from tests.analysis.synthetic import make_frame, write_workdir

ACCURACY = Column("noise/accuracy", "number", "measure", "Accuracy, noise", "%", 1, since="")
SIZE = Column("noise/size", "number", "measure", "Size, noise", "", 3, "lower", since="")
COLUMNS = {"noise/accuracy": ACCURACY, "noise/size": SIZE}


def table(rows):
    return SideTable("noise", COLUMNS, rows, {"split": "test"}, dict.fromkeys(rows, "then"))


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=12, max_size=12),
        st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, st.floats(-1e6, 1e6, width=32))),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    workdir = tmp_path_factory.mktemp("workdir")
    side_tables.write(workdir, table(rows))
    (found,) = side_tables.read_all(workdir)
    assert (found.name, found.columns, found.about) == ("noise", COLUMNS, {"split": "test"})
    assert found.rows.keys() == rows.keys()
    for run, values in rows.items():
        assert found.rows[run] == pytest.approx(values, rel=1e-8)


@pytest.mark.parametrize("name", ["noise.csv", "noise.json"])
def test_damage_is_told_with_the_file(tmp_path, name):
    side_tables.write(tmp_path, table({"a" * 12: {"noise/size": 1.0}}))
    path = tmp_path / "evaluations" / name
    path.write_bytes(path.read_bytes().replace(b"noise/size", b"noise/sizes"))
    with pytest.raises(DamagedError, match=name):
        side_tables.read_all(tmp_path)
    path.write_text("")
    with pytest.raises(DamagedError, match=name):
        side_tables.read_all(tmp_path)
    (tmp_path / "evaluations" / "noise.json").unlink()
    with pytest.raises(DamagedError):
        side_tables.read_all(tmp_path)


def test_predictions_are_those_of_the_table_or_none(tmp_path):
    labels = np.arange(3, dtype=np.int32)
    tested = Predictions(labels, labels, np.zeros(3, np.float32), tuple("abc"))
    rows = {"a" * 12: {"noise/accuracy": 1.0}}
    path = side_tables.write(tmp_path, table(rows)._replace(predictions={"a" * 12: tested}))
    ((run, found),) = side_tables.read_all(tmp_path)[0].predictions.items()
    assert run == "a" * 12
    assert found.has_images_of(tested)
    content = path.with_suffix(".npz").read_bytes()
    for damaged in (content[:-1], b""):
        path.with_suffix(".npz").write_bytes(damaged)
        assert side_tables.read_all(tmp_path)[0].predictions == {}
    side_tables.write(tmp_path, table(rows))
    assert not path.with_suffix(".npz").exists()
    path.with_suffix(".npz").write_bytes(content)  # Of the table before.
    assert side_tables.read_all(tmp_path)[0].predictions == {}


BLOCKS = {
    name: Column(name, "number", "measure", name.title(), "", 2, since="")
    for name in ("dead", "share")
}
VALUES = st.fixed_dictionaries({}, optional=dict.fromkeys(BLOCKS, st.floats(-1e6, 1e6, width=32)))


def with_blocks(blocks):
    return table({run: {"noise/size": 1.0} for run in blocks})._replace(
        blocks=blocks, block_columns=BLOCKS
    )


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=12, max_size=12),
        st.lists(st.builds(BlockRow, st.text('block_,\n"é'), VALUES), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_measures_of_blocks_are_read_back_as_they_were_written(tmp_path_factory, blocks):
    workdir = tmp_path_factory.mktemp("workdir")
    side_tables.write(workdir, with_blocks(blocks))
    (found,) = side_tables.read_all(workdir)
    assert found.block_columns == BLOCKS
    assert found.blocks.keys() == blocks.keys()
    for run, rows in blocks.items():
        assert [row.name for row in found.blocks[run]] == [row.name for row in rows]
        for row, before in zip(found.blocks[run], rows, strict=True):
            assert row.values == pytest.approx(before.values, rel=1e-8)


def test_damage_in_measures_of_blocks_is_told_with_the_file(tmp_path):
    rows = [BlockRow("block_01", {"dead": 3.0}), BlockRow("block_02", {})]
    side_tables.write(tmp_path, with_blocks({"a" * 12: rows}))
    path = tmp_path / "blocks" / "noise.csv"
    content = path.read_text()
    assert content.splitlines()[1:] == [f"{'a' * 12},1,block_01,3,", f"{'a' * 12},2,block_02,,"]
    path.write_text(content.replace("3", "4"))
    message = r"blocks/noise\.csv: it is damaged \(it does not have the checksum in noise\.csv\.sha"
    with pytest.raises(DamagedError, match=message):
        side_tables.read_all(tmp_path)
    (tmp_path / "blocks" / "noise.csv.sha256").unlink()
    for damaged, told in (
        ("", "expected the columns run_id, number, name, dead, share"),
        (content.replace("dead", "live"), "expected the columns run_id, number"),
        (content.replace(",3,", ",x,"), "expected a run id and numbers"),
        (content.replace(",3,", ",nan,"), "expected a run id and numbers"),
        (content.replace(",2,", ",3,"), "expected the blocks of each run in order, from 1"),
    ):
        path.write_text(damaged)
        with pytest.raises(DamagedError, match=rf"blocks/noise\.csv: it is damaged \({told}"):
            side_tables.read_all(tmp_path)
    path.unlink()
    with pytest.raises(DamagedError, match=r"blocks/noise\.csv: it is damaged \(no such file\)"):
        side_tables.read_all(tmp_path)
    write_workdir(tmp_path, make_frame())
    with pytest.raises(ValueError, match=r"blocks/noise.*experiments\.evaluate writes it anew"):
        tables.read_results(tmp_path)
    (line,) = tidy.tidy(tmp_path, [], alone=True)
    assert "blocks/noise.csv: it is damaged" in line
    assert "noise/size" not in tables.read_results(tmp_path)
    # A table without such measures leaves none of the one before.
    side_tables.write(tmp_path, with_blocks({"a" * 12: rows}))
    side_tables.write(tmp_path, table({"a" * 12: {"noise/size": 1.0}}))
    assert not [*tmp_path.glob("blocks/noise*")]


@pytest.mark.parametrize("content", [b"", b"run_id\n", b"\xff\x00", None])
def test_a_damaged_table_is_put_aside_before_training(tmp_path, content):
    path = side_tables.write(tmp_path, table({"a" * 12: {"noise/size": 1.0}}))
    if content is None:
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(content)
    write_workdir(tmp_path, make_frame())
    with pytest.raises(ValueError, match=r"experiments\.evaluate writes it anew"):
        tables.read_results(tmp_path)
    (line,) = tidy.tidy(tmp_path, [], alone=True)
    assert "experiments.evaluate writes it anew; what was there is put aside as" in line
    assert "noise/size" not in tables.read_results(tmp_path)


def test_results_join_it_and_say_what_its_columns_are(tmp_path):
    write_workdir(tmp_path, make_frame())
    before = tables.read_results(tmp_path)
    first, second, *rest = before["run_id"]
    # The runs of this workdir have no result.json, so that nothing was trained anew.
    side_tables.write(tmp_path, table({first: {"noise/size": 2.5}, second: {}}))
    frame = tables.read_results(tmp_path).set_index("run_id")
    assert frame.loc[first, "noise/size"] == 2.5
    assert frame.loc[[second, *rest], "noise/size"].isna().all()
    assert frame["noise/accuracy"].isna().all()
    joined = tables.read_results(tmp_path)
    assert tables.describe(joined, "noise/size") == SIZE
    assert tables.is_metric(joined, "noise/size")
    assert tables.design_axes(joined) == tables.design_axes(before)
    pd.testing.assert_frame_equal(joined[[*before]], before)
    assert np.isnan(joined["noise/accuracy"]).all()


def test_a_claim_on_a_table_that_is_not_there_says_so_and_nothing_else():
    claim = greater("a", "", "", "projection", "linear", "relu6", metric="noise/size")
    (row,) = decide([claim], make_frame())
    assert row["notes"] == ["There is no side table noise: experiments.evaluate writes it."]


def test_a_run_that_was_trained_anew_is_not_what_was_measured(tmp_path):
    write_workdir(tmp_path, make_frame())
    first, second, *_ = tables.read_results(tmp_path)["run_id"]
    for run in (first, second):
        (tmp_path / "runs" / run / "result.json").write_text("{}")
    then = {first: side_tables.record_of(tmp_path, first), second: "another"}
    rows = {run: {"noise/size": 2.5} for run in then}
    side_tables.write(tmp_path, SideTable("noise", COLUMNS, rows, {}, then))
    frame = tables.read_results(tmp_path).set_index("run_id")
    assert frame.loc[first, "noise/size"] == 2.5
    assert np.isnan(frame.loc[second, "noise/size"])
