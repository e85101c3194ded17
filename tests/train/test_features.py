"""Features that are computed once: the same training as through the frozen base."""

import dataclasses

import jax
import numpy as np
import pytest

from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.train import features, loop, modes, parallel
from mnv2_jax.train.features import Features
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start, Tuning
from tests.train.lanes import lane

RECIPE = Recipe(epochs=5, batch_size=10, evaluation_batch_size=16)

# The first two have the same base, the third computes something else with it.
LANES = tuple(
    lane(seed, projection=projection, learning_rate=0.5)
    for seed, projection in ((0, "linear"), (1, "linear"), (0, "relu6"), (2, "linear"))
)
BASES = (5, 5, 5, 6)


@pytest.fixture(scope="module")
def program(spec):
    conventions = dataclasses.replace(spec.conventions, dropout=0.25)
    spec = dataclasses.replace(spec, conventions=conventions)
    return LaneProgram(spec, RECIPE, 2, tuning=Tuning())


@pytest.fixture(scope="module")
def starts(program):
    untuned = dataclasses.replace(program, tuning=None)
    drawn = {seed: untuned.initialise(seed).variables.tree for seed in set(BASES)}
    for variables in drawn.values():
        del variables["params"]["classifier"]
    return [Start(drawn[seed]) for seed in BASES]


@pytest.mark.parametrize(
    ("images_per_class", "layout"), [(2, parallel.Lanes(4)), (0, parallel.Batch(4))]
)
def test_the_classifier_is_trained_as_through_the_frozen_base(
    program, dots, starts, images_per_class, layout, monkeypatch
):
    data = dataclasses.replace(dots, images_per_class=images_per_class)
    steps = data.training_images // RECIPE.batch_size
    program = dataclasses.replace(program, steps_per_epoch=steps)
    cached = loop.Trainer(program, data, layout, Features)
    results = cached.run(LANES, starts=starts)
    through = loop.Trainer(program, data, layout, Resident).run(LANES, starts=starts)
    for one, other in zip(results, through, strict=True):
        for epoch, same in zip(one.curve, other.curve, strict=True):
            assert epoch == pytest.approx(same, abs=1e-5)
        assert one.measures == pytest.approx(other.measures, abs=1e-5)
        for name in ("kernel", "bias"):
            a, b = (result.variables["params"]["classifier"][name] for result in (one, other))
            np.testing.assert_allclose(a, b, atol=1e-5)
    # It is training: losses differ between lanes, and from those before.
    losses = [result.curve[-1]["running_loss"] for result in results]
    assert len(set(losses)) == 4
    for loss, result, start in zip(losses, results, starts, strict=True):
        assert loss != pytest.approx(result.curve[0]["running_loss"], abs=1e-3)
        del result.variables["params"]["classifier"]
        for name in ("params", "batch_stats"):
            jax.tree.map(
                np.testing.assert_array_equal, result.variables[name], start.variables[name]
            )
    if images_per_class:
        assert_computed_once(cached, starts, monkeypatch)


def assert_computed_once(trainer, starts, monkeypatch):
    """Lanes of one base divide its images among them."""
    batches = []
    compute = Features._compute

    def counting(self, images):
        batches.append(images.shape[:2])
        return compute(self, images)

    monkeypatch.setattr(Features, "_compute", counting)
    trainer.run([LANES[0]] * 4, starts=[starts[0]] * 4)
    # 20, 30 and 50 images are divided among four lanes, 5, 8 and 13 each: a batch of 16.
    assert batches == [(4, 16)] * 3
    batches.clear()
    trainer.run(LANES, starts=starts)
    # The last lane has its own base, and computes all of its images.
    assert batches == [(4, 16)] * (2 + 2 + 4)


@pytest.mark.parametrize(
    ("changes", "constant"),
    [
        ({}, True),
        ({"tuning": Tuning("classifier", "trained")}, True),
        ({"tuning": Tuning("classifier", "all")}, False),
        ({"tuning": Tuning("head")}, False),
        ({"tuning": None}, False),
        ({"augmentation": Augmentation(shift=1)}, False),
    ],
)
def test_features_are_chosen_where_they_are_constant(program, dots, changes, constant):
    other = dataclasses.replace(program, **changes)
    assert features.are_constant(other) == constant
    pipeline, reason = modes.choose_input_mode("auto", other, dots)
    assert pipeline is (Features if constant else Resident)
    assert reason.startswith("features: " if constant else "resident: ")
    assert modes.choose_input_mode("resident", other, dots)[0] is Resident
    if constant:
        assert modes.choose_input_mode("features", other, dots)[0] is Features
    else:
        with pytest.raises(ValueError, match=r"config\.data\.mode='features': expected 'auto', "):
            modes.choose_input_mode("features", other, dots)
