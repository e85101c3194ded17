"""Slope, place, weight and initial bias as lanes of one program."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs import digits
from mnv2_jax import arch, presets
from mnv2_jax.ablation import cohort, grid
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.network import Network, initialise, with_projection_bias
from mnv2_jax.train import loop, parallel
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from tests.train.lanes import lane

RECIPE = Recipe(epochs=4, batch_size=64, evaluation_batch_size=64)
PLAIN = ("linear", "relu6")


def build(tiny, **knobs):
    return presets.build(tiny, **{"expansion": 2, **knobs})


def of(tiny, **knobs) -> HParams:
    """Return the hyperparameters of a lane whose network has these knobs."""
    bias = np.float32(knobs.pop("projection_bias", 0.0))
    blocks = Knobs.of_blocks(build(tiny, **knobs).blocks)
    return dataclasses.replace(lane(1), knobs=blocks, projection_bias=bias)


def trained(spec, dots, lanes):
    program = LaneProgram(spec, RECIPE, steps_per_epoch=1)
    results = loop.Trainer(program, dots, parallel.Lanes(len(lanes))).run(lanes)
    return [dataclasses.replace(one, seconds=0.0) for one in results]


@pytest.fixture(scope="module")
def dosed(tiny, dots):
    """Return lanes of several slopes and weights, of a program that takes slopes."""
    lanes = [
        *(of(tiny, projection="relu6", projection_slope=slope) for slope in (0.0, 0.1, 1.0)),
        of(tiny, projection="linear", shortcut="none"),
        of(tiny, projection="linear", shortcut_weight=0.0),
        of(tiny, projection="linear", shortcut_weight=0.5),
    ]
    return trained(build(tiny, projection="leaky_relu"), dots, lanes)


def test_slopes_0_and_1_compute_what_relu6_and_linear_do_bit_for_bit(tiny):
    """Operation by operation: compilers round programs with and without slopes differently."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 8, 8, 1)).astype(np.float32)
    variables = initialise(build(tiny, projection_bias=3.0), 3)  # Both bounds are exceeded.
    scale = {"block_01": 4.0, "block_02": 4.0, "block_03": 4.0}
    for part, factor in scale.items():
        norm = variables["params"][part]["project_norm"]
        norm["scale"] = factor * norm["scale"]

    def gradients(projection, knobs):
        def loss(params):
            network = Network(build(tiny, projection=projection))
            logits, moved = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                knobs=knobs,
                mutable=["batch_stats"],
            )
            return (logits**2).sum(), (logits, moved)

        with jax.disable_jit():
            return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    found = []
    for name, slope in (("relu6", 0.0), ("linear", 1.0)):
        plain = gradients(name, of(tiny, projection=name).knobs)
        knobs = of(tiny, projection="relu6", projection_slope=slope).knobs
        sloped = gradients("leaky_relu", knobs)
        jax.tree.map(np.testing.assert_array_equal, sloped, plain)
        found.append(float(plain[0][0]))
    assert found[0] != found[1]


def test_slopes_0_and_1_train_as_relu6_and_linear(tiny, dots, dosed):
    plain = trained(build(tiny), dots, [lane(1, projection=name) for name in PLAIN])
    slope_0, slope_tenth, slope_1, *_ = dosed
    losses = {}
    for name, one in (("0", slope_0), ("1", slope_1), ("linear", plain[0]), ("relu6", plain[1])):
        losses[name] = [epoch["running_loss"] for epoch in one.curve]
    np.testing.assert_allclose(losses["0"], losses["relu6"], rtol=1e-5)
    np.testing.assert_allclose(losses["1"], losses["linear"], rtol=1e-5)
    assert slope_tenth.curve not in (slope_0.curve, slope_1.curve)


def test_weight_0_is_no_shortcut(dosed):
    none, weight_0, half = dosed[3:]
    assert none.curve == weight_0.curve
    assert half.curve not in (none.curve, dosed[2].curve)


def test_each_block_has_its_own_knobs(tiny, dots):
    """Every subset of blocks is a lane; its results are those of its own network."""
    texts = ("none", "1", "all but 1", "all")
    lanes = [of(tiny, projection="relu6", projection_blocks=text) for text in texts]
    together = trained(build(tiny), dots, lanes)
    assert len({str(one.curve) for one in together}) == len(texts)
    by_name = [lane(1, projection=name) for name in PLAIN]
    for one, plain in zip((together[0], together[-1]), by_name, strict=True):
        (alone,) = trained(build(tiny), dots, [plain])
        np.testing.assert_allclose(
            [epoch["running_loss"] for epoch in one.curve],
            [epoch["running_loss"] for epoch in alone.curve],
            rtol=1e-4,
        )
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    for text, values in zip(texts, lanes, strict=True):
        spec = build(tiny, projection="relu6", projection_blocks=text)
        variables = initialise(spec, 3)
        by_knobs = Network(build(tiny)).apply(variables, images, knobs=values.knobs)
        by_spec = Network(spec).apply(variables, images)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), by_spec, by_knobs)


@pytest.mark.parametrize(
    "block", ["inverted_residual", "bottleneck", "sandglass", "fused", "separable", "standard"]
)
def test_a_lane_begins_with_the_bias_that_flax_draws(tiny, block):
    spec = build(tiny, block=block, projection_bias=3.0)
    drawn = initialise(spec, 5)
    none = build(tiny, block=block)
    added = with_projection_bias(initialise(none, 5), none, 3.0)
    jax.tree.map(np.testing.assert_array_equal, added, drawn)
    count = sum(int((leaf == 3).all()) for leaf in jax.tree.leaves(drawn["params"]))
    assert count == (0 if block in ("separable", "standard") else len(spec.blocks))
    flax = Network(spec).init(jax.random.key(5), np.zeros((1, 8, 8, 1), np.float32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), flax, drawn)


def test_lanes_may_begin_with_biases_of_their_own(tiny):
    program = LaneProgram(build(tiny), RECIPE, steps_per_epoch=1)
    values = [of(tiny, projection_bias=bias) for bias in (0.0, 3.0)]
    trainer_states = [
        program.initialise(int(one.seed), float(one.projection_bias)) for one in values
    ]
    plain, biased = (state.variables.tree["params"] for state in trainer_states)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), plain, biased)
    for part in ("block_01", "block_02", "block_03"):
        assert moved[part].pop("project_norm") == {"scale": 0.0, "bias": 3.0}
    assert set(jax.tree.leaves(moved)) == {0.0}


def test_a_bias_of_3_keeps_most_of_a_normal_input_inside():
    """Between 0 and 6 lie 99.7 % of a normal distribution around 3, and half of one around 0."""
    assert arch.BlockSpec(projection="relu6", projection_bias=3.0).clip == arch.CLIPS["relu6"]
    x = np.random.default_rng(0).normal(size=100_000)
    assert np.mean((x + 3 > 0) & (x + 3 < 6)) == pytest.approx(0.9973, abs=1e-3)


def test_slopes_and_shortcuts_are_lanes_of_one_program_that_is_compiled_once(tiny, dots):
    config = digits.get_config("dose")
    config.model.preset = tiny
    configs = grid.expand(config, grid.with_seeds(digits.get_grid("dose"), [0]))
    cohorts = cohort.plan(configs, lambda _: dots)
    assert [part.runs[0].config.model.expansion for part in cohorts] == [2, 6]
    assert [len(part.runs) for part in cohorts] == [16, 16]
    first = [run.values for run in cohorts[0].runs]
    assert len({str(one.knobs) for one in first}) == 16
    program = dataclasses.replace(cohorts[0].program, recipe=RECIPE, steps_per_epoch=1)
    trainer = loop.Trainer(program, dots, parallel.Lanes(16))
    trainer.run(first[:1] * 16)  # The host's own programs are compiled now.
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        results = trainer.run(first)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    # In so few steps nothing exceeds 6: ReLU is ReLU6, with shortcuts and without.
    assert len({str(one.curve) for one in results}) == 14
    assert compiled == []
