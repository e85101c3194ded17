import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnv2_jax.train import optimizers, recipe, recipes
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.state import Packed


def made(**changes):
    return Recipe(**{"epochs": 10, "batch_size": 8, "evaluation_batch_size": 8, **changes})


def published(name):
    """A published recipe, with the epochs that its source leaves open, and its lane values."""
    fields = {"epochs": 400, "evaluation_batch_size": 8, **recipes.RECIPES[name]}
    lane = {key: fields.pop(key) for key in ("learning_rate", "weight_decay", "label_smoothing")}
    return Recipe(**fields), lane


RMSPROP = {"optimizer": "rmsprop", "nesterov": False, "b2": 0.9, "epsilon": 1.0}
ADAMW = {"optimizer": "adamw", "nesterov": False, "b2": 0.999, "epsilon": 1e-8}


def cosine(share):
    return 0.5 * (1 + np.cos(np.pi * share))


# With 100 steps per epoch: the learning rate at some steps, by the formula of its source.
SCHEDULES = {
    # 0.045, times 0.98 per epoch.
    "paper": {0: 0.045, 99: 0.045, 100: 0.045 * 0.98, 39_950: 0.045 * 0.98**399},
    # Times 0.98 per 2.5 epochs, in steps.
    "slim": {0: 0.045, 249: 0.045, 250: 0.045 * 0.98, 10_000: 0.045 * 0.98**40},
    "torchvision_v1": {0: 0.045, 100: 0.045 * 0.98, 29_999: 0.045 * 0.98**299},
    # Rising over 5 epochs, then half a cosine over the other 595.
    "torchvision_v2": {
        0: 0.001,
        249: 0.25,
        499: 0.5,
        500: 0.5,
        30_250: 0.25,
        45_125: 0.5 * cosine(0.75),
    },
    "sgd_cosine": {
        0: 0.1 / 500,
        499: 0.1,
        500: 0.1,
        6_250: 0.05,
        11_999: 0.1 * cosine(11499 / 11500),
    },
    "adamw": {0: 2e-6, 499: 1e-3, 15_250: 5e-4},
}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_published_recipes_are_complete_and_have_their_schedules(name):
    missing = set(Recipe.__dataclass_fields__) - set(recipes.RECIPES[name])
    assert missing <= {"epochs", "evaluation_batch_size"}
    parts, lane = published(name)
    assert lane.keys() == {"learning_rate", "weight_decay", "label_smoothing"}
    schedule = recipe.schedule(parts, lane["learning_rate"], 100)
    for step, expected in SCHEDULES[name].items():
        assert float(schedule(step)) == pytest.approx(expected, rel=2e-5, abs=1e-8), step


def follow(parts, gradients, rate, decay, decayed, start):
    """The parameters after each step of the recipe's optimizer, with 10 steps per epoch."""
    optimizer = recipe.optimizer(parts, rate, decay, Packed.pack(decayed), 10)
    x = jnp.asarray(start, jnp.float32)
    state = optimizer.init(x)
    found = []
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, x)
        x = optax.apply_updates(x, updates)
        found.append(np.asarray(x))
    return np.array(found)


START = np.array([1.0, 2.0])
DECAYED = np.array([0.0, 1.0], np.float32)
GRADIENTS = np.array([[0.3, -0.2], [0.3, -0.2], [-0.1, 0.4]])


def test_sgd_is_nesterovs_momentum_with_decay_where_it_applies():
    x, velocity, expected = START, np.zeros(2), []
    for step, gradient in enumerate(GRADIENTS):
        pull = gradient + 0.5 * DECAYED * x
        velocity = 0.9 * velocity + pull
        x = x - 0.1 * cosine(step / 100) * (pull + 0.9 * velocity)
        expected.append(x)
    found = follow(made(), GRADIENTS, 0.1, 0.5, DECAYED, START)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rmsprop_is_tensorflows():
    # tf.compat.v1.train.RMSPropOptimizer: slots `rms` of ones and `momentum` of zeros.
    x, squares, momentum, expected = START, np.ones(2), np.zeros(2), []
    for step, gradient in enumerate(GRADIENTS):
        pull = gradient + 0.5 * DECAYED * x
        squares = 0.9 * squares + 0.1 * pull**2
        momentum = 0.8 * momentum + 0.1 * cosine(step / 100) * pull / np.sqrt(squares + 1.0)
        x = x - momentum
        expected.append(x)
    found = follow(made(**RMSPROP, momentum=0.8), GRADIENTS, 0.1, 0.5, DECAYED, START)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_adamws_decay_is_decoupled():
    x, first, second, expected = START, np.zeros(2), np.zeros(2), []
    for step, gradient in enumerate(GRADIENTS):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scaled = first / (1 - 0.9 ** (step + 1))
        scaled = scaled / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        x = x - 0.1 * cosine(step / 100) * (scaled + 0.5 * DECAYED * x)
        expected.append(x)
    found = follow(made(**ADAMW), GRADIENTS, 0.1, 0.5, DECAYED, START)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    plain = made(momentum=0.0, nesterov=False)
    clipped = made(momentum=0.0, nesterov=False, clip=1.0)
    gradients = np.array([[3.0, -4.0]])  # Of norm 5.
    steps = [
        follow(parts, gradients, 0.1, 0.0, DECAYED, START) - START for parts in (plain, clipped)
    ]
    np.testing.assert_allclose(steps[1], steps[0] / 5, rtol=1e-5)
    # Decay is no part of the gradient that is clipped.
    decayed = follow(clipped, 0 * gradients, 0.1, 30.0, DECAYED, START) - START
    np.testing.assert_allclose(decayed, [[0.0, -6.0]], rtol=1e-5)


PARAMS = {
    "expand": {"kernel": np.zeros((4, 8))},
    "expand_norm": {"scale": np.zeros(8), "bias": np.zeros(8)},
    "depthwise": {"kernel": np.zeros((3, 3, 8))},
    "stem": {"kernel": np.zeros((3, 3, 1, 4))},
    "classifier": {"kernel": np.zeros((8, 10)), "bias": np.zeros(10)},
}


@pytest.mark.parametrize(
    ("decayed", "spared"),
    [
        ("all", []),
        ("not_norm", ["expand_norm/scale", "expand_norm/bias"]),
        ("kernels", ["expand_norm/scale", "expand_norm/bias", "classifier/bias"]),
        (
            "not_depthwise",
            ["expand_norm/scale", "expand_norm/bias", "classifier/bias", "depthwise/kernel"],
        ),
    ],
)
def test_masks_of_weight_decay(decayed, spared):
    mask = optimizers.decay_mask(PARAMS, decayed)
    assert jax.tree.map(np.shape, mask) == jax.tree.map(np.shape, PARAMS)
    values = {
        jax.tree_util.keystr(path, simple=True, separator="/"): set(leaf.ravel().tolist())
        for path, leaf in jax.tree_util.tree_leaves_with_path(mask)
    }
    assert {path for path, value in values.items() if value == {0.0}} == set(spared)
    assert all(value in ({0.0}, {1.0}) for value in values.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0: expected a whole number, 1 or more"),
        ({"batch_size": -4}, "batch_size=-4: expected a whole number, 1 or more"),
        ({"momentum": 1.0}, "momentum=1.0: expected 0 or more, below 1"),
        (
            {"compute_dtype": "float16"},
            "compute_dtype='float16': expected one of float32, bfloat16",
        ),
        (
            {"optimizer": "lars"},
            "optimizer='lars': expected FILE.py:FUNCTION or one of sgd, rmsprop, adamw",
        ),
        ({"schedule": "step"}, "schedule='step': expected one of cosine, exponential"),
        (
            {"weight_decay_mask": "some"},
            "weight_decay_mask='some': expected one of all, not_norm, kernels, not_depth",
        ),
        ({"grad_accum_steps": 3}, "grad_accum_steps=3: expected a divisor of the batch size, 8"),
        ({"warmup_epochs": 10.0}, "warmup_epochs=10.0: expected 0 or more, below epochs=10"),
        ({"ema": 1.0}, "ema=1.0: expected 0 or more, below 1"),
        ({"clip": -1.0}, "clip=-1.0: expected 0 or more"),
        # With a field without effect, an axis would compare a run with itself.
        ({"epsilon": 1.0}, "epsilon=1.0: expected 0.0, since sgd does not read it"),
        (
            {**ADAMW, "nesterov": True},
            "nesterov=True: expected False, since adamw does not read it",
        ),
        ({**RMSPROP, "epsilon": 0.0}, "epsilon=0.0: expected above 0 for rmsprop"),
        ({"decay_rate": 0.9}, "decay_rate=0.9: expected 0, since cosine does not read it"),
        ({"schedule": "exponential"}, "decay_rate=0.0: expected above 0 for the exponential sched"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        made(**change)
