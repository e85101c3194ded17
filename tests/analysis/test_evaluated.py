"""Means of side tables: over seeds, by an axis, and without runs that were not measured."""

import numpy as np
import pandas as pd
import pytest

from mnv2_jax import side_tables
from mnv2_jax.analysis import evaluated, tables
from mnv2_jax.analysis.claims import equivalent, greater
from mnv2_jax.analysis.evaluated import Evaluated
from mnv2_jax.analysis.means import t_interval
from tests.analysis.evaluations import ABOUT, DROP, NAME, with_measures, write_evaluations
from tests.analysis.synthetic import make_frame, make_transfers, stop, write_workdir


def of(workdir, claims=(), but=()) -> list[Evaluated]:
    return evaluated.read(workdir, tables.read_results(workdir), claims, but)


def test_means_are_over_seeds_whose_runs_are_averaged_first(tmp_path):
    frame = make_frame(expansions=(1, 6), seeds=4)
    stop(frame, 0)
    write_workdir(tmp_path, frame)
    write_evaluations(tmp_path, frame.drop(index=[0]))
    (found,) = of(tmp_path)
    done = with_measures(frame).drop(index=[0])
    by_seed = done.groupby("seed")[DROP].mean()
    drop, ratio = found.measures
    assert (drop.column.name, drop.column.unit, drop.column.digits) == (DROP, "%", 1)
    expected = t_interval(by_seed.to_numpy(), 0.95)
    assert list(vars(drop.mean).values()) == pytest.approx(list(vars(expected).values()))
    assert (found.axis, found.values) == ("expansion", [1, 6])
    one = done[done["expansion"] == 1].groupby("seed")[DROP].mean()
    assert one.mean() != pytest.approx(done.loc[done["expansion"] == 1, DROP].mean())
    six = done.loc[done["expansion"] == 6, DROP]
    assert drop.by_value == pytest.approx([one.mean(), six.mean()])
    assert ratio.by_value == pytest.approx([np.mean(2 ** (e + np.arange(4) / 10)) for e in (1, 6)])
    assert (found.name, found.about, found.dataset) == (NAME, ABOUT, "digits")
    assert (found.runs, found.seeds, found.anew) == (31, 4, 0)
    assert found.is_only
    assert found.is_whole
    assert of(tmp_path, but={NAME}) == []


def test_the_axis_is_that_of_the_first_claim_about_the_table(tmp_path):
    write_workdir(tmp_path, make_frame(seeds=1))
    write_evaluations(tmp_path, make_frame(seeds=1))
    claims = (
        equivalent("other", "", "", "expansion", (1, 2), 0.01),
        None,
        greater("mine", "", "", "model.shortcut", "bottleneck", "none", metric=DROP),
    )
    (found,) = of(tmp_path, claims)
    assert (found.axis, found.values) == ("shortcut", ["bottleneck", "none"])
    assert np.isnan(found.measures[0].mean.low)


@pytest.mark.parametrize(("expansions", "axis"), [(range(1, 9), "projection"), ((6,), "")])
def test_an_axis_has_few_values_that_differ(tmp_path, expansions, axis):
    projections = ("linear", "relu6") if axis else ("linear",)
    frame = make_frame(tuple(expansions), projections, ("none",), seeds=1)
    write_workdir(tmp_path, frame)
    write_evaluations(tmp_path, frame)
    assert of(tmp_path)[0].axis == axis


def test_runs_that_were_trained_anew_and_pretraining_are_left_out(tmp_path):
    frame = make_transfers().assign(run_id=lambda runs: [f"{n:04}" for n in range(len(runs))])
    write_workdir(tmp_path, frame)
    *_, first, last = frame["run_id"]
    (tmp_path / "runs" / first / "result.json").write_text("{}")
    (tmp_path / "runs" / last / "result.json").write_text("{}")
    now = side_tables.record_of(tmp_path, first)
    write_evaluations(tmp_path, frame, records={first: now, last: "another"})
    (found,) = of(tmp_path)
    assert found.axis == "transfer.phase"
    assert "pretraining" not in found.values
    pretraining = int((frame["transfer.phase"] == "pretraining").sum())
    assert (found.runs, found.anew) == (len(frame) - pretraining - 1, 1)


def test_data_sets_have_tables_of_their_own_and_cells_the_same_seeds(tmp_path):
    digits, more = make_frame((6,), seeds=2), make_frame((1,), seeds=3)
    other = make_frame((6,), seeds=2).assign(dataset="letters")
    frame = pd.concat([digits, more, other], ignore_index=True)
    frame["run_id"] = [f"{number:04}" for number in frame.index]
    write_workdir(tmp_path, frame)
    write_evaluations(tmp_path, frame)
    one, two = of(tmp_path)
    assert (one.dataset, one.runs, one.seeds, one.is_whole) == ("digits", 20, 2, False)
    assert (two.dataset, two.runs, two.seeds, two.is_whole) == ("letters", 8, 2, True)
    assert not one.is_only
    whole = with_measures(frame)[(frame["dataset"] == "digits") & (frame["seed"] < 2)]
    assert one.measures[0].mean.estimate == pytest.approx(whole[DROP].mean())


def test_a_damaged_table_is_told(tmp_path):
    write_workdir(tmp_path, make_frame((6,), seeds=1))
    frame = tables.read_results(tmp_path)
    write_evaluations(tmp_path, frame)
    (tmp_path / "evaluations" / f"{NAME}.csv").write_text("")
    with pytest.raises(ValueError, match=r"experiments\.evaluate writes it anew"):
        evaluated.read(tmp_path, frame, ())
