import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import arch
from mnv2_jax.nn.blocks import Carry, InvertedResidual, Knobs
from mnv2_jax.nn.network import Network


def variables_of(spec, seed=0):
    return Network(spec).init(jax.random.key(seed), jnp.zeros((1, *spec.input_shape)))


def images_for(spec, count=4):
    return jax.random.uniform(jax.random.key(7), (count, *spec.input_shape), minval=-1.0)


def test_shapes_from_image_to_logits():
    spec = arch.build("mobilenet_v2", resolution=64, width=0.35, classes=7)
    logits = jax.eval_shape(
        Network(spec).init_with_output, jax.random.key(0), jnp.zeros((3, 64, 64, 3))
    )[0]
    assert logits.shape == (3, 7)


def test_unknown_blocks_are_named():
    spec = arch.build("digits", kind="mystery")
    with pytest.raises(ValueError, match="block='mystery': expected one of inverted_residual"):
        variables_of(spec)


@pytest.mark.parametrize("projection", arch.PROJECTIONS)
@pytest.mark.parametrize("shortcut", ["bottleneck", "none"])
def test_knobs_as_arguments_give_what_the_specification_gives(projection, shortcut):
    spec = arch.build("digits", projection=projection, shortcut=shortcut)
    base = arch.build("digits")
    variables = variables_of(spec)
    images = images_for(spec)
    by_spec = Network(spec).apply(variables, images)
    by_knobs = Network(base).apply(variables, images, knobs=Knobs.of(projection, shortcut))
    np.testing.assert_array_equal(by_spec, by_knobs)


def test_every_knob_changes_the_output():
    images = images_for(arch.build("digits"))
    outputs = [
        np.asarray(Network(spec).apply(variables_of(spec), images))
        for spec in (
            arch.build("digits"),
            arch.build("digits", projection="relu6"),
            arch.build("digits", projection="relu"),
            arch.build("digits", shortcut="none"),
            arch.build("digits", shortcut="expansion"),
            arch.build("digits", kernel_size=5),
            arch.build("digits", padding="SYMMETRIC"),
        )
    ]
    for i, one in enumerate(outputs):
        for other in outputs[i + 1 :]:
            # ReLU and ReLU6 agree while nothing exceeds 6: training tells them apart.
            if not (i == 1 and other is outputs[2]):
                assert not np.array_equal(one, other)


def block(**knobs):
    spec = dataclasses.replace(arch.BlockSpec(out_channels=8, expansion=2, divisor=1), **knobs)
    return InvertedResidual(spec)


def run(module, x, train=False):
    carry = Carry()
    variables = module.init(jax.random.key(0), x, carry, train=False)
    if train:
        (y, carry), _ = module.apply(variables, x, carry, train=True, mutable=["batch_stats"])
        return y, carry
    return module.apply(variables, x, carry, train=train)


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
        spec = arch.build("mobilenet_v2", resolution=32, shortcut=shortcut)
        jaxpr = jax.make_jaxpr(lambda v, x: Network(spec).apply(v, x))(
            jax.eval_shape(lambda: variables_of(spec)), jnp.zeros((1, *spec.input_shape))
        )
        text = str(jaxpr)
        # Sums of two whole tensors; biases and moments are added to or by vectors.
        return text.count("= add_any"), sum(
            1
            for equation in jaxpr.jaxpr.eqns
            if equation.primitive.name == "add"
            and all(getattr(v.aval, "ndim", 0) == 4 for v in equation.invars)
            and equation.invars[0].aval.shape == equation.invars[1].aval.shape
        )

    base = additions("none")[1]
    assert additions("expansion")[1] - base == 5


def test_inference_ignores_company_and_training_does_not():
    spec = arch.build("digits")
    variables = variables_of(spec)
    images = images_for(spec, 8)
    network = Network(spec)
    whole = np.asarray(network.apply(variables, images))
    some = np.asarray(network.apply(variables, images[:3]))
    np.testing.assert_allclose(some, whole[:3], atol=1e-5)
    trained, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
    fewer, _ = network.apply(variables, images[:3], train=True, mutable=["batch_stats"])
    assert np.abs(trained[:3] - fewer).max() > 1e-3
