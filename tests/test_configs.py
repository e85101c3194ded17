"""Every experiment in configs/: it can be planned, and its head says what a reader needs."""

import importlib
import inspect
from pathlib import Path

import pytest

from mnv2_jax.ablation import cohort, grid, records
from mnv2_jax.analysis.verdicts import check
from mnv2_jax.data import sources
from mnv2_jax.data.images import Images

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.fixture(params=CONFIGS)
def module(request):
    return importlib.import_module(f"configs.{request.param}")


def test_there_are_configs():
    assert "digits" in CONFIGS


def as_if_prepared(selection):
    """What a data set looks like from outside, without its images."""
    shape = (selection.resolution, selection.resolution, 1 if selection.name == "digits" else 3)
    count = {"digits": 1047, "imagenet2012": 1_268_355}.get(selection.name, 45_000)
    images = Images(range(count), shape)  # type: ignore[arg-type]
    classes = 1000 if selection.name == "imagenet2012" else 10
    names = tuple(map(str, range(classes)))
    return sources.Dataset(selection.name, names, images, images, images)


def test_every_config_plans_and_its_claims_name_columns(module):
    # What follows the colon, of a config that cannot do without.
    parameters = inspect.signature(module.get_config).parameters.values()
    argument = ["photos" for one in parameters if one.default is inspect.Parameter.empty]
    config = module.get_config(*argument)
    configs = grid.expand(config, module.get_grid(*argument))
    cohorts = cohort.plan(configs, as_if_prepared)
    runs = [run for part in cohorts for run in part.runs]
    assert len(runs) == len(configs)
    claims = module.get_claims(*argument)
    assert claims
    check(claims, records.columns(runs))


def test_every_head_says_command_cost_and_expectation(module):
    head = module.__doc__
    command = (
        f"Command:  python -m experiments.ablate --config=configs/{Path(module.__file__).name}"
    )
    assert command in head
    for field in ("Hardware:", "Time:", "Expect:"):
        assert f"\n{field}" in head
