import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.data import pipeline, rng, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import loop, parallel
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram

RECIPE = Recipe(epochs=10, batch_size=64, evaluation_batch_size=40)
SHIFT = Augmentation(shift=1)


def lane(seed=0, projection="linear", shortcut="bottleneck", learning_rate=0.1, smoothing=0.0):
    return HParams(
        np.uint32(seed),
        np.uint32(seed),
        Knobs.from_names(projection, shortcut),
        np.float32(learning_rate),
        np.float32(1e-4),
        np.float32(smoothing),
    )


FIVE = (
    lane(0),
    lane(0, projection="relu6"),
    lane(1, shortcut="none"),
    lane(0, learning_rate=1e30),
    lane(3, smoothing=0.1),
)


@pytest.fixture(scope="module")
def program(tiny):
    # The data set has one batch: an epoch is a step, and an epoch's loss is that step's.
    return LaneProgram(
        presets.build(tiny, expansion=2), RECIPE, steps_per_epoch=1, augmentation=SHIFT
    )


def train(program, dots, values):
    return loop.Trainer(program, dots, parallel.Lanes(len(values))).run(values)


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
    """Two of the five trained alone; and what was compiled before that, and in all."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details.get("fun_name")))

    # What small host-side steps compile once, `together` has compiled.
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        trainer = loop.Trainer(program, dots, parallel.Lanes(1))
        before = list(compiled)
        runs = [trainer.run([of_lane])[0] for of_lane in FIVE[:2]]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return runs, before, compiled


@pytest.mark.parametrize("number", [0, 1])
def test_company_does_not_matter(alone, together, number):
    runs, _, _ = alone
    pair = (runs[number], together[number])
    losses = [[epoch["train_loss"] for epoch in run.curve] for run in pair]
    assert len(losses[0]) == 10
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_one_compilation_per_phase_and_none_while_training(alone):
    _, before, compiled = alone
    assert len(before) == 2
    assert compiled == before


def test_a_diverged_lane_is_told_and_disturbs_no_other(trainer, together):
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
        assert again[number].curve[-1]["train_loss"] < again[number].curve[0]["train_loss"]


def test_evaluation_is_exact_whatever_the_batch(program, dots, trainer):
    lay = trainer.layout
    of_lanes = [
        lay.shard_lanes(parallel.stack(lanes)) for lanes in ([program.initialise(0)] * 5, FIVE)
    ]
    batches = [
        *trainer.feed(FIVE, of_lanes, 0, print).evaluation("test"),
    ]
    assert len(batches) == 2
    evaluated = of_lanes[0].evaluated, of_lanes[1]
    first, *_ = trainer.evaluator.measure(*evaluated, batches, 5)
    loss, accuracy = first["loss"], first["accuracy"]
    variables = jax.tree.map(jnp.asarray, program.initialise(0).variables.tree)
    test, _ = stream.read(dots.test, print)
    logits = program.network.apply(variables, test.images / 127.5 - 1.0)
    log_probabilities = jax.nn.log_softmax(logits)[np.arange(50), test.labels]
    np.testing.assert_allclose(loss, -log_probabilities.mean(), rtol=1e-5)
    assert accuracy == pytest.approx(float(np.mean(logits.argmax(-1) == test.labels)))


def test_dropout_follows_the_seed(tiny, dots):
    spec = presets.build(tiny, expansion=2)

    def loss_of(rate):
        ways = dataclasses.replace(spec.conventions, dropout=rate)
        program = LaneProgram(dataclasses.replace(spec, conventions=ways), RECIPE, 1)
        quickly = jax.jit(program.train)
        # Images in an order of the seed's make a difference too, but one of rounding.
        train, _ = stream.read(dots.train, print)
        bounds = np.int32(0), np.int32(0), np.int32(1)

        def loss(seed):
            order = rng.epoch_order(seed, 0, 64)
            data = (order, train.images, train.labels, *bounds)
            return float(quickly(program.initialise(0), lane(seed), *data).epoch.loss)

        return loss

    without, dropped = loss_of(0.0), loss_of(0.5)
    assert without(0) == pytest.approx(without(1), rel=1e-5)
    assert dropped(0) == dropped(0)
    assert dropped(0) != pytest.approx(dropped(1), rel=1e-5)
    assert dropped(0) != pytest.approx(without(0), rel=1e-5)


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
    # By the parameter's path: what keeps its shape keeps its weights.
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


def test_lanes_of_equal_seed_see_the_same_batches(program, dots, monkeypatch):
    seen = []
    draw = pipeline.train_batch

    def spying(key, **arguments):
        batch = draw(key, **arguments)
        jax.debug.callback(
            lambda *values: seen.append([np.asarray(value).tobytes() for value in values]),
            jax.random.key_data(key),
            *batch[:2],
        )
        return batch

    monkeypatch.setattr(pipeline, "train_batch", spying)
    recipe = dataclasses.replace(RECIPE, epochs=1)
    one_epoch = dataclasses.replace(program, recipe=recipe)
    train(one_epoch, dots, FIVE[:3])
    jax.effects_barrier()
    by_key: dict[bytes, set[tuple[bytes, bytes]]] = {}
    for key, images, labels in seen:
        by_key.setdefault(key, set()).add((images, labels))
    # Linear and ReLU6 lanes share seed 0; four places hold three lanes.
    assert len(seen) == 4
    assert len(by_key) == 2
    assert all(len(batches) == 1 for batches in by_key.values())
