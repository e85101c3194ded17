"""Training on what is trained already: what stays, what moves, what it costs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnv2_jax import presets
from mnv2_jax.data import augment, rng, stream
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import ravel
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import NORMS, Start, Tuning, by_parameter, carried, first_part

ONE = HParams(
    np.uint32(0),
    np.uint32(0),
    Knobs.from_names("linear", "bottleneck"),
    np.float32(0.05),
    np.float32(1e-3),
    np.float32(0.0),
)
RECIPE = Recipe(6, 16, 16)


@pytest.fixture(scope="module")
def spec(tiny):
    return presets.build(tiny, expansion=2)


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
    return jax.device_get(train(state, ONE, order, images.images, images.labels, *bounds))


def flops(compiled):
    analysis: Any = compiled.cost_analysis()
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


@pytest.mark.parametrize("first", ["stem", "block_02", "head", "classifier"])
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_named_changes_and_nothing_else(spec, base, dots, first, norm):
    program = LaneProgram(spec, RECIPE, 4, tuning=Tuning(first, norm))
    state = begun(program, base)
    jax.tree.map(
        np.testing.assert_array_equal,
        state.variables.tree["batch_stats"],
        {name: base["batch_stats"][name] for name in base["batch_stats"]},
    )
    before = state.variables.tree
    after = steps(program, state, dots).variables.tree
    after_first = PARTS[PARTS.index(first) :]
    assert changed(before["params"], after["params"]) == of(*after_first) & set(base["params"])
    moving = {"inference": (), "trained": after_first, "all": PARTS}[norm]
    moments = set(base["batch_stats"])
    assert changed(before["batch_stats"], after["batch_stats"]) == of(*moving) & moments


def test_a_frozen_base_is_what_it_was_but_for_the_classifier(spec, base):
    program = LaneProgram(spec, RECIPE, 4, tuning=Tuning())
    drawn = program.initialise(0).variables.tree
    features = {name: leaf for name, leaf in base["params"].items() if name != "classifier"}
    state = program.begin(program.initialise(0), Start({**base, "params": features}))
    begun_with = state.variables.tree
    for name, tree in features.items():
        jax.tree.map(np.testing.assert_array_equal, begun_with["params"][name], tree)
    jax.tree.map(
        np.testing.assert_array_equal,
        begun_with["params"]["classifier"],
        drawn["params"]["classifier"],
    )


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


def test_what_is_frozen_costs_no_optimizer_memory_and_no_backward_pass(spec, base, dots):
    images, _ = stream.read(dots.train, print)

    def program_of(tuning):
        program = LaneProgram(spec, RECIPE, 4, tuning=tuning)
        state = begun(program, base)
        batch = (
            augment.scale(jnp.asarray(images.images[:16]), "symmetric"),
            images.labels[:16],
            jax.nn.one_hot(images.labels[:16], 10),
        )
        compiled = jax.jit(program._gradient).lower(state, ONE, batch, jax.random.key(0)).compile()
        return state, flops(compiled)

    def forward():
        program = LaneProgram(spec, RECIPE, 4)
        shape = jnp.zeros((16, *spec.input_shape))
        compiled = jax.jit(lambda variables, x: program.network.apply(variables, x)).lower(
            base, shape
        )
        return flops(compiled.compile())

    costs = {}
    for first in PARTS:
        state, costs[first] = program_of(Tuning(first, "inference"))
        trained = sum(
            leaf.size
            for name in of(*PARTS[PARTS.index(first) :])
            for leaf in jax.tree.leaves(base["params"].get(name, {}))
        )
        momentum = [leaf for leaf in jax.tree.leaves(state.opt_state) if np.ndim(leaf)]
        assert [leaf.shape for leaf in momentum] == [(trained,)]
    assert sorted(costs.values(), reverse=True) == [costs[first] for first in PARTS]
    # A pass back costs about two forward. Here there is the classifier's alone.
    assert costs["stem"] > 2.3 * forward()
    assert costs["classifier"] < 1.15 * forward()


def test_two_classes_are_told_apart_by_one_logit(spec, dots):
    program = LaneProgram(dataclasses.replace(spec, classes=1), RECIPE, 4)
    assert program.classes == 2
    state = program.initialise(0)
    images = dots.train
    pixels = np.stack([images[index].image for index in range(16)])
    labels = np.arange(16, dtype=np.int32) % 2
    weights = np.ones(16, np.float32)
    sums = jax.jit(program.evaluate)(state.evaluated, ONE, weights, pixels, labels)
    inputs = augment.scale(jnp.asarray(pixels), "symmetric")
    logits: Any = program.network.apply(state.variables.tree, inputs, knobs=ONE.knobs)
    assert logits.shape == (16, 1)
    expected = optax.sigmoid_binary_cross_entropy(logits[:, 0], labels).sum()
    assert float(sums["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(sums["accuracy"]) == ((np.asarray(logits[:, 0]) > 0) == labels).sum()


def test_an_optimizer_goes_on_for_the_classifier_and_begins_for_the_rest():
    """Adam, whose steps are counted for each parameter."""
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
    ("optimizer", "pasts"),
    [
        ({}, 1),
        ({"optimizer": "rmsprop", "nesterov": False, "b2": 0.9, "epsilon": 1.0}, 2),
        ({"optimizer": "adamw", "nesterov": False, "b2": 0.99, "epsilon": 1e-8}, 3),
    ],
)
def test_momentum_of_the_classifier_is_kept_and_the_schedule_begins_anew(
    spec, base, dots, optimizer, pasts
):
    recipe = dataclasses.replace(RECIPE, **optimizer)
    extraction = LaneProgram(spec, recipe, 4, tuning=Tuning())
    after = steps(extraction, begun(extraction, base), dots)
    past = jax.tree.leaves(after.opt_state)
    start = Start(after.variables.tree, past)
    tuned = LaneProgram(spec, recipe, 4, tuning=Tuning("head"))
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
    assert kept == pasts


def test_another_kind_of_optimizer_begins_afresh(spec, base, dots):
    extraction = LaneProgram(spec, RECIPE, 4, tuning=Tuning())
    after = steps(extraction, begun(extraction, base), dots)
    start = Start(after.variables.tree, jax.tree.leaves(after.opt_state))
    recipe = dataclasses.replace(RECIPE, optimizer="adamw", nesterov=False, b2=0.99, epsilon=1e-8)
    tuned = LaneProgram(spec, recipe, 4, tuning=Tuning("head"))
    state = tuned.begin(tuned.initialise(0), start)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, tuned.initialise(0).opt_state)
