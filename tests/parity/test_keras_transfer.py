"""Transfer of a base that Keras wrote, on a folder of images of two classes."""

import collections
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from configs import transfer
from mnv2_jax.ablation import cohort, grid, phases
from mnv2_jax.ablation.pretrained import PretrainedLoader, PretrainedWeights
from mnv2_jax.data import augment, stream
from mnv2_jax.nn import trained
from mnv2_jax.train import prediction
from mnv2_jax.train.tuning import Tuning
from tests import commands
from tests.parity import compare

pytestmark = [
    pytest.mark.slow,
    # Keras's variables do not know NumPy 2's argument of __array__.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]

SETTINGS = {
    "seed": 0,
    "data.resolution": 64,
    "model.width": 0.35,
    "train.epochs": 2,
    "train.batch_size": 4,
    "train.evaluation_batch_size": 4,
    "extraction.train.epochs": 2,
}
TUNED = {"block_15", "block_16", "block_17", "head", "head_norm", "classifier"}
"""The modules that fine-tuning trains: those of the last three blocks, and after them."""


@pytest.fixture(scope="module")
def model(keras):
    """A base of random weights and running moments."""
    model = keras.applications.MobileNetV2(
        (64, 64, 3), 0.35, include_top=False, pooling="avg", weights=None
    )
    generator = np.random.default_rng(1)
    model.set_weights([compare.random_weights(w.path, w.shape, generator) for w in model.weights])
    return model


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    """Files of the base in both layouts of Keras, by their suffix."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {suffix: folder / f"base{suffix}" for suffix in (".h5", ".weights.h5")}
    model.save(paths[".h5"])
    model.save_weights(paths[".weights.h5"])
    return paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of two classes, wider than high."""
    images = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 4)):
        for name, colour in (("blue", (10, 40, 180)), ("red", (180, 90, 10))):
            folder = images / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 75, (72, 90, 3)) + colour
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return images


def planned(given, photos):
    """The cohorts of `experiments.finetune` for `SETTINGS`."""
    argument = f"folder,{photos}/"
    config = transfer.get_config(argument)
    config.update_from_flattened_dict(SETTINGS)
    configs = grid.expand(config, transfer.get_grid(argument), SETTINGS)
    for one in configs:
        given.settle(one, channels=3)
    return cohort.plan(phases.runs(configs, given.identity))


def finetune(weights, photos, workdir, *others):
    return commands.run(
        "finetune",
        f"--config=configs/transfer.py:folder,{photos}/",
        f"--pretrained={weights}",
        f"--workdir={workdir}",
        *(f"--config.{path}={value}" for path, value in SETTINGS.items()),
        *others,
    )


def features_of(keras, model, pixels):
    """Keras's features of images, uint8 `[count, height, width, 3]`."""
    scaled = keras.applications.mobilenet_v2.preprocess_input(pixels.astype(np.float32))
    return model.predict_on_batch(scaled)


def with_head(keras, features, head):
    """Logits of a classifier of ours on features of Keras, by Keras."""
    dense = keras.layers.Dense(1)
    dense.build(features.shape)
    dense.set_weights([head["kernel"], head["bias"]])
    return np.asarray(dense(features))


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_before_the_first_step_logits_are_those_of_keras(
    keras, model, weights, photos, tmp_path, report, suffix
):
    given = PretrainedWeights.open(weights[suffix])
    layout = "legacy HDF5" if suffix == ".h5" else ".weights.h5"
    assert (given.source, given.conventions) == (f"Keras ({layout})", "keras")
    extraction, _ = planned(given, photos)
    program, (run,) = extraction.program, extraction.runs
    assert program.tuning == Tuning("classifier", "inference")
    drawn = program.initialise(0)
    state = program.begin(drawn, PretrainedLoader(tmp_path, given).load(run, extraction))
    variables = state.variables.tree
    arrays, _ = stream.read(extraction.dataset.train, print)
    pixels, labels = arrays.images, arrays.labels
    assert (pixels.shape, pixels.dtype.name) == ((12, 64, 64, 3), "uint8")
    features = features_of(keras, model, pixels)
    theirs = with_head(keras, features, variables["params"]["classifier"])

    apply = jax.jit(functools.partial(program.network.apply, knobs=run.values.knobs))
    images = augment.scale(jnp.asarray(pixels), program.scaling)
    ours = apply(variables, images)
    assert report("logits", compare.worst(ours, theirs)) < 1e-4
    # Images, scaling and running moments make a difference.
    assert theirs.std() > 0.1 * np.abs(theirs).max()
    wrong = apply(variables, augment.scale(jnp.asarray(pixels), "imagenet"))
    assert compare.worst(wrong, theirs) > 0.1
    fresh = drawn.variables.tree["batch_stats"]
    wrong = apply({**variables, "batch_stats": fresh}, images)
    assert compare.worst(wrong, theirs) > 0.1
    # A run is evaluated by the same logits: one for two classes, the second's.
    counted = np.ones(12, np.float32)
    sums, _ = jax.jit(program.evaluate)(state.evaluated, run.values, counted, pixels, labels)
    losses = np.logaddexp(0, np.where(labels == 1, -1, 1) * theirs[:, 0])
    assert report("loss", compare.worst(sums["loss"], losses.sum())) < 1e-4


@pytest.fixture(scope="module")
def done(weights, photos, tmp_path_factory):
    """The folders of the command's two runs, by their phase."""
    workdir = tmp_path_factory.mktemp("transfer") / "work"
    status, out, err = finetune(weights[".weights.h5"], photos, workdir)
    assert status == 0, err
    assert "2 runs trained, 0 failed" in out
    found = {}
    for folder in workdir.glob("runs/*"):
        found[json.loads((folder / "config.json").read_text())["transfer"]["phase"]] = folder
    assert set(found) == {"extraction", "finetuning"}
    return found


def test_the_command_trains_what_was_compared(weights, photos, done):
    cohorts = planned(PretrainedWeights.open(weights[".weights.h5"]), photos)
    expected = [run.id for part in cohorts for run in part.runs]
    assert [done[phase].name for phase in ("extraction", "finetuning")] == expected
    for folder in done.values():
        settings = json.loads((folder / "config.json").read_text())
        assert settings["data"]["scaling"] == "symmetric"
        assert settings["model"]["conventions"] == "keras"
        network = trained.load(folder / trained.FILE)
        assert (network.scaling, network.spec.classes) == ("symmetric", 1)
        assert network.class_names == ("blue", "red")
        assert network.spec.conventions.padding == "SAME"


def test_frozen_means_frozen(model, done):
    extraction, finetuning = (
        traverse_util.flatten_dict(trained.load(done[phase] / trained.FILE).variables)
        for phase in ("extraction", "finetuning")
    )
    base = [leaf for path, leaf in extraction.items() if path[1] != "classifier"]
    # Keras's arrays have axes of length 1 beside ours, and the same bytes.
    assert collections.Counter(leaf.tobytes() for leaf in base) == collections.Counter(
        values.tobytes() for values in model.get_weights()
    )
    same = {path for path in extraction if np.array_equal(extraction[path], finetuning[path])}
    frozen = {path for path in extraction if path[0] == "batch_stats" or path[1] not in TUNED}
    assert same == frozen
    assert {path[0] for path in frozen} == {"params", "batch_stats"}


def test_the_trained_head_on_features_of_keras_predicts_what_we_do(
    keras, model, weights, photos, done, report
):
    network = trained.load(done["extraction"] / trained.FILE)
    extraction, _ = planned(PretrainedWeights.open(weights[".weights.h5"]), photos)
    arrays, _ = stream.read(extraction.dataset.test, print)
    features = features_of(keras, model, arrays.images)
    theirs = with_head(keras, features, network.variables["params"]["classifier"])
    logits = prediction.logits(network)(arrays.images)
    assert report("logits", compare.worst(logits, theirs)) < 1e-4
    red = prediction.probabilities(logits)[:, 1]
    assert report("probability", np.abs(red - 1 / (1 + np.exp(-theirs[:, 0]))).max()) < 1e-4
    measured = json.loads((done["extraction"] / "result.json").read_text())
    hits = (theirs[:, 0] > 0) == (arrays.labels == 1)
    assert measured["test_accuracy"] == hits.mean()


@pytest.mark.parametrize(
    ("change", "right"),
    [("data.scaling=imagenet", "symmetric"), ("model.conventions=torchvision", "keras")],
)
def test_other_scaling_and_conventions_are_refused(weights, photos, tmp_path, change, right):
    path, workdir = weights[".weights.h5"], tmp_path / "work"
    status, _, err = finetune(path, photos, workdir, f"--config.{change}")
    field, _, wish = change.partition("=")
    (line,) = err.splitlines()
    assert (status, line) == (
        2,
        f"python -m experiments.finetune: --pretrained={path}: it was trained (Keras "
        f"(.weights.h5)) with config.{field}={right!r}, not {wish!r}; expected these fields left "
        f"out: they are taken from it",
    )
    assert not workdir.exists()
