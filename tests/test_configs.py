"""Every experiment in configs/: it can be planned, and its head says what a reader needs."""

import importlib
from pathlib import Path

import pytest

from mnv2_jax.ablation import cohort, grid, records
from mnv2_jax.analysis.claims import check
from mnv2_jax.data import sources

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.fixture(params=CONFIGS)
def module(request):
    return importlib.import_module(f"configs.{request.param}")


def test_there_are_configs():
    assert "digits" in CONFIGS


def test_every_config_plans_and_its_claims_name_columns(module):
    config = module.get_config()
    configs = grid.expand(config, module.get_grid())
    cohorts = cohort.plan(configs, sources.load(config.data.name))
    runs = [run for part in cohorts for run in part.runs]
    assert len(runs) == len(configs)
    claims = module.get_claims()
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
