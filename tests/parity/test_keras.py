"""Against keras.applications.MobileNetV2, on the JAX backend."""

import h5py
import jax
import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.nn import layers, pretrained
from mnv2_jax.nn.network import Network
from tests.parity import compare

pytestmark = [
    pytest.mark.slow,
    # Keras's variables do not know NumPy 2's argument of __array__.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]


def model_and_spec(keras, alpha, resolution, classes=1000):
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        (resolution, resolution, 3),
        alpha,
        weights=None,
        classes=classes,
        classifier_activation=None,
    )
    spec = presets.build(
        "mobilenet_v2", width=alpha, resolution=resolution, classes=classes, conventions="keras"
    )
    return model, spec


def as_weights_alone(path, out):
    """Reduces a model in the legacy layout to weights, as keras.applications publishes them."""
    with h5py.File(path) as model, h5py.File(out, "w") as weights:
        group = model["model_weights"]
        for name in group:
            group.copy(name, weights)
        for name, value in group.attrs.items():
            weights.attrs[name] = value
    return out


@pytest.mark.parametrize(
    ("alpha", "resolution", "suffix"),
    [
        (0.35, 96, ".weights.h5"),
        (0.35, 97, ".h5"),
        (0.35, 224, ".h5"),
        (1.0, 96, ".h5"),
        (1.0, 224, ".weights.h5"),
        (1.4, 96, ".weights.h5"),
        (1.4, 224, ".h5"),
    ],
)
def test_keras_weights_give_keras_logits(keras, tmp_path, report, alpha, resolution, suffix):
    model, spec = model_and_spec(keras, alpha, resolution)
    generator = np.random.default_rng(1)
    model.set_weights([compare.random_weights(w.path, w.shape, generator) for w in model.weights])
    path = tmp_path / f"model{suffix}"
    if suffix == ".h5":
        model.save(path)
        path = as_weights_alone(path, tmp_path / "weights.h5") if resolution == 96 else path
    else:
        model.save_weights(path)
    loaded = pretrained.load(path, spec, compare.zeros(spec))
    layout = "legacy HDF5" if suffix == ".h5" else ".weights.h5"
    assert loaded.source == f"Keras ({layout})"
    assert (loaded.classifier, loaded.conventions) == ("loaded", "keras")
    images = compare.images_for(spec, 2)
    ours = compare.inference(spec)(loaded.variables, images)
    theirs = model.predict_on_batch(images)
    assert report("logits", compare.worst(ours, theirs)) < 1e-4


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
def test_a_base_inside_a_transfer_model_is_that_of_its_own_file(keras, tmp_path, suffix):
    base = keras.applications.MobileNetV2(
        (96, 96, 3), 0.35, include_top=False, pooling="avg", weights=None
    )
    generator = np.random.default_rng(1)
    base.set_weights([compare.random_weights(w.path, w.shape, generator) for w in base.weights])
    base.save_weights(tmp_path / "base.weights.h5")
    for layer in base.layers[:100]:  # Legacy files list these weights last.
        layer.trainable = False
    model = keras.Sequential(
        [
            keras.Input((96, 96, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            base,
            keras.layers.Dense(10, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    path = tmp_path / f"model{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    spec = presets.build("mobilenet_v2", width=0.35, resolution=96, conventions="keras")
    loaded, alone = (
        pretrained.load(file, spec, compare.zeros(spec))
        for file in (path, tmp_path / "base.weights.h5")
    )
    assert len(loaded.head) == 2
    assert not alone.head
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, alone.variables)


def test_conventions_named_keras_are_those_of_keras(keras):
    model, _ = model_and_spec(keras, 0.35, 96, classes=10)
    ways = arch.CONVENTIONS["keras"]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {
        (ways.norm_momentum, ways.norm_epsilon)
    }
    dropped = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert (len(dropped), ways.dropout) == (0, 0.0)


def test_initial_weights_of_conventions_keras_vary_as_keras_weights(keras, tmp_path, report):
    model, spec = model_and_spec(keras, 1.0, 96)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    theirs = pretrained.load(path, spec, compare.zeros(spec)).variables
    ours = jax.jit(Network(spec).init)(jax.random.key(0), compare.images_for(spec, 1))
    for kind, ratio in compare.initial_deviations(ours, theirs).items():
        report(f"deviation of {kind} over Keras's", ratio)


@pytest.mark.parametrize("size", [2, 8])
def test_running_moments_move_as_in_keras_but_for_the_unbiased_variance(keras, report, size):
    images = np.random.default_rng(0).normal(3, 2, (2, size, size, 5)).astype(np.float32)
    theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    theirs_out = theirs(images, training=True)
    ours = layers.BatchNorm(0.9, 1e-3)
    variables = ours.init(jax.random.key(0), images, train=False)
    out, updated = ours.apply(variables, images, train=True, mutable=["batch_stats"])
    assert report("outputs", compare.worst(out, theirs_out)) < 1e-5
    mean, variance = updated["batch_stats"]["mean"], updated["batch_stats"]["var"]
    assert report("mean", compare.worst(mean, theirs.moving_mean)) < 1e-5
    # Keras 3 keeps the biased variance; PyTorch, and the fused kernels of TensorFlow that slim and
    # Keras 2 use, keep the unbiased one.
    count = 2 * size * size
    biased = 0.9 + (variance - 0.9) * (count - 1) / count
    assert report("biased variance", compare.worst(biased, theirs.moving_variance)) < 1e-5
