"""Training steps: metrics, averages, accumulation, precision, recipes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnv2_jax.data import augment, rng, stream
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import Epoch
from mnv2_jax.train.step import LaneProgram
from tests.train.lanes import lane

ONE = lane(blocks=1)
ZEROS = np.zeros(3, np.float32)


@pytest.fixture(scope="module")
def run(one_block, dots):
    """Runs steps `start` to `stop` of four an epoch, from the initial state or another."""
    compiled = {}
    images, _ = stream.read(dots.train, print)

    def steps(start, stop, state=None, **recipe):
        key = str(recipe)
        if key not in compiled:
            program = LaneProgram(one_block, Recipe(6, 16, 16, **recipe), 4)
            compiled[key] = program, jax.jit(program.train)
        program, train = compiled[key]
        state = program.initialise(0) if state is None else state
        first = start - start % 4
        order = rng.epoch_order(0, start // 4, 64)
        bounds = np.int32(first), np.int32(start), np.int32(stop)
        return jax.device_get(train(state, ONE, order, images.images, images.labels, *bounds))

    return steps


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_where_a_call_pauses_makes_no_difference(run):
    whole = run(0, 4)
    paused = run(3, 4, run(1, 3, run(0, 1)))
    jax.tree.map(np.testing.assert_array_equal, paused, whole)
    assert 0 < whole.epoch.accuracy < 1


def test_metrics_are_means_over_the_epoch_so_far(run, one_block, dots):
    state = run(0, 0)
    program = LaneProgram(one_block, Recipe(6, 16, 16), 4)
    order = rng.epoch_order(0, 0, 64)
    train, _ = stream.read(dots.train, print)

    @jax.jit
    def loss(state, chosen):
        images = augment.scale(jnp.asarray(train.images)[chosen], "symmetric")
        logits, _ = program.network.apply(
            state.variables.tree, images, train=True, mutable=["batch_stats"]
        )
        targets = jax.nn.one_hot(jnp.asarray(train.labels)[chosen], 10)
        return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, 0.1)).mean()

    losses = []
    for step in range(4):
        losses.append(float(loss(state, order[16 * step : 16 * step + 16])))
        state = run(step, step + 1, state)
        assert float(state.epoch.loss) == pytest.approx(np.mean(losses), rel=1e-4)
    fifth = run(4, 5, state)
    assert float(fifth.epoch.loss) == float(
        run(4, 5, state._replace(epoch=Epoch(*ZEROS))).epoch.loss
    )


def test_the_learning_rate_is_the_last_steps(run):
    # Half a cosine over 24 steps.
    for stop in (1, 4):
        expected = 0.025 * (1 + np.cos(np.pi * (stop - 1) / 24))
        assert float(run(0, stop).epoch.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_a_number_ends_with_its_epoch(run):
    ill = run(0, 1)
    ill = ill._replace(epoch=ill.epoch._replace(loss=np.float32(np.nan)))
    assert np.isnan(run(1, 2, ill).epoch.loss)
    assert np.isfinite(run(4, 5, ill).epoch.loss)


def test_averages_of_parameters_and_running_moments(run):
    keep = 0.9
    state = run(0, 0, ema=keep)
    averages = (state.params.vector, state.batch_stats.vector)
    for step in range(4):
        state = run(step, step + 1, state, ema=keep)
        new = (state.params.vector, state.batch_stats.vector)
        # Less in the first steps, as in tf.train.ExponentialMovingAverage with num_updates.
        share = min(keep, (1 + step) / (10 + step))
        averages = tuple(
            share * old + (1 - share) * now for old, now in zip(averages, new, strict=True)
        )
    for found, expected in zip(state.ema, averages, strict=True):
        np.testing.assert_allclose(found.vector, expected, rtol=1e-4, atol=1e-6)
    # They are evaluated, and training does not see them.
    np.testing.assert_allclose(state.params.vector, run(0, 4).params.vector, rtol=1e-5, atol=1e-6)
    of_average = state.evaluated.tree["params"]["classifier"]["bias"]
    of_training = state.variables.tree["params"]["classifier"]["bias"]
    assert not np.array_equal(of_average, of_training)


def test_accumulation_averages_the_gradients_of_parts(one_block):
    # Of two equal halves, each has the moments, and the gradient, of the whole.
    images = np.tile(np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("f"), (2, 1, 1, 1))
    labels = np.tile(np.arange(8, dtype=np.int32), 2)
    found = []
    for count in (1, 2):
        program = LaneProgram(one_block, Recipe(1, 16, 16, grad_accum_steps=count), 1)
        gradient = jax.jit(program._accumulated)
        batch = images, labels, jax.nn.one_hot(labels, 10)
        found.append(gradient(program.initialise(0), ONE, batch, jax.random.key(0)))
    (whole, moments, measured), (parts, other_moments, other_measured) = found
    assert distance(parts, whole) < 1e-5
    np.testing.assert_allclose(other_measured, measured, rtol=1e-5)
    # The running moments moved once for each part.
    assert distance(other_moments.vector, moments.vector) > 1e-2


def test_bfloat16_is_near_and_keeps_parameters_moments_and_loss_in_float32(run):
    full, half = run(0, 4), run(0, 4, compute_dtype="bfloat16")
    assert [leaf.dtype for leaf in jax.tree.leaves(half)] == [
        leaf.dtype for leaf in jax.tree.leaves(full)
    ]
    kept = (half.params.vector, half.batch_stats.vector, half.epoch.loss)
    assert {leaf.dtype for leaf in kept} == {np.dtype(np.float32)}
    assert 1e-5 < distance(half.params.vector, full.params.vector) < 0.05
    assert float(half.epoch.loss) == pytest.approx(float(full.epoch.loss), rel=0.05)


@pytest.mark.parametrize(
    "recipe",
    [
        {
            **{"optimizer": "rmsprop", "nesterov": False, "b2": 0.9, "epsilon": 1.0},
            **{"schedule": "exponential", "decay_rate": 0.98, "decay_epochs": 2.5},
            "grad_accum_steps": 4,
        },
        {
            **{"optimizer": "adamw", "nesterov": False, "b2": 0.999, "epsilon": 1e-8},
            **{"clip": 1.0, "warmup_epochs": 1.0, "weight_decay_mask": "not_norm"},
        },
    ],
)
def test_recipes_train(run, recipe):
    first = last = run(0, 4, **recipe)
    for epoch in range(1, 6):
        last = run(4 * epoch, 4 * epoch + 4, last, **recipe)
    assert last.epoch.loss < first.epoch.loss
    assert np.isfinite(last.params.vector).all()
