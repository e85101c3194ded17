import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.nn import initializers, layers
from mnv2_jax.nn.blocks import BLOCKS
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs
from mnv2_jax.nn.blocks.inverted_residual import InvertedResidual
from mnv2_jax.nn.network import Network, initialise, jaxpr_text, variable_shapes


def small(**knobs):
    """A block of each kind: without and with a shortcut, and one between expansions."""
    conventions = arch.CONVENTIONS[knobs.pop("conventions", "default")]
    block = arch.BlockSpec(**{"out_channels": 6, "expansion": 2, "divisor": 1, **knobs})
    blocks = (dataclasses.replace(block, stride=2), block, block)
    return arch.NetworkSpec(8, 1, 4, 1, blocks, 8, 10, conventions)


def apply(spec, variables, images, **options):
    return jax.jit(functools.partial(Network(spec).apply, **options))(variables, images)


def images_for(spec, count=4):
    return jax.random.uniform(jax.random.key(7), (count, *spec.input_shape), minval=-1.0)


def test_shapes_from_image_to_logits():
    spec = presets.build("mobilenet_v2", resolution=64, width=0.35, classes=7)
    logits = jax.eval_shape(
        Network(spec).init_with_output, jax.random.key(0), jnp.zeros((3, 64, 64, 3))
    )[0]
    assert logits.shape == (3, 7)


def test_unknown_blocks_are_named():
    spec = small(block="mystery")
    with pytest.raises(ValueError, match=r"block='mystery': expected FILE\.py:CLASS or one of"):
        initialise(spec)


@pytest.mark.parametrize(
    ("projection", "shortcut"),
    [
        ("linear", "none"),
        ("relu6", "bottleneck"),
        ("relu", "none"),
        ("leaky_relu", "bottleneck"),
    ],
)
def test_knobs_as_arguments_equal_those_of_the_specification(projection, shortcut):
    spec = small(projection=projection, shortcut=shortcut)
    variables = initialise(spec)
    images = images_for(spec)
    by_spec = apply(spec, variables, images)
    knobs = Knobs.of(arch.BlockSpec(projection=projection, shortcut=shortcut))
    for own in {"leaky_relu", "leaky_relu" if knobs.slope else "linear"}:
        by_knobs = apply(small(projection=own), variables, images, knobs=knobs)
        np.testing.assert_array_equal(by_spec, by_knobs)


@functools.cache
def run(**knobs):
    """The output of an inverted residual in training, and its input."""
    spec = dataclasses.replace(arch.BlockSpec(out_channels=8, expansion=2, divisor=1), **knobs)
    module = InvertedResidual(spec)
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 8))

    @jax.jit
    def call(x):
        variables = module.init(jax.random.key(0), x, Carry(), train=False)
        return module.apply(variables, x, Carry(), train=True, mutable=["batch_stats"])[0][0]

    return np.asarray(call(x)), np.asarray(x)


@pytest.mark.parametrize(
    ("knobs", "formula"),
    [
        ({}, lambda y, x: y + x),
        ({"projection": "relu6"}, lambda y, x: np.clip(y, 0, 6) + x),
        (
            {"projection": "relu6", "projection_placement": "after"},
            lambda y, x: np.clip(y + x, 0, 6),
        ),
    ],
)
def test_projection_and_shortcut_follow_their_formula(knobs, formula):
    projected, x = run(shortcut="none")
    assert projected.min() < -1
    np.testing.assert_allclose(run(**knobs)[0], formula(projected, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [{"stride": 2}, {"out_channels": 12}])
@pytest.mark.parametrize(
    "knobs", [{}, {"shortcut": "expansion"}, {"projection_placement": "after"}]
)
def test_where_the_shape_changes_there_is_no_shortcut(shape, knobs):
    expected, _ = run(shortcut="none", projection="relu6", **shape)
    np.testing.assert_array_equal(run(projection="relu6", **knobs, **shape)[0], expected)


def test_five_shortcuts_between_expansions_in_mobilenet_v2():
    def additions(shortcut):
        spec = presets.build("mobilenet_v2", resolution=32, shortcut=shortcut)
        jaxpr = jax.make_jaxpr(lambda v, x: Network(spec).apply(v, x))(
            variable_shapes(spec), jnp.zeros((1, *spec.input_shape))
        )
        # Sums of two whole tensors; biases and moments are added to or by vectors.
        shapes = [
            [getattr(value.aval, "shape", ()) for value in equation.invars]
            for equation in jaxpr.jaxpr.eqns
            if equation.primitive.name == "add"
        ]
        return sum(len(one) == 4 and one == other for one, other in shapes)

    assert additions("expansion") - additions("none") == 5


def test_inference_is_per_image_and_training_is_not():
    spec = small()
    variables = initialise(spec)
    images = images_for(spec, 8)
    whole = np.asarray(apply(spec, variables, images))
    some = np.asarray(apply(spec, variables, images[:3]))
    np.testing.assert_allclose(some, whole[:3], atol=1e-5)
    training = {"train": True, "mutable": ["batch_stats"]}
    trained, _ = apply(spec, variables, images, **training)
    fewer, _ = apply(spec, variables, images[:3], **training)
    assert np.abs(trained[:3] - fewer).max() > 1e-3


def test_dropout_acts_in_training_alone_and_by_its_key():
    spec = small(conventions="torchvision")
    variables = initialise(spec)
    images = images_for(spec)
    bare = dataclasses.replace(spec.conventions, dropout=0.0)
    np.testing.assert_array_equal(
        apply(spec, variables, images),
        apply(dataclasses.replace(spec, conventions=bare), variables, images),
    )
    train = jax.jit(
        lambda key: Network(spec).apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]
    )
    one, again, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


OTHER = arch.Conventions("SYMMETRIC", 0.7, 1e-4, 0.3, "glorot_uniform")


@pytest.mark.parametrize("block", BLOCKS)
def test_conventions_reach_every_layer(block):
    for field, default in dataclasses.asdict(arch.Conventions()).items():
        assert getattr(OTHER, field) != default
    spec = dataclasses.replace(small(block=block, squeeze_excite=True), conventions=OTHER)
    seen = []

    def record(call, args, kwargs, context):
        seen.append(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(Network(spec).init, jax.random.key(0), images_for(spec))
    for layer in seen:
        if isinstance(layer, layers.BatchNorm):
            assert (layer.momentum, layer.epsilon) == (OTHER.norm_momentum, OTHER.norm_epsilon)
        if isinstance(layer, layers.Conv | layers.Depthwise):
            assert layer.padding == OTHER.padding
        if isinstance(layer, layers.Conv | layers.Depthwise | layers.Pointwise):
            assert layer.initializer == OTHER.initializer
        if isinstance(layer, layers.Dense):
            init = initializers.CLASSIFIERS if layer.name == "classifier" else initializers.KERNELS
            assert layer.initializer is init[OTHER.initializer]
        if isinstance(layer, nn.Dropout):
            assert layer.rate == OTHER.dropout
    assert {"stem_norm", "dropout", "classifier"} <= {layer.name for layer in seen}


@pytest.mark.parametrize("block", BLOCKS)
def test_intermediates_of_every_module_can_be_captured(block):
    spec = small(block=block, shortcut="expansion", squeeze_excite=True)
    images = images_for(spec)
    variables = jax.eval_shape(Network(spec).init, jax.random.key(0), images)
    capture = functools.partial(
        Network(spec).apply,
        train=True,
        capture_intermediates=lambda module, method: True,
        mutable=["intermediates", "batch_stats"],
    )
    logits, state = jax.eval_shape(capture, variables, images)
    captured = state["intermediates"]
    assert captured["__call__"][0].shape == logits.shape == (4, 10)
    ((output, _),) = captured["block_02"]["__call__"]
    assert output.shape == (4, 4, 4, 6)
    # Submodules, some with the names of the block's methods.
    assert set(variables["params"]["block_02"]) <= set(captured["block_02"])


def test_a_network_without_head_ends_in_its_last_block():
    spec = dataclasses.replace(small(), head_channels=0)
    variables = initialise(spec)
    assert "head" not in variables["params"]
    assert variables["params"]["classifier"]["kernel"].shape == (6, 10)


class Faulty(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        if self.spec.kernel_size == 7:
            return x
        if self.spec.kernel_size == 5:
            return x @ jnp.zeros((1, 1)), carry
        y = self.pointwise(x, self.spec.out_channels, "only", train)
        return self.join(x, y, carry), Carry(y)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (7, r"block='faulty': returns a \S+; expected a pair, \(x, carry\)"),
        (5, r"block='faulty': TypeError: .* \(test_network.py, line \d+\)"),
    ],
)
def test_a_faulty_block_is_named_with_the_line(monkeypatch, side, message):
    monkeypatch.setitem(BLOCKS, "faulty", Faulty)
    with pytest.raises(ValueError, match=message):
        initialise(small(block="faulty", kernel_size=side))


def test_a_block_that_drops_the_carry_does_not_drop_the_knobs_of_the_next(monkeypatch):
    monkeypatch.setitem(BLOCKS, "faulty", Faulty)
    spec = small(block="faulty")
    variables = initialise(spec)
    images = images_for(spec)
    knobs = Knobs.of(arch.BlockSpec(projection="relu6", shortcut="none"))
    by_spec = apply(small(block="faulty", projection="relu6", shortcut="none"), variables, images)
    np.testing.assert_array_equal(apply(spec, variables, images, knobs=knobs), by_spec)


def test_what_a_network_computes_includes_constants_and_initial_weights(monkeypatch):
    def block(array, value):
        class Own(Block):
            @nn.compact
            def __call__(self, x, carry, *, train):
                scale = self.param("scale", nn.initializers.constant(value), ())
                return x * np.full(x.shape[-1], array, np.float32) * scale, carry

        return Own

    programs = set()
    for number, constants in enumerate([(0.5, 1.0), (0.5, 1.0), (0.1, 1.0), (0.5, 0.0)]):
        monkeypatch.setitem(BLOCKS, f"own_{number}", block(*constants))
        spec = arch.BlockSpec(f"own_{number}", out_channels=4)
        programs.add(jaxpr_text(arch.NetworkSpec(8, 1, 4, 1, (spec,), 0, 10)))
    assert len(programs) == 3


def test_initial_variables_are_those_of_flax():
    spec = small(conventions="keras", squeeze_excite=True)
    init = jax.jit(Network(spec).init)
    for seed in (0, 5):
        expected = init(jax.random.key(seed), jnp.zeros((1, *spec.input_shape)))
        jax.tree.map(np.testing.assert_array_equal, initialise(spec, seed), expected)


def test_an_unknown_argument_of_a_network_is_named():
    with pytest.raises(TypeError, match=r"^axis='batch': Network has .*; did you mean axis_name\?"):
        Network(small(), axis="batch")  # type: ignore[call-arg]
