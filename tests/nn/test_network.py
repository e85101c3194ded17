import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.nn import initializers, layers, projections
from mnv2_jax.nn.blocks import BLOCKS
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs
from mnv2_jax.nn.blocks.inverted_residual import InvertedResidual
from mnv2_jax.nn.network import Network, initialise, jaxpr_text


def small(**knobs):
    """A block of each kind: without and with a shortcut, and one between expansions."""
    conventions = arch.CONVENTIONS[knobs.pop("conventions", "default")]
    block = arch.BlockSpec(**{"out_channels": 6, "expansion": 2, "divisor": 1, **knobs})
    blocks = (dataclasses.replace(block, stride=2), block, block)
    return arch.NetworkSpec(8, 1, 4, 1, blocks, 8, 10, conventions)


def variables_of(spec, seed=0):
    init = jax.jit(Network(spec).init)
    return init(jax.random.key(seed), jnp.zeros((1, *spec.input_shape)))


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
        variables_of(spec)


@pytest.mark.parametrize("projection", arch.CLIPS)
@pytest.mark.parametrize("shortcut", ["bottleneck", "none"])
def test_knobs_as_arguments_give_what_the_specification_gives(projection, shortcut):
    spec = small(projection=projection, shortcut=shortcut)
    variables = variables_of(spec)
    images = images_for(spec)
    by_spec = apply(spec, variables, images)
    knobs = Knobs.from_names(projection, shortcut)
    for own in {"leaky_relu", "leaky_relu" if knobs.slope else "linear"}:
        by_knobs = apply(small(projection=own), variables, images, knobs=knobs)
        np.testing.assert_array_equal(by_spec, by_knobs)


@pytest.mark.parametrize("projection", projections.FUNCTIONS)
def test_a_projection_that_is_a_function_is_no_knob(projection):
    spec = small(projection=projection, shortcut="none")
    variables = variables_of(spec)
    images = images_for(spec)
    by_spec = apply(spec, variables, images)
    knobs = Knobs.from_names("relu6", "none")
    np.testing.assert_array_equal(apply(spec, variables, images, knobs=knobs), by_spec)
    assert not np.array_equal(apply(small(shortcut="none"), variables, images), by_spec)


def test_every_knob_changes_the_output():
    images = 50 * images_for(small())
    outputs = []
    for knobs in (
        {},
        {"projection": "relu6"},
        {"projection": "relu"},
        {"shortcut": "none"},
        {"shortcut": "expansion"},
        {"activation": "relu"},
        {"conventions": "torchvision"},
        {"kernel_size": 5},
    ):
        spec = small(**knobs)
        outputs.append(np.asarray(apply(spec, variables_of(spec), images)))
    for i, one in enumerate(outputs):
        for other in outputs[i + 1 :]:
            assert not np.array_equal(one, other)


def block(**knobs):
    spec = dataclasses.replace(arch.BlockSpec(out_channels=8, expansion=2, divisor=1), **knobs)
    return InvertedResidual(spec)


def run(module, x, train=False):
    carry = Carry()
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(0), x, carry)
    call = jax.jit(functools.partial(module.apply, train=train, mutable=["batch_stats"]))
    return call(variables, x, carry)[0]


def test_a_shortcut_adds_the_input():
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 8))
    with_shortcut, _ = run(block(), x)
    without, _ = run(block(shortcut="none"), x)
    np.testing.assert_allclose(with_shortcut, without + x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("change", [{"stride": 2}, {"out_channels": 12}])
def test_no_shortcut_where_the_shape_changes(change):
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, 8))
    for shortcut in arch.SHORTCUTS:
        y, _ = run(block(shortcut=shortcut, **change), x)
        expected, _ = run(block(shortcut="none", **change), x)
        np.testing.assert_array_equal(y, expected)


def test_a_relu6_projection_is_bounded_before_the_shortcut_is_added():
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 8))
    y, _ = run(block(projection="relu6"), x, train=True)
    added = np.asarray(y - x)
    assert added.min() >= -1e-6
    assert (added < 1e-6).mean() > 0.3
    linear, _ = run(block(), x, train=True)
    assert np.asarray(linear - x).min() < -1


def test_five_shortcuts_between_expansions_in_mobilenet_v2():
    def additions(shortcut):
        spec = presets.build("mobilenet_v2", resolution=32, shortcut=shortcut)
        jaxpr = jax.make_jaxpr(lambda v, x: Network(spec).apply(v, x))(
            jax.eval_shape(lambda: variables_of(spec)), jnp.zeros((1, *spec.input_shape))
        )
        # Sums of two whole tensors; biases and moments are added to or by vectors.
        return sum(
            1
            for equation in jaxpr.jaxpr.eqns
            if equation.primitive.name == "add"
            and all(getattr(v.aval, "ndim", 0) == 4 for v in equation.invars)
            and equation.invars[0].aval.shape == equation.invars[1].aval.shape
        )

    assert additions("expansion") - additions("none") == 5


def test_inference_ignores_company_and_training_does_not():
    spec = small()
    variables = variables_of(spec)
    images = images_for(spec, 8)
    whole = np.asarray(apply(spec, variables, images))
    some = np.asarray(apply(spec, variables, images[:3]))
    np.testing.assert_allclose(some, whole[:3], atol=1e-5)
    training = {"train": True, "mutable": ["batch_stats"]}
    trained, _ = apply(spec, variables, images, **training)
    fewer, _ = apply(spec, variables, images[:3], **training)
    assert np.abs(trained[:3] - fewer).max() > 1e-3


def test_relu6_after_the_addition_bounds_the_sum():
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 8))
    y, _ = run(block(projection="relu6", projection_placement="after"), x, train=True)
    linear, _ = run(block(), x, train=True)
    np.testing.assert_allclose(y, np.clip(linear, 0.0, 6.0), rtol=1e-6, atol=1e-6)
    assert (np.asarray(linear) < 0).any()


def test_where_there_is_no_shortcut_placement_makes_no_difference():
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 8))
    before, after = (
        run(block(projection="relu6", projection_placement=placement, stride=2), x)[0]
        for placement in ("before", "after")
    )
    np.testing.assert_array_equal(before, after)


def test_dropout_acts_in_training_alone_and_by_its_key():
    spec = small(conventions="torchvision")
    variables = variables_of(spec)
    images = images_for(spec)
    np.testing.assert_array_equal(
        apply(spec, variables, images),
        apply(
            dataclasses.replace(
                spec, conventions=dataclasses.replace(spec.conventions, dropout=0.0)
            ),
            variables,
            images,
        ),
    )
    train = jax.jit(
        lambda key: Network(spec).apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]
    )
    one, again, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", arch.CONVENTIONS)
@pytest.mark.parametrize("block", BLOCKS)
def test_conventions_reach_every_layer(name, block):
    spec = small(conventions=name, block=block, squeeze_excite=True)
    seen = []

    def record(call, args, kwargs, context):
        seen.append(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(Network(spec).init, jax.random.key(0), images_for(spec))
    ways = spec.conventions
    for layer in seen:
        if isinstance(layer, layers.BatchNorm):
            assert (layer.momentum, layer.epsilon) == (ways.norm_momentum, ways.norm_epsilon)
        if isinstance(layer, layers.Conv | layers.Depthwise):
            assert layer.padding == ways.padding
        if isinstance(layer, layers.Conv | layers.Depthwise | layers.Pointwise):
            assert layer.initializer == ways.initializer
        if isinstance(layer, layers.Dense):
            known = initializers.CLASSIFIERS if layer.name == "classifier" else initializers.KERNELS
            assert layer.initializer is known[ways.initializer]
        if isinstance(layer, nn.Dropout):
            assert layer.rate == ways.dropout
    assert {"stem_norm", "dropout", "classifier"} <= {layer.name for layer in seen}


@pytest.mark.parametrize("block", BLOCKS)
def test_what_every_method_gives_can_be_captured(block):
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
    # Submodules, some of which are called as methods of blocks are.
    assert set(variables["params"]["block_02"]) <= set(captured["block_02"])


def test_a_network_without_head_ends_in_its_last_block():
    spec = dataclasses.replace(small(), head_channels=0)
    variables = variables_of(spec)
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
        variables_of(small(block="faulty", kernel_size=side))


def test_a_block_that_drops_the_carry_does_not_drop_the_knobs_of_the_next(monkeypatch):
    monkeypatch.setitem(BLOCKS, "faulty", Faulty)
    spec = small(block="faulty")
    variables = variables_of(spec)
    images = images_for(spec)
    knobs = Knobs.from_names("relu6", "none")
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


@pytest.mark.parametrize("preset", ["tiny", "small_32px"])
def test_initial_variables_are_those_that_flax_gives(tiny, preset):
    spec = presets.build(preset)
    for seed in (0, 5):
        found = initialise(spec, seed)
        jax.tree.map(np.testing.assert_array_equal, found, variables_of(spec, seed))


def test_an_unknown_argument_of_a_network_is_named():
    with pytest.raises(TypeError, match=r"^axis='batch': Network has .*; did you mean axis_name\?"):
        Network(small(), axis="batch")  # type: ignore[call-arg]
