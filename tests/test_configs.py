"""Every experiment in configs/: it can be planned, and its head says what a reader needs."""

import importlib
import inspect
import io
from pathlib import Path

import pytest

from configs.questions import QUESTIONS
from experiments import dry_run
from mnv2_jax.ablation import cohort, grid, phases, records
from mnv2_jax.analysis.verdicts import check, undecidable
from mnv2_jax.api.planning import Planned
from mnv2_jax.data import sources
from mnv2_jax.data.images import Images
from mnv2_jax.terminal import Console

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    path.stem: importlib.import_module(f"configs.{path.stem}")
    for path in sorted((ROOT / "configs").glob("*.py"))
}
CONFIGS = {name: module for name, module in MODULES.items() if hasattr(module, "get_config")}
ASKED = {
    "digits": [*QUESTIONS],
    "cifar10": ["smoke", *QUESTIONS, "smoke,shortcut"],
    "imagenet": ["slim", "torchvision_v2", *QUESTIONS, "slim,shortcut"],
    "folder": ["photos/", "photos/,shortcut"],
    "block": ["fused"],
    "transfer": ["digits", "cifar10", "folder,my photos, 2024/"],
}
"""What may follow the colon."""


@pytest.fixture(params=CONFIGS)
def module(request):
    return CONFIGS[request.param]


def arguments(module):
    """Those that a config is tried with: none if it can do without, and what may follow."""
    name = module.__name__.rpartition(".")[2]
    takes = inspect.signature(module.get_config).parameters.values()
    needed = any(one.default is inspect.Parameter.empty for one in takes)
    return [*([] if needed else [()]), *((argument,) for argument in ASKED.get(name, []))]


def test_there_are_configs():
    assert "digits" in CONFIGS


def as_if_prepared(selection):
    """What a data set looks like from outside, without its images."""
    shape = (selection.resolution, selection.resolution, 1 if selection.name == "digits" else 3)
    count = {"digits": 1047, "imagenet2012": 1_268_355}.get(selection.name, 45_000)
    images = Images(range(count), shape)  # type: ignore[arg-type]
    classes = 1000 if selection.name == "imagenet2012" else 5 if selection.classes else 10
    names = tuple(map(str, range(classes)))
    few = selection.images_per_class
    return sources.Dataset(selection.name, names, images, images, images, images_per_class=few)


def runs_of(module, argument):
    """The runs of the grid, or of the phases of a transfer."""
    configs = grid.expand(module.get_config(*argument), module.get_grid(*argument))
    if "transfer" not in configs[0]:
        return configs
    if "pretraining" in configs[0]:
        return phases.runs(configs)
    for config in configs:  # As weights of Keras's are.
        config.data.scaling, config.model.conventions = "symmetric", "keras"
    return phases.runs(configs, "file-0123456789ab")


@pytest.mark.slow
def test_every_config_plans_with_every_question_and_claims_name_columns(module):
    for argument in arguments(module):
        configs = runs_of(module, argument)
        cohorts = cohort.plan(configs, as_if_prepared)
        runs = [run for part in cohorts for run in part.runs]
        assert len(runs) == len(configs)
        claims = module.get_claims(*argument)
        assert claims
        check(claims, records.columns(runs))
        planned = records.planned(cohorts)
        assert undecidable(claims, planned) == []  # What they speak of is in the grid.
        told = io.StringIO()
        remarks = tuple(undecidable(claims, planned))
        whole = Planned(module.__name__, tuple(cohorts), tuple(claims), remarks, None)
        dry_run.show(Console(file=told), whole, cohorts)
        assert (
            f"Runs: {len(runs):,}, cohorts: {len(cohorts)}; nothing is trained" in told.getvalue()
        )


def test_every_head_says_command_cost_and_expectation(module):
    head = module.__doc__
    name = Path(module.__file__).name
    experiment = "finetune" if name.startswith("transfer") else "ablate"
    assert f"Command:  python -m experiments.{experiment} --config=configs/{name}" in head
    for field in ("Hardware:", "Time:", "Expect:"):
        assert f"\n{field}" in head


@pytest.mark.parametrize(
    ("argument", "count"),
    [("digits,clip", 6 + 6 + 24), ("folder,photos/", 3 + 45), ("folder,photos/,adamw", 3 + 9)],
)
def test_trials_of_fine_tuning_start_from_the_same_networks(argument, count):
    assert len(runs_of(CONFIGS["transfer_recipe"], (argument,))) == count
