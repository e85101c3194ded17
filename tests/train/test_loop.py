"""Lanes train together as they do alone; initial weights, dropout and batches follow the seed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.data import rng, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.predictions import LEFT_OUT
from mnv2_jax.train import evaluation, loop, parallel
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import Epoch
from mnv2_jax.train.step import LaneProgram
from tests.train.lanes import lane

RECIPE = Recipe(epochs=10, batch_size=64, evaluation_batch_size=40)
FIVE = (
    lane(0, learning_rate=0.1),
    lane(0, learning_rate=0.1, projection="relu6"),
    lane(1, learning_rate=0.1, shortcut="none"),
    lane(0, learning_rate=1e30),
    lane(3, learning_rate=0.1, label_smoothing=0.0),
)


@pytest.fixture(scope="module")
def program(spec):
    # The data set has one batch: an epoch is a step, and an epoch's loss is that step's.
    return LaneProgram(spec, RECIPE, steps_per_epoch=1, augmentation=Augmentation(shift=1))


@pytest.fixture(scope="module")
def trainer(program, dots):
    return loop.Trainer(program, dots, parallel.Lanes(len(FIVE)))


@pytest.fixture(scope="module")
def together(trainer):
    return trainer.run(FIVE)


def timeless(result):
    return dataclasses.replace(result, seconds=0.0)


@pytest.fixture(scope="module")
def alone(program, dots, together):
    """Two of the five trained alone; and the programs compiled before that, and in all."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details.get("fun_name")))

    # `together` has compiled what the host computes once.
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        trainer = loop.Trainer(program, dots, parallel.Lanes(1))
        before = list(compiled)
        runs = [trainer.run([values])[0] for values in FIVE[:2]]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return runs, before, compiled


def test_training_is_packing_invariant(alone, together):
    for pair in zip(alone[0], together, strict=False):
        losses = [[epoch["running_loss"] for epoch in run.curve] for run in pair]
        assert len(losses[0]) == 10
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_one_compilation_per_phase_and_none_while_training(alone):
    _, before, compiled = alone
    assert len(before) == 2
    assert compiled == before


def test_a_diverged_lane_is_marked_and_disturbs_no_other(trainer, together):
    assert [run.diverged for run in together] == [False, False, False, True, False]
    assert together[3].measures == {}
    assert together[3].curve[0]["epoch"] == 1
    calm = (*FIVE[:3], lane(0, learning_rate=1e-3), FIVE[4])
    without = trainer.run(calm)
    for number in (0, 1, 2, 4):
        assert timeless(together[number]) == timeless(without[number])


def test_training_lowers_the_loss_and_repeats_bit_for_bit(trainer, together):
    again = trainer.run(FIVE)
    for number in (0, 1, 2, 4):
        assert timeless(again[number]) == timeless(together[number])
        assert again[number].curve[-1]["running_loss"] < again[number].curve[0]["running_loss"]


def test_test_images_are_left_unread_if_one_says_so(trainer, together):
    trainer.dataset.decoded.pop("test")
    untested = trainer.run(FIVE, evaluate_test=False)
    assert "test" not in trainer.dataset.decoded
    for found, whole in zip(untested, together, strict=True):
        assert found.predictions is None
        assert {f"test_{name}" for name in ("images", "accuracy", "loss")} == (
            whole.measures.keys() - found.measures.keys()
        ) or whole.diverged
        assert found.measures.items() <= whole.measures.items()


def test_a_curve_has_training_images_in_inference_mode(program, dots, together):
    sample = dots.of_train(dots.sample(0))
    assert len(sample.records) == len(dots.validation) < len(dots.train)
    first = together[0]
    (measured,) = evaluation.evaluate(program, dots, sample, [first.variables], FIVE[:1])
    found = measured.metrics
    end = first.curve[-1]
    assert found == pytest.approx({name: end[f"train_{name}"] for name in found}, abs=1e-5)
    assert end["train_loss"] != pytest.approx(end["running_loss"], rel=1e-4)


def test_evaluation_is_exact_whatever_the_batch(program, dots, trainer):
    states, values = (
        trainer.layout.shard_lanes(parallel.stack(lanes))
        for lanes in ([program.initialise(0)] * 5, FIVE)
    )
    batches = [*trainer.pipeline(FIVE, (states, values), 0, print).evaluation("test")]
    assert len(batches) == 2
    in_training, *_ = trainer.evaluator.measure(states.evaluated, values, batches, 5)
    variables = program.initialise(0).variables.tree
    (alone,) = evaluation.evaluate(program, dots, dots.test, [variables], FIVE[:1])
    test, _ = stream.read(dots.test, print)
    logits = jax.jit(program.network.apply)(variables, test.images / 127.5 - 1.0)
    log_probabilities = jax.nn.log_softmax(logits)[np.arange(50), test.labels]
    loss, accuracy = -log_probabilities.mean(), np.mean(logits.argmax(-1) == test.labels)
    for measured in (in_training.metrics, alone.metrics):
        assert measured["loss"] == pytest.approx(float(loss), rel=1e-5)
        assert measured["accuracy"] == pytest.approx(float(accuracy))
    assert in_training.images == 50
    assert len(in_training.predictions.labels) > 50  # Rows that fill up the last batch.
    each = in_training.predictions.first(50)
    np.testing.assert_array_equal(each.labels, test.labels)
    np.testing.assert_array_equal(each.predicted, logits.argmax(-1))
    np.testing.assert_allclose(each.losses, -log_probabilities, rtol=1e-4, atol=1e-6)
    assert set(in_training.predictions.predicted[50:]) == {LEFT_OUT}


def test_dropout_follows_the_seed(one_block, dots):
    conventions = dataclasses.replace(one_block.conventions, dropout=0.5)
    program = LaneProgram(dataclasses.replace(one_block, conventions=conventions), RECIPE, 1)
    compiled = jax.jit(program.train)
    train, _ = stream.read(dots.train, print)
    bounds = np.int32(0), np.int32(0), np.int32(1)

    def loss(seed):  # Of the same weights and images.
        data = (rng.epoch_order(0, 0, 64), train.images, train.labels, *bounds)
        return float(
            compiled(program.initialise(0), lane(seed, data_seed=0, blocks=1), *data).epoch.loss
        )

    assert loss(0) == loss(0)
    assert loss(0) != pytest.approx(loss(1), rel=1e-5)


def test_variants_of_equal_seed_start_from_the_same_bits(tiny):
    def initial(seed, **knobs):
        program = LaneProgram(presets.build(tiny, **knobs), RECIPE, 1)
        variables = program.initialise(seed).variables.tree
        flat = jax.tree_util.tree_flatten_with_path(variables)[0]
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}

    base = initial(0, expansion=2)
    for knobs in ({"projection": "relu6"}, {"shortcut": "none"}, {"shortcut": "expansion"}):
        other = initial(0, expansion=2, **knobs)
        assert base.keys() == other.keys()
        assert all(np.array_equal(base[path], other[path]) for path in base)
    # Keys follow the parameter's path: one of the same shape has the same weights.
    wider = initial(0, expansion=4)
    for path in ("['params']['stem']['kernel']", "['params']['head']['kernel']"):
        np.testing.assert_array_equal(base[path], wider[path])
    reseeded = initial(1, expansion=2)
    assert not np.array_equal(
        base["['params']['stem']['kernel']"], reseeded["['params']['stem']['kernel']"]
    )


def test_initial_weights_have_the_variance_asked_for():
    program = LaneProgram(presets.build("mobilenet_v2", resolution=32), RECIPE, 1)
    params = program.initialise(0).variables.tree["params"]
    head = np.asarray(params["head"]["kernel"])
    assert head.std() == pytest.approx(np.sqrt(2 / 1280), rel=0.01)
    assert abs(head.mean()) < 1e-3
    depthwise = np.asarray(params["block_17"]["depthwise"]["kernel"])
    assert depthwise.std() == pytest.approx(np.sqrt(2 / 9), rel=0.05)
    assert not np.array_equal(
        params["block_05"]["expand"]["kernel"], params["block_06"]["expand"]["kernel"]
    )


class BatchSums(LaneProgram):
    """Takes sums of a batch for its metrics, and trains nothing."""

    def _train_step(self, state, values, number, batch, dropout):
        images, labels, _ = batch
        weights = jnp.arange(1.0, images.size + 1).reshape(images.shape) / images.size
        order = jnp.arange(1.0, len(labels) + 1)
        sums = jnp.sum(weights * images), jnp.sum(order * labels)
        return state._replace(epoch=Epoch(*sums, state.epoch.learning_rate))


def test_lanes_of_equal_seed_see_the_same_batches(one_block, dots):
    program = BatchSums(one_block, Recipe(2, 64, 40), 1, augmentation=Augmentation(shift=1))
    # Linear and ReLU6 lanes share seed 0.
    lanes = [lane(0, blocks=1), lane(0, projection="relu6", blocks=1), lane(1, blocks=1)]
    linear, relu6, other = loop.Trainer(program, dots, parallel.Lanes(3)).run(lanes)
    for epoch, same, different in zip(linear.curve, relu6.curve, other.curve, strict=True):
        for name in ("running_loss", "running_accuracy"):
            assert epoch[name] == same[name] != different[name]
    assert linear.curve[0]["running_loss"] != linear.curve[1]["running_loss"]
