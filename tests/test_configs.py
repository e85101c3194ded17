"""Every experiment in configs/ can be planned, and its head says what a reader needs."""

import importlib
import inspect
import io
from pathlib import Path

import pytest

from configs import questions
from configs.questions import QUESTIONS
from experiments import dry_run
from mnv2_jax import arch
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
ARGUMENTS = {
    "digits": [*QUESTIONS],
    # Asked without smoke, questions have the expansions and widths of digits.
    "cifar10": ["smoke", "shortcut", *(f"smoke,{question}" for question in QUESTIONS)],
    "imagenet": ["slim", "torchvision_v2", *QUESTIONS, "slim,shortcut"],
    "folder": ["photos/", "photos/,factorial"],
    "block": ["fused", "fused,my photos, 2024/"],
    "transfer": ["digits", "cifar10", "folder,my photos, 2024/"],
}
"""Arguments after the colon, by config."""


@pytest.fixture(params=CONFIGS)
def module(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def fewer_networks():
    """Trace one network for each setting of its blocks, and search for equal cost on digits only.

    Presets, widths and expansions have tests of their own.
    """
    network_cost, width_of_equal_madds = cohort.network_cost, questions.width_of_equal_madds
    costs = {}

    def first_cost(spec):
        block = spec.blocks[-1]
        setting = tuple(getattr(block, knob) for knob in arch.KNOBS if knob != "expansion")
        if setting not in costs:
            costs[setting] = network_cost(spec)
        return costs[setting]

    def width_on_digits(preset, *args, **knobs):
        return width_of_equal_madds(preset, *args, **knobs) if preset == "digits" else 0.5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort, "network_cost", first_cost)
        patch.setattr(questions, "width_of_equal_madds", width_on_digits)
        yield


def arguments(module):
    """The arguments to try: none if a config can do without, and those above."""
    name = module.__name__.rpartition(".")[2]
    (parameter,) = inspect.signature(module.get_config).parameters.values() or (None,)
    required = parameter and parameter.default is inspect.Parameter.empty
    return [*([] if required else [()]), *((argument,) for argument in ARGUMENTS.get(name, []))]


def test_there_are_configs():
    assert "digits" in CONFIGS


def without_images(selection):
    """A data set that can be planned with, but not read."""
    shape = (selection.resolution, selection.resolution, 1 if selection.name == "digits" else 3)
    count = {"digits": 1047, "imagenet2012": 1_268_355}.get(selection.name, 45_000)
    images = Images(range(count), shape)  # type: ignore[arg-type]
    classes = 1000 if selection.name == "imagenet2012" else 5 if selection.classes else 10
    names = tuple(map(str, range(classes)))
    few = selection.images_per_class
    return sources.Dataset(selection.name, names, images, images, images, images_per_class=few)


def runs_of(module, argument, seeds=None):
    """The runs of the grid, or of the phases of a transfer; with some seeds only, if given."""
    points = module.get_grid(*argument)
    points = points if seeds is None else grid.with_seeds(points, seeds)
    configs = grid.expand(module.get_config(*argument), points)
    if "transfer" not in configs[0]:
        return configs
    if "pretraining" in configs[0]:
        return phases.runs(configs)
    for config in configs:  # Those of weights from Keras.
        config.data.scaling, config.model.conventions = "symmetric", "keras"
    return phases.runs(configs, "file-0123456789ab")


def test_every_config_plans_with_every_question_and_its_claims_are_decidable(
    module, fewer_networks
):
    for argument in arguments(module):
        assert all("seed" in point for point in module.get_grid(*argument).points)
        configs = runs_of(module, argument, seeds=[0])  # Seeds repeat what one of them shows.
        cohorts = cohort.plan(configs, without_images)
        runs = [run for part in cohorts for run in part.runs]
        assert len(runs) == len(configs)
        claims = module.get_claims(*argument)
        assert claims
        check(claims, records.columns(runs))
        assert undecidable(claims, records.planned(cohorts)) == []
        out = io.StringIO()
        planned = Planned(module.__name__, tuple(cohorts), tuple(claims), (), None)
        dry_run.show(Console(file=out), planned, cohorts, cohorts, "runs/a")
        assert f"Runs: {len(runs):,}, cohorts: {len(cohorts)}; nothing is trained" in out.getvalue()


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


@pytest.mark.parametrize(
    ("data", "seeds"),
    [("", 8), (",digits", 8), (",cifar10", 6), (",photos/", 6), (",a, b/", 6)],
)
def test_a_block_is_compared_on_any_data(data, seeds):
    block = CONFIGS["block"]
    config = block.get_config(f"fused{data}")
    assert config.model.block == "fused"
    assert config.data.name == (data[1:] or "digits")
    points = block.get_grid(f"fused{data}").points
    assert {point["seed"] for point in points} == set(range(seeds))
    assert {point["model.block"] for point in points} == {"inverted_residual", "fused"}
    with pytest.raises(ValueError, match=r"^config: 'fused,mnist' after the colon: .* photos/$"):
        block.get_config("fused,mnist")
