import numpy as np
import pytest

from mnv2_jax import side_tables
from mnv2_jax.analysis import block_tables, tables
from tests.analysis.blocks import CHANNELS, COLUMNS, DEPTH, TABLE, write_blocks
from tests.analysis.synthetic import make_frame, write_workdir


@pytest.fixture
def workdir(tmp_path):
    return write_workdir(tmp_path / "work", make_frame(expansions=(6,), seeds=2))


def test_measures_of_blocks_are_joined_with_seeds_and_axes(workdir):
    frame = tables.read_results(workdir)
    assert block_tables.read(workdir, frame) == {}
    write_blocks(workdir, frame.iloc[1:])
    frame = tables.read_results(workdir)
    ((name, found),) = block_tables.read(workdir, frame).items()
    assert name == TABLE
    assert found.columns == COLUMNS
    assert found.about["split"] == "validation"
    first = ["run_id", "seed", *tables.design_axes(frame), *side_tables.BLOCK]
    assert [*found.frame] == [*first, *COLUMNS]
    assert len(found.frame) == DEPTH * (len(frame) - 1)
    linear = found.frame[found.frame["projection"] == "linear"]
    assert (linear["active"] == CHANNELS).all()
    assert np.isnan(found.frame["positive_min"]).sum() == len(frame) - 1


def test_runs_that_were_trained_anew_are_left_out(workdir):
    frame = tables.read_results(workdir)
    first, second, *_ = frame["run_id"]
    for run in (first, second):
        (workdir / "runs" / run / "result.json").write_text("{}")
    table = write_blocks(workdir, frame)
    now = {first: side_tables.record_of(workdir, first), second: "another"}
    side_tables.write(workdir, table._replace(records=now))
    found = block_tables.read(workdir, tables.read_results(workdir))[TABLE].frame
    assert first in set(found["run_id"])
    assert second not in set(found["run_id"])


def test_damage_is_told_in_one_line(workdir):
    frame = tables.read_results(workdir)
    write_blocks(workdir, frame)
    path = workdir / "blocks" / f"{TABLE}.csv"
    path.write_text(path.read_text()[:-2])
    with pytest.raises(ValueError, match=rf"blocks/{TABLE}\.csv: it is damaged.* writes it anew"):
        block_tables.read(workdir, frame)
