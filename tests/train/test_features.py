"""Features that are computed once: the same training as through the frozen base."""

import dataclasses

import jax
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import features, loop, modes, parallel
from mnv2_jax.train.features import Features
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start, Tuning

RECIPE = Recipe(epochs=5, batch_size=10, evaluation_batch_size=16)


def lane(seed, projection="linear"):
    rates = [np.float32(rate) for rate in (0.5, 1e-3, 0.1)]
    knobs = Knobs.from_names(projection, "bottleneck")
    return HParams(np.uint32(seed), np.uint32(seed), knobs, *rates)


# The first two have a base in common, the third computes something else with it.
LANES = (lane(0), lane(1), lane(0, "relu6"), lane(2))
BASES = (5, 5, 5, 6)


@pytest.fixture(scope="module")
def program(tiny):
    spec = presets.build(tiny, expansion=2)
    ways = dataclasses.replace(spec.conventions, dropout=0.25)
    spec = dataclasses.replace(spec, conventions=ways)
    return LaneProgram(spec, RECIPE, 2, tuning=Tuning())


@pytest.fixture(scope="module")
def starts(program):
    whole = dataclasses.replace(program, tuning=None)
    drawn = {seed: whole.initialise(seed).variables.tree for seed in set(BASES)}
    for variables in drawn.values():
        del variables["params"]["classifier"]
    return [Start(drawn[seed]) for seed in BASES]


@pytest.fixture(params=["few", "all"])
def data(request, dots):
    if request.param == "all":
        return dataclasses.replace(dots, images_per_class=0)
    return dataclasses.replace(dots, images_per_class=2)


def trained(program, data, starts, layout, feed):
    steps = data.training_images // RECIPE.batch_size
    trainer = loop.Trainer(dataclasses.replace(program, steps_per_epoch=steps), data, layout, feed)
    return trainer.run(LANES, starts=starts)


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        for epoch, same in zip(one.curve, other.curve, strict=True):
            assert epoch == pytest.approx(same, abs=1e-5)
        assert one.measures == pytest.approx(other.measures, abs=1e-5)
        for name in ("kernel", "bias"):
            a, b = (result.variables["params"]["classifier"][name] for result in (one, other))
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_classifier_is_trained_as_through_the_frozen_base(program, data, starts):
    through = trained(program, data, starts, parallel.Lanes(4), Resident)
    cached = trained(program, data, starts, parallel.Lanes(4), Features)
    assert_close(cached, through)
    losses = [result.curve[-1]["train_loss"] for result in cached]
    assert len(set(losses)) == 4
    for loss, result in zip(losses, cached, strict=True):
        assert loss != pytest.approx(result.curve[0]["train_loss"], abs=1e-3)
    for result, start in zip(cached, starts, strict=True):
        del result.variables["params"]["classifier"]
        for name in ("params", "batch_stats"):
            jax.tree.map(
                np.testing.assert_array_equal, result.variables[name], start.variables[name]
            )


def test_devices_that_share_batches_hold_all_features(program, dots, starts):
    few = dataclasses.replace(dots, images_per_class=2)
    through = trained(program, few, starts, parallel.Batch(4), Resident)
    assert_close(trained(program, few, starts, parallel.Batch(4), Features), through)


def test_features_are_computed_once_for_lanes_of_one_base(program, dots, starts, monkeypatch):
    of_lanes = []
    begin = Features.__init__

    def counting(self, program, dataset, layout, seeds, bases, compute, tell):
        def counted(images):
            of_lanes.append(images.shape[:2])
            return compute(images)

        begin(self, program, dataset, layout, seeds, bases, counted, tell)

    monkeypatch.setattr(Features, "__init__", counting)
    trainer = loop.Trainer(program, dots, parallel.Lanes(4), Features)
    alike = [lane(seed) for seed in range(4)]
    trainer.run(alike, starts=[starts[0]] * 4)
    # 64, 30 and 50 images are shared out to four lanes, 16, 8 and 13 each: a batch of 16.
    assert of_lanes == [(4, 16)] * 3
    of_lanes.clear()
    trainer.run(LANES, starts=starts)
    # One lane has a base of its own, and computes all of its images.
    assert of_lanes == [(4, 16)] * (4 + 2 + 4)


@pytest.mark.parametrize(
    ("changes", "suffices"),
    [
        ({}, True),
        ({"tuning": Tuning("classifier", "trained")}, True),
        ({"tuning": Tuning("classifier", "all")}, False),
        ({"tuning": Tuning("head")}, False),
        ({"tuning": None}, False),
        ({"augmentation": Augmentation(shift=1)}, False),
    ],
)
def test_features_are_chosen_where_they_stay_the_same(program, dots, changes, suffices):
    other = dataclasses.replace(program, **changes)
    assert features.suffices(other) == suffices
    feed, told = modes.choose_input_mode("auto", other, dots)
    assert feed is (Features if suffices else Resident)
    assert told.startswith("features: " if suffices else "resident: ")
    assert modes.choose_input_mode("resident", other, dots)[0] is Resident
    if suffices:
        assert modes.choose_input_mode("features", other, dots)[0] is Features
    else:
        with pytest.raises(ValueError, match=r"config\.data\.mode='features': expected 'auto', "):
            modes.choose_input_mode("features", other, dots)
