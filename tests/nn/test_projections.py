"""Projections: clips, bit for bit, and functions by name."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from configs import digits
from mnv2_jax import arch, presets
from mnv2_jax.ablation import cohort, grid
from mnv2_jax.nn import layers, projections, trained
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.cost import network_cost
from mnv2_jax.nn.network import initialise
from mnv2_jax.train import prediction
from tests import commands, small

OWN = """
import jax
import jax.numpy as jnp

LIMIT = 2

def swish2(x):
    return x * jax.nn.sigmoid({factor} * x)

def mean(x):
    return x.mean()

def wide(x):
    return x.astype(jnp.float32)

def pair(x):
    return x, x

def broken(x):
    return mystery
"""

ODD = [math.inf, -math.inf, math.nan, 0.0, -0.0, 6.0, -1e-45, 3.4e38]
numbers = st.lists(
    st.one_of(st.sampled_from(ODD), st.floats(width=32), st.floats(-10, 10, width=32)),
    min_size=8,
    max_size=8,
)

# Compiled programs may flush subnormal numbers to 0.
normal = functools.partial(st.floats, width=32, allow_subnormal=False)


def bits(x):
    return np.asarray(x).view(np.uint16 if x.dtype == jnp.bfloat16 else np.uint32)


@jax.jit
def clipped(x, cotangent, low, high):
    """A clip without slope, and its gradient."""
    y, back = jax.vjp(lambda x: jax.lax.clamp(low.astype(x.dtype), x, high.astype(x.dtype)), x)
    return y, back(cotangent)[0]


@jax.jit
def leaky(x, cotangent, low, high, slope):
    y, back = jax.vjp(lambda x: layers.leaky_clip(x, low, high, slope), x)
    return y, back(cotangent)[0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["linear", "relu6", "relu"])
@given(values=numbers, cotangents=numbers)
@example(values=ODD, cotangents=[-1.0, 1.0, math.inf, math.nan, -0.0, -2.0, 3.0, 4.0])
def test_without_slope_values_and_gradients_are_those_of_a_clip(name, dtype, values, cotangents):
    x, cotangent = (
        jnp.array(numbers, jnp.float32).astype(dtype) for numbers in (values, cotangents)
    )
    knobs = Knobs.of(arch.BlockSpec(projection=name))
    expected = clipped(x, cotangent, knobs.low, knobs.high)
    for actual, clip in zip(leaky(x, cotangent, *knobs[:3]), expected, strict=True):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(bits(actual), bits(clip))


@given(
    values=st.lists(normal(-20, 20), min_size=8, max_size=8),
    low=normal(-5, 0),
    high=normal(1, 6),
    slope=normal(0, 1),
)
def test_with_a_slope_it_is_the_formula(values, low, high, slope):
    x = np.array(values, np.float32)
    inside = np.clip(x.astype(np.float64), low, high)
    y, gradient = leaky(x, np.ones_like(x), *map(np.float32, (low, high, slope)))
    np.testing.assert_allclose(y, inside + slope * (x - inside), rtol=1e-5, atol=1e-5)
    expected = np.where((x > low) & (x < high), np.float32(1), np.float32(slope))
    np.testing.assert_array_equal(gradient, expected)


def test_a_leaky_relu_keeps_infinite_values():
    x = jnp.array([math.inf, -math.inf, math.nan, -2.0, 0.0, 3.0])
    y, gradient = leaky(x, jnp.ones(6), *Knobs.of(arch.BlockSpec(projection="leaky_relu"))[:3])
    np.testing.assert_array_equal(y, [math.inf, -math.inf, math.nan, np.float32(-0.02), 0, 3])
    np.testing.assert_array_equal(gradient[3:], [np.float32(0.01), np.float32(0.01), 1])


def test_lanes_differ_in_slope():
    names = ("linear", "leaky_relu", "relu6")
    knobs = jax.tree.map(
        lambda *leaves: np.stack(leaves),
        *(Knobs.of(arch.BlockSpec(projection=one)) for one in names),
    )
    x = jnp.tile(jnp.array([-2.0, 1.0, 9.0]), (3, 1))
    y = jax.vmap(layers.leaky_clip)(x, knobs.low, knobs.high, knobs.slope)
    np.testing.assert_array_equal(y, [[-2, 1, 9], [np.float32(-0.02), 1, 9], [0, 1, 6]])


def test_every_projection_is_its_formula():
    formulas = {
        "linear": lambda x: x,
        "relu6": lambda x: np.clip(x, 0, 6),
        "relu": lambda x: np.maximum(x, 0),
        "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
        "gelu": lambda x: x * special.ndtr(x),
        "silu": lambda x: x * special.expit(x),
        "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    }
    assert list(formulas) == [*arch.CLIPS, *projections.FUNCTIONS]
    x = np.linspace(-8, 8, 65, dtype=np.float32)
    for name, formula in formulas.items():
        actual = projections.apply(name, jnp.asarray(x))
        expected = formula(x.astype(np.float64))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my_projection.py"
    path.write_text(OWN.format(factor=2))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tanh",
            "expected FILE.py:FUNCTION or one of linear, relu6, relu, leaky_relu, gelu, silu, h",
        ),
        ("gone.py:tanh", "no such Python file; expected FILE.py:FUNCTION"),
        ("OWN:tanh", "the file has no such tanh; expected swish2, mean, wide, pair, broken"),
        ("OWN:LIMIT", "the file's LIMIT is not a function"),
        (
            "OWN:mean",
            "returns float32[] for float32[2, 3, 3, 4]; expected an array of the same sh",
        ),
        ("OWN:wide", "returns float32[2, 3, 3, 4] for bfloat16[2, 3, 3, 4]; expected an array of"),
        ("OWN:pair", "returns tuple for float32[2, 3, 3, 4]; expected an array of the same shape"),
        ("OWN:broken", "NameError: name 'mystery' is not defined (my_projection.py, line 20)"),
    ],
)
def test_a_wrong_projection_raises_one_line(own, name, message):
    name = name.replace("OWN", str(own))
    with pytest.raises(ValueError, match=r"^projection=") as caught:
        projections.check_name(name)
    assert str(caught.value).startswith(f"projection={name!r}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", [network_cost, initialise])
def test_a_network_checks_its_projection(own, tiny, use):
    with pytest.raises(ValueError, match=r"projection=.*: returns float32\[2, 3, 3, 4\]"):
        use(presets.build(tiny, projection=f"{own}:wide"))


def plan(dots, tiny, names, **changes):
    config = digits.get_config()
    config.model.preset = tiny
    config.model.update(changes)
    return cohort.plan(grid.expand(config, grid.axis("model.projection", names)), lambda _: dots)


def test_a_grid_is_a_cohort_of_clips_and_one_of_each_function(dots, tiny, own):
    names = ("linear", "gelu", "relu6", f"{own}:swish2", "leaky_relu", "relu")
    clips, gelu, swish = plan(dots, tiny, names)
    assert [run.config.model.projection for run in clips.runs] == [
        *("linear", "relu6", "leaky_relu", "relu"),
    ]
    assert [run.config.model.projection for run in gelu.runs] == ["gelu"]
    assert [str(part) for part in (clips, gelu)] == [
        *("inverted_residual", "inverted_residual, projection gelu"),
    ]
    assert str(swish).startswith("inverted_residual, projection ")
    assert len({part.network_fingerprint for part in (clips, gelu, swish)}) == 3
    assert {block.projection for block in gelu.program.spec.blocks} == {"gelu"}
    # Its program takes slopes; where no lane has one, a program does not.
    assert {block.projection for block in clips.program.spec.blocks} == {"leaky_relu"}
    (plain,) = plan(dots, tiny, ("relu", "linear", "relu6"))
    assert {block.projection for block in plain.program.spec.blocks} == {"linear"}
    assert plain.network_fingerprint == clips.network_fingerprint


def test_the_fingerprint_changes_with_the_code_of_a_projection(dots, tiny, tmp_path):
    fingerprints: list[str] = []
    for factor in (2, 2, 3):
        path = tmp_path / f"own{len(fingerprints)}.py"
        path.write_text(OWN.format(factor=factor))
        (only,) = plan(dots, tiny, (f"{path}:swish2",))
        fingerprints.append(only.network_fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_an_unknown_name_in_a_grid_raises_with_its_field(dots, tiny):
    expected = r"^config\.model\.projection='tanh': expected FILE\.py:FUNCTION or one of linear, "
    with pytest.raises(ValueError, match=expected):
        plan(dots, tiny, ("linear", "tanh"))


def test_a_projection_of_a_users_file_is_saved_loaded_and_exported(own, tiny, tmp_path):
    spec = presets.build(tiny, projection=f"{own}:swish2")
    variables = initialise(spec, seed=3)
    names = tuple(map(str, range(10)))
    saved = trained.Trained(spec, variables, names, "symmetric", 1.0)
    trained.save(tmp_path / trained.FILE, saved)
    loaded = trained.load(tmp_path / trained.FILE)
    assert loaded.spec == spec
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    logits = prediction.logits(loaded)(images)
    linear = dataclasses.replace(loaded, spec=presets.build(tiny))
    assert np.abs(logits - prediction.logits(linear)(images)).max() > 1e-4
    exported = jax.export.deserialize(bytearray(prediction.export(loaded)))
    np.testing.assert_allclose(exported.call(images), logits, rtol=1e-5, atol=1e-6)


GRID = """

def get_grid():
    return axis("model.projection", ("linear", "leaky_relu", "{own}:swish2"))

def get_claims():
    return [greater("own", "", "Swish is better.", "model.projection", "{own}:swish2", "linear")]
"""


@pytest.mark.slow
def test_an_experiment_compares_clips_and_functions(own, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(small.CONFIG.replace("epochs = 3", "epochs = 1") + GRID.format(own=own))
    workdir = tmp_path / "work"
    status, out, err = commands.run("ablate", f"--config={config}", f"--workdir={workdir}")
    assert status == 0, out + err
    lanes = {row["projection"]: row["lanes"] for row in small.rows_of(workdir)}
    assert lanes == {"linear": "2", "leaky_relu": "2", f"{own}:swish2": "1"}
    assert len(set(small.curves_of(workdir).values())) == 3
    assert "Swish is better" in (workdir / "report.html").read_text()
    own.write_text(OWN.format(factor=3))
    status, _, err = commands.run("ablate", f"--config={config}", f"--workdir={workdir}")
    assert status != 0
    assert f"1 runs there (inverted_residual, projection {own}:swish2) were trained by other" in err
    assert f"or projection '{own}:swish2'" in err


# Recorded when every projection was a clip without slope, with jax 0.10.2.
FINGERPRINTS = {"digits": "781022ed0f4a", "small_32px": "064a1a9729d2"}


@pytest.mark.skipif(jax.__version__ != "0.10.2", reason="other versions print jaxprs differently")
@pytest.mark.parametrize("preset", FINGERPRINTS)
def test_networks_of_finished_runs_keep_their_fingerprints(dots, preset):
    config = digits.get_config()
    config.model.preset = preset
    spec = presets.build(preset, projection="relu6", shortcut="none")
    (only,) = cohort.plan([config], lambda _: dots)
    kept = dataclasses.replace(only, program=dataclasses.replace(only.program, spec=spec))
    assert kept.network_fingerprint == FINGERPRINTS[preset]
