"""Stable ids: of committed results, and after a config field is added."""

import csv
import dataclasses
import importlib
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import digits, transfer
from mnv2_jax import neutral
from mnv2_jax.ablation import cohort, finished, grid, ids, phases, records, resolve
from mnv2_jax.data.augmentation import Augmentation

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
JPEG: dict[str, object] = {"data.name": "cifar10-jpeg/"}
COMMITTED: dict[str, tuple[str, tuple[str, ...], dict[str, object]]] = {
    "digits": ("digits", (), {}),
    "digits_shift": ("digits", (), {"augment.shift": 1}),
    "digits_factorial": ("digits", ("factorial",), {}),
    "digits_dose": ("digits", ("dose",), {}),
    "digits_place": ("digits", ("place",), {}),
    "digits_intervention": ("digits", ("intervention",), {}),
    "digits_precision": ("digits", ("precision",), {}),
    "blocks": ("digits", ("blocks",), {}),
    "cifar10_smoke_factorial": ("cifar10", ("smoke,factorial",), JPEG),
    "cifar10_smoke_dose": ("cifar10", ("smoke,dose",), {**JPEG, "model.expansion": 6.0}),
    "cifar10_smoke_intervention": (
        "cifar10",
        ("smoke,intervention",),
        {**JPEG, "model.expansion": 6.0},
    ),
    "cifar10_smoke_precision": ("cifar10", ("smoke,precision",), JPEG),
    "transfer": ("transfer", (), {}),
    "transfer_clip": ("transfer_recipe", ("digits,clip",), {}),
}
"""Results, the config and its argument that they are of, and what was set on the command line."""

FIRST_SEEDS = dict.fromkeys(
    ("cifar10_smoke_dose", "cifar10_smoke_intervention", "cifar10_smoke_precision"), 6
)
"""Results of fewer seeds than the grid's own."""

NOT_OF_THIS_CODE = {"digits_recipe", "transfer_recipe", "transfer_photos"}
"""Results of configs that have changed since, as README.md there says."""


@pytest.mark.parametrize("name", COMMITTED)
def test_ids_of_committed_results_are_those_of_their_configs(name):
    config_name, argument, changes = COMMITTED[name]
    module = importlib.import_module(f"configs.{config_name}")
    config = module.get_config(*argument)
    config.update_from_flattened_dict(changes)
    points = module.get_grid(*argument)
    if name in FIRST_SEEDS:
        points = grid.with_seeds(points, range(FIRST_SEEDS[name]))
    with (RESULTS / name / "results.csv").open() as file:
        measured = {row["run_id"]: int(row["seed"]) for row in csv.DictReader(file)}
    stops = points.seeds
    every = grid.with_seeds(points, range(stops.budget)) if stops else points
    configs = grid.expand(config, every, changes)
    if "transfer" in config:
        configs = phases.runs(configs)
    planned = {grid.run_id(config): int(config.seed) for config in configs}
    # Where seeds stop by themselves, some runs have the minimum.
    least = {run for run, seed in planned.items() if not stops or seed in [*stops]}
    assert least <= measured.keys()
    assert measured.items() <= planned.items()
    assert stops or measured == planned


def test_all_committed_results_are_spoken_of():
    there = {path.parent.name for path in RESULTS.glob("*/results.csv")}
    assert there == {*COMMITTED, *NOT_OF_THIS_CODE}


def test_ids_and_tables_hold_the_name_of_a_folder_and_not_where_it_lies(dots):
    def planned(name):
        config = digits.get_config()
        config.data.name = name
        (one,) = cohort.plan(grid.expand(config, grid.axis("seed", (0,))), lambda _: dots)
        (run,) = one.runs
        assert run.config.data.name == name
        return one.id, run.id, records.describe(run, one)

    first = planned("photos/")
    assert first[2]["dataset"] == "photos/"
    for name in ("./photos", "/data/photos/", "~/photos/"):
        assert planned(name) == first
    assert planned("photos")[:2] != first[:2]
    assert planned("other/")[1] != first[1]


@dataclasses.dataclass(frozen=True)
class Wider(Augmentation):
    """Augmentation as a later version may have it."""

    solarize: float = neutral.added(0.0, since="0.3")


@pytest.fixture
def later(monkeypatch):
    """Add two fields as a later version would: one to a section, one outside of all."""

    def add():
        monkeypatch.setattr("mnv2_jax.data.augmentation.Augmentation", Wider)
        monkeypatch.setattr(resolve, "Augmentation", Wider)
        monkeypatch.setitem(ids.OTHERS, "note", neutral.Added("", "0.3"))
        ids.added.cache_clear()

    yield add
    monkeypatch.undo()
    ids.added.cache_clear()


GRID = grid.product(grid.axis("model.expansion", (1, 2)), grid.axis("seed", (0, 1)))


def plan(config, dots, points=GRID):
    return cohort.plan(grid.expand(config, points), lambda _: dots)


def runs_by_cohort(cohorts):
    return {part.id: [run.id for run in part.runs] for part in cohorts}


def test_a_later_field_changes_no_id_at_its_neutral_value(dots, later):
    before = runs_by_cohort(plan(digits.get_config(), dots))
    later()
    config = digits.get_config()  # A file that was written before the field was there.
    cohorts = plan(config, dots)
    assert runs_by_cohort(cohorts) == before
    whole = cohorts[0].runs[0].config
    assert (whole.augment.solarize, whole.note) == (0.0, "")
    config.augment.solarize = 0.0  # One that lists it.
    assert runs_by_cohort(plan(config, dots)) == before


@pytest.mark.parametrize("change", [{"augment.solarize": 0.5}, {"note": "other"}])
def test_any_other_value_changes_ids_of_runs_and_cohorts(dots, later, change):
    before = runs_by_cohort(plan(digits.get_config(), dots))
    later()
    config = digits.get_config()
    ids.complete(config)
    config.update_from_flattened_dict(change)
    after = runs_by_cohort(plan(config, dots))
    assert not before.keys() & after.keys()
    every = [{run for runs in one.values() for run in runs} for one in (before, after)]
    assert len(every[1]) == 4
    assert not every[0] & every[1]


def test_a_later_field_may_be_an_axis_of_a_config_that_lacks_it(dots, later):
    before = {
        run for runs in runs_by_cohort(plan(digits.get_config(), dots)).values() for run in runs
    }
    later()
    points = grid.product(GRID, grid.axis("augment.solarize", (0.0, 0.5)))
    after = {run.id for part in plan(digits.get_config(), dots, points) for run in part.runs}
    assert len(after) == 8
    assert before < after


def test_runs_finished_before_a_field_was_added_are_found(dots, later, tmp_path):
    cohorts = plan(digits.get_config(), dots)
    for part in cohorts:
        for run in part.runs:
            row = {**records.describe(run, part), "status": "done", "test_accuracy": 0.9}
            records.write(tmp_path, run, row, [], {})
    later()
    config = digits.get_config()
    config.metrics = "accuracy,calibration_error"
    again = plan(config, dots)
    assert finished.remaining(tmp_path, again) == []
    (said,) = finished.unmeasured(tmp_path, again)
    assert said.startswith("4 finished runs were not measured by calibration_error: it stays empty")
    assert len(records.rows(tmp_path, again)) == 4


def test_phases_keep_their_ids_and_so_what_starts_from_them(later):
    before = [grid.run_id(run) for run in phases.runs([transfer.get_config()])]
    later()
    config = transfer.get_config()
    ids.complete(config)
    config.pretraining.augment = ConfigDict({"solarize": 0.0})  # Says what is so anyway.
    assert [grid.run_id(run) for run in phases.runs([config])] == before
    config.pretraining.augment.solarize = 0.5
    after = [grid.run_id(run) for run in phases.runs([config])]
    assert not set(before) & set(after)


def test_runs_that_were_not_tested_are_done(dots, tmp_path):
    config = digits.get_config()
    for part in plan(config, dots):
        for run in part.runs:
            row = {"status": "done", "validation_accuracy": 0.9, "validation_loss": 0.5}
            records.write(tmp_path, run, {**records.describe(run, part), **row}, [], {})
    again = plan(config, dots)
    assert finished.remaining(tmp_path, again) == []
    (said,) = finished.unmeasured(tmp_path, again)
    assert said.startswith(
        "4 finished runs were not measured on test images, which config.evaluate_test=False left "
    )
    config.evaluate_test = False
    assert finished.unmeasured(tmp_path, plan(config, dots)) == []


def test_observed_fields_are_no_part_of_an_id(dots):
    config = digits.get_config()
    before = runs_by_cohort(plan(config, dots))
    config.evaluate_test = False
    config.metrics = "accuracy,loss,calibration_error"
    cohorts = plan(config, dots)
    assert runs_by_cohort(cohorts) == before
    names = records.columns([run for part in cohorts for run in part.runs])
    assert "test_calibration_error" in names
    with pytest.raises(ValueError, match="grid: metrics says what is measured, and changes no run"):
        grid.expand(config, grid.axis("metrics", ("accuracy", "loss")))


def test_a_config_without_metrics_has_the_default_ones(dots):
    config = digits.get_config()
    before = runs_by_cohort(plan(config, dots))
    del config.metrics
    cohorts = plan(config, dots)
    assert runs_by_cohort(cohorts) == before
    assert cohorts[0].runs[0].config.metrics == "accuracy,loss"


def test_a_section_of_neutral_fields_alone_is_left_out():
    assert ids.without_neutral({"metrics": "loss", "seed": 0}) == {"seed": 0}
    assert ids.without_neutral({"extraction": {"metrics": "loss"}, "seed": 0}) == {"seed": 0}
    assert ids.without_neutral({"empty": {}}) == {"empty": {}}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("accuracy,top1", r"config\.metrics='top1': expected FILE\.py:OBJECT or one of accuracy"),
        ("nowhere.py:brier", r"config\.metrics='nowhere\.py:brier': no such Python file"),
    ],
)
def test_an_unknown_metric_is_refused_before_training(dots, names, message):
    config = digits.get_config()
    config.metrics = names
    with pytest.raises(ValueError, match=f"^{message}"):
        plan(config, dots)


def test_a_renamed_field_keeps_ids_and_is_read_from_earlier_records():
    config = digits.get_config()
    assert config.train.b2 == 0.0
    hashed = ids.without_neutral(config.to_dict())
    assert hashed["train"]["second_moment"] == 0.0
    assert hashed["model"]["middle"] == "depthwise"
    recorded = {"train": {"accumulation": 2}, "pretraining": {"train": {"precision": "bfloat16"}}}
    assert ids.with_current_names(recorded) == {
        "train": {"grad_accum_steps": 2},
        "pretraining": {"train": {"compute_dtype": "bfloat16"}},
    }
