"""Training parts of a trained network: what changes, what does not, what it costs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnv2_jax.data import augment, rng, stream
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import ravel
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start, Tuning, by_parameter, carried, first_part
from tests.train.lanes import lane

ONE = lane(label_smoothing=0.0)
OF_ONE_BLOCK = lane(label_smoothing=0.0, blocks=1)
RECIPE = Recipe(6, 16, 16)
RMSPROP = {"optimizer": "rmsprop", "nesterov": False, "b2": 0.9, "epsilon": 1.0}
ADAMW = {"optimizer": "adamw", "nesterov": False, "b2": 0.99, "epsilon": 1e-8}


@pytest.fixture(scope="module")
def base(spec):
    """A network whose running moments have moved."""
    drawn = LaneProgram(spec, RECIPE, 4)
    variables = drawn.initialise(7).variables.tree
    generator = np.random.default_rng(0)

    def moved(leaf):
        return np.float32(leaf + generator.uniform(-0.2, 0.2, leaf.shape))

    return {**variables, "batch_stats": jax.tree.map(moved, variables["batch_stats"])}


def begun(program, base):
    return program.begin(program.initialise(0), Start(base))


def steps(program, state, dots, count=4):
    images, _ = stream.read(dots.train, print)
    bounds = np.int32(0), np.int32(0), np.int32(count)
    order = rng.epoch_order(0, 0, 64)
    train = jax.jit(program.train)
    values = lane(label_smoothing=0.0, blocks=len(program.spec.blocks))
    return jax.device_get(train(state, values, order, images.images, images.labels, *bounds))


def flops(function, *arguments):
    analysis: Any = jax.jit(function).lower(*arguments).cost_analysis()
    return analysis["flops"]


def changed(before, after):
    """The names of the modules in which some leaf is another."""
    return {
        name
        for name in before
        if any(
            (old != new).any()
            for old, new in zip(
                jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True
            )
        )
    }


def of(*parts):
    return {name for part in parts for name in (part, f"{part}_norm")}


PARTS = ("stem", "block_01", "block_02", "block_03", "head", "classifier")


def test_parts_are_named_in_their_order(spec):
    assert spec.parts == PARTS
    assert first_part(spec, "block_02") == "block_02"
    assert [first_part(spec, f"last_{count}") for count in (1, 2, 3)] == [
        "block_03",
        "block_02",
        "block_01",
    ]


@pytest.mark.parametrize("wish", ["block_04", "last_0", "last_4", "last_", "features", ""])
def test_an_unknown_part_is_refused_with_those_there_are(spec, wish):
    with pytest.raises(ValueError, match=rf"first='{wish}': no such part; .*stem, block_01,.*last"):
        first_part(spec, wish)
    with pytest.raises(ValueError, match="norm='batch': expected one of inference, trained, all"):
        Tuning("stem", "batch")


@pytest.mark.parametrize(
    ("first", "norm"),
    [
        *(("stem", "inference"), ("block_02", "trained"), ("head", "all")),
        *(("classifier", "inference"), ("classifier", "all")),
    ],
)
def test_named_parts_change_and_nothing_else(spec, base, dots, first, norm):
    program = LaneProgram(spec, RECIPE, 4, tuning=Tuning(first, norm))
    state = begun(program, base)
    before = state.variables.tree
    jax.tree.map(np.testing.assert_array_equal, before["batch_stats"], base["batch_stats"])
    after = steps(program, state, dots).variables.tree
    after_first = PARTS[PARTS.index(first) :]
    assert changed(before["params"], after["params"]) == of(*after_first) & set(base["params"])
    moving = {"inference": (), "trained": after_first, "all": PARTS}[norm]
    moments = set(base["batch_stats"])
    assert changed(before["batch_stats"], after["batch_stats"]) == of(*moving) & moments


def test_a_missing_classifier_is_drawn_afresh(spec, base):
    program = LaneProgram(spec, RECIPE, 4, tuning=Tuning())
    initial = program.initialise(0)
    features = {name: leaf for name, leaf in base["params"].items() if name != "classifier"}
    begun = program.begin(initial, Start({**base, "params": features})).variables.tree
    expected = {**features, "classifier": initial.variables.tree["params"]["classifier"]}
    jax.tree.map(np.testing.assert_array_equal, begun["params"], expected)


def test_gradients_are_those_of_the_whole_network_in_inference_mode(spec, base, dots):
    program = LaneProgram(spec, RECIPE, 4, tuning=Tuning("block_02", "inference"))
    images, _ = stream.read(dots.train, print)
    state = begun(program, base)
    batch = augment.scale(jnp.asarray(images.images[:16]), "symmetric"), images.labels[:16]
    targets = jax.nn.one_hot(batch[1], 10)
    gradient, _, _ = jax.jit(program._gradient)(state, ONE, (*batch, targets), jax.random.key(0))

    def loss(params):
        variables = {"params": params, "batch_stats": base["batch_stats"]}
        logits = program.network.apply(variables, batch[0], knobs=ONE.knobs)
        return optax.softmax_cross_entropy(logits, targets).mean()

    whole = jax.jit(jax.grad(loss))(base["params"])
    expected = {name: tree for name, tree in whole.items() if name in of(*PARTS[2:])}
    np.testing.assert_allclose(gradient, ravel(expected), rtol=1e-4, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


def test_frozen_parts_cost_no_optimizer_memory_and_no_backward_pass(spec, base):
    images = jnp.zeros((16, *spec.input_shape))
    batch = (images, np.zeros(16, np.int32), np.zeros((16, 10), np.float32))
    costs = {}
    for first in PARTS:
        program = LaneProgram(spec, RECIPE, 4, tuning=Tuning(first, "inference"))
        state = begun(program, base)
        costs[first] = flops(program._gradient, state, ONE, batch, jax.random.key(0))
        trained = sum(
            leaf.size
            for name in of(*PARTS[PARTS.index(first) :])
            for leaf in jax.tree.leaves(base["params"].get(name, {}))
        )
        momentum = [leaf for leaf in jax.tree.leaves(state.opt_state) if np.ndim(leaf)]
        assert [leaf.shape for leaf in momentum] == [(trained,)]
    assert sorted(costs.values(), reverse=True) == [costs[first] for first in PARTS]
    forward = flops(lambda variables, x: program.network.apply(variables, x), base, images)
    # A backward pass costs about two forward ones. Of the classifier alone it costs little.
    assert costs["stem"] > 2.3 * forward
    assert costs["classifier"] < 1.15 * forward


def test_one_logit_is_enough_for_two_classes(one_block, dots):
    program = LaneProgram(dataclasses.replace(one_block, classes=1), RECIPE, 4)
    assert program.classes == 2
    state = program.initialise(0)
    images = dots.train
    pixels = np.stack([images[index].image for index in range(16)])
    labels = np.arange(16, dtype=np.int32) % 2
    weights = np.ones(16, np.float32)
    sums, _ = jax.jit(program.evaluate)(state.evaluated, OF_ONE_BLOCK, weights, pixels, labels)
    inputs = augment.scale(jnp.asarray(pixels), "symmetric")
    logits: Any = program.network.apply(state.variables.tree, inputs, knobs=OF_ONE_BLOCK.knobs)
    assert logits.shape == (16, 1)
    expected = optax.sigmoid_binary_cross_entropy(logits[:, 0], labels).sum()
    assert float(sums["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(sums["accuracy"]) == ((np.asarray(logits[:, 0]) > 0) == labels).sum()


def test_adam_counts_the_steps_of_carried_and_of_fresh_parameters():
    adam = optax.scale_by_adam()
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(30, 5)).astype(np.float32)
    old = adam.init(jnp.zeros(2))
    for row in gradients[:20]:
        _, old = adam.update(row[3:], old)
    joint = carried(
        by_parameter(adam.init(jnp.zeros(5)), 5),
        jax.tree.leaves(by_parameter(jax.device_get(old), 2)._replace(count=np.full(2, 20))),
        5,
        slice(3, 5),
    )
    new = adam.init(jnp.zeros(3))
    for row in gradients[20:]:
        updates, joint = adam.update(row, joint)
        of_new, new = adam.update(row[:3], new)
        of_old, old = adam.update(row[3:], old)
        np.testing.assert_allclose(updates, np.concatenate([of_new, of_old]), rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "other", "arrays"), [({}, ADAMW, 1), (RMSPROP, {}, 2), (ADAMW, {}, 3)]
)
def test_momentum_of_the_classifier_is_kept_and_the_schedule_starts_anew(
    one_block, dots, optimizer, other, arrays
):
    recipe = dataclasses.replace(RECIPE, **optimizer)
    base = LaneProgram(one_block, recipe, 4).initialise(7).variables.tree
    extraction = LaneProgram(one_block, recipe, 4, tuning=Tuning())
    after = steps(extraction, begun(extraction, base), dots)
    past = jax.tree.leaves(after.opt_state)
    start = Start(after.variables.tree, past)
    tuned = LaneProgram(one_block, recipe, 4, tuning=Tuning("head"))
    fresh, state = tuned.initialise(0), tuned.begin(tuned.initialise(0), start)
    place = state.params.packing.place("classifier")
    kept = 0
    for new, old, first in zip(
        jax.tree.leaves(state.opt_state), past, jax.tree.leaves(fresh.opt_state), strict=True
    ):
        if np.ndim(new):
            np.testing.assert_array_equal(new[place], old)
            others = np.delete(new, np.r_[place])
            np.testing.assert_array_equal(others, np.delete(first, np.r_[place]))
            kept += bool(np.any(old != first[place]))
        else:
            assert int(new) == 0 < int(old)
    assert kept == arrays
    # Another optimizer starts afresh.
    recipe = dataclasses.replace(RECIPE, **other)
    tuned = LaneProgram(one_block, recipe, 4, tuning=Tuning("head"))
    state = tuned.begin(tuned.initialise(0), start)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, tuned.initialise(0).opt_state)
