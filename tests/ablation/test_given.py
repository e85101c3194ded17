"""Given weights: where they come from, which configs and networks they fit."""

import dataclasses
import shutil

import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.ablation import phases
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.nn import pretrained, trained
from tests.ablation.bases import assert_is_base_of, config, random_network, refusal
from tests.nn import layouts


def test_a_network_of_ours_is_found_by_its_file_its_run_or_its_experiment(ours, spec):
    of_file, of_run, of_experiment = map(
        PretrainedWeights.open, (ours, ours.parent, ours.parents[2])
    )
    for given in (of_file, of_run, of_experiment):
        assert given.path == ours
        assert (given.source, given.conventions, given.scaling) == ("mnv2_jax", "", "imagenet")
        assert given.network is not None
        assert given.network.spec == spec
    assert of_file.identity == of_run.identity == of_experiment.identity


def test_a_base_is_identified_by_its_content(ours, spec, tmp_path):
    elsewhere = tmp_path / "copy.safetensors"
    shutil.copy(ours, elsewhere)
    assert PretrainedWeights.open(elsewhere).identity == PretrainedWeights.open(ours).identity
    trained.save(elsewhere, random_network(spec, seed=1))
    assert PretrainedWeights.open(elsewhere).identity != PretrainedWeights.open(ours).identity


def narrow(conventions="default"):
    """The network of the weights of `tests.nn.layouts`, but for three classes instead of five."""
    return presets.build(
        "mobilenet_v2", width=0.35, resolution=32, classes=3, conventions=conventions
    )


OTHERS = {
    "torchvision": ("torchvision", "torchvision", "imagenet"),
    "timm": ("timm", "torchvision", "imagenet"),
    "keras-legacy": ("Keras (legacy HDF5)", "keras", "symmetric"),
    "keras-3": ("Keras (.weights.h5)", "keras", "symmetric"),
}
"""The library of weights, their conventions, and the scaling of images."""


@pytest.mark.parametrize("layout", OTHERS)
def test_weights_of_others_tell_conventions_and_scaling(tmp_path, layout):
    given = PretrainedWeights.open(layouts.write(layout, tmp_path / "weights"))
    assert (given.source, given.conventions, given.scaling) == OTHERS[layout]
    assert given.network is None
    assert_is_base_of(given.start(narrow()), layouts.variables())


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """The file of an export of ours, and its variables."""
    path = tmp_path_factory.mktemp("export") / "weights.safetensors"
    network = random_network(narrow("slim"))
    pretrained.save(path, network.spec, network.variables)
    return path, network.variables


def test_an_export_of_ours_tells_conventions_alone(export):
    path, variables = export
    given = PretrainedWeights.open(path)
    assert (given.source, given.conventions, given.scaling) == ("mnv2_jax", "slim", "")
    assert_is_base_of(given.start(narrow("slim")), variables)


def test_what_holds_no_network_is_refused(ours, tmp_path):
    missing = tmp_path / "missing"
    assert refusal(PretrainedWeights.open, missing).startswith(
        f"{missing}: no such file or folder; "
    )
    missing = tmp_path / "missing.h5"
    message = refusal(PretrainedWeights.open, missing)
    assert message.startswith(f"{missing}: no such file or folder; ")
    assert message.endswith(f"; or {phases.BASES}")
    text = tmp_path / "weights.txt"
    text.write_text("weights")
    assert refusal(PretrainedWeights.open, text).startswith(
        f"{text}: expected a file ending in .safetensors, "
    )
    assert refusal(PretrainedWeights.open, tmp_path).startswith(
        f"{tmp_path}: no runs are there; expected "
    )
    damaged = bytearray(ours.read_bytes())
    damaged[-1] ^= 1
    ours.write_bytes(damaged)
    assert refusal(PretrainedWeights.open, ours).startswith(f"{ours}: damaged, ")


def test_a_base_of_ours_is_started_from_with_other_classes(ours, spec):
    given = PretrainedWeights.open(ours)
    ways = arch.Conventions("SYMMETRIC", 0.5, 1e-5, 0.1, "he_normal")
    # None of this changes what features are.
    wanted = dataclasses.replace(spec, classes=3, conventions=ways)
    assert_is_base_of(given.start(wanted), trained.load(ours).variables)


OF_NETWORK = {
    "resolution": 16,
    "stem_channels": 8,
    "stem_stride": 1,
    "head_channels": 0,
}
OF_BLOCK = {
    "block": "sandglass",
    "out_channels": 8,
    "stride": 2,
    "expansion": 3.0,
    "kernel_size": 5,
    "projection": "relu6",
    "projection_placement": "after",
    "shortcut": "none",
    "activation": "silu",
    "spatial_conv": "standard",
    "squeeze_excite": True,
    "divisor": 8,
}
OF_CONVENTIONS = {"padding": "SAME", "norm_epsilon": 1e-3}
"""For each field a value that makes it another base."""


@pytest.mark.parametrize(
    ("kind", "fields", "free"),
    [
        (arch.NetworkSpec, OF_NETWORK, {"blocks", "classes", "conventions", "in_channels"}),
        (arch.BlockSpec, OF_BLOCK, set()),
        (arch.Conventions, OF_CONVENTIONS, {"norm_momentum", "dropout", "initializer"}),
    ],
)
def test_every_field_is_compared(kind, fields, free):
    assert {field.name for field in dataclasses.fields(kind)} == fields.keys() | free


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [
        (what, field, value)
        for what, fields in (
            ("the network that was", OF_NETWORK),
            ("block_02 that was", OF_BLOCK),
            ("the conventions of what was", OF_CONVENTIONS),
        )
        for field, value in fields.items()
    ],
)
def test_a_base_of_another_network_is_refused(ours, spec, what, field, value):
    first, second, third = spec.blocks
    if field in OF_BLOCK:
        there = getattr(second, field)
        changed = dataclasses.replace(second, **{field: value})
        wanted = dataclasses.replace(spec, blocks=(first, changed, third))
    elif field in OF_CONVENTIONS:
        there = getattr(spec.conventions, field)
        ways = dataclasses.replace(spec.conventions, **{field: value})
        wanted = dataclasses.replace(spec, conventions=ways)
    else:
        there = getattr(spec, field)
        wanted = dataclasses.replace(spec, **{field: value})
    assert there != value
    assert refusal(PretrainedWeights.open(ours).start, wanted) == (
        f"{ours}: {field}={there!r} in {what} trained there, {value!r} in the config's: expected "
        f"the same, as --config.model sets it"
    )


def test_a_base_of_another_depth_or_for_other_images_is_refused(ours, spec):
    shallow = dataclasses.replace(spec, blocks=spec.blocks[:2])
    assert refusal(PretrainedWeights.open(ours).start, shallow) == (
        f"{ours}: a network of 3 blocks; the config's has 2: expected the model that was trained "
        f"there"
    )
    coloured = dataclasses.replace(spec, in_channels=3)
    assert refusal(PretrainedWeights.open(ours).start, coloured) == (
        f"{ours}: a network for images of 1 channels; those of the config's data set have 3: "
        f"expected a data set of such images"
    )


def settled(given, **changes):
    """Scaling and conventions of a config after `settle`."""
    wanted = config(**changes)
    given.settle(wanted)
    return wanted.data.scaling, wanted.model.conventions


WEIGHTS = {"data__scaling": "weights", "model__conventions": "weights"}


@pytest.mark.parametrize("layout", OTHERS)
def test_a_config_follows_weights_of_others_or_is_refused(tmp_path, layout):
    path = layouts.write(layout, tmp_path / "weights")
    given = PretrainedWeights.open(path)
    source, conventions, scaling = OTHERS[layout]
    named = {"data__scaling": scaling, "model__conventions": conventions}
    # Whatever the resolution is: it is no weight.
    for changes in (WEIGHTS, named, {**named, "data__resolution": 64}):
        assert settled(given, **changes) == (scaling, conventions)
    for field, right, wrong in (
        ("data__scaling", scaling, "unknown"),
        ("data__scaling", scaling, {"symmetric": "imagenet"}.get(scaling, "symmetric")),
        ("model__conventions", conventions, "default"),
    ):
        with pytest.raises(ValueError, match=r"^.+$") as caught:
            settled(given, **{**WEIGHTS, field: wrong})
        assert str(caught.value) == (
            f"config.{field.replace('__', '.')}={wrong!r}: {path} ({source}) goes with {right!r}; "
            f"expected that, or 'weights'"
        )


def test_a_config_names_the_scaling_of_an_export_which_does_not(export):
    given = PretrainedWeights.open(export[0])
    for scaling in ("symmetric", "imagenet"):
        changes = {**WEIGHTS, "data__scaling": scaling}
        assert settled(given, **changes) == (scaling, "slim")
    with pytest.raises(ValueError, match=r"^config\.data\.scaling='weights': .* imagenet$"):
        settled(given, **WEIGHTS)


def test_weights_of_a_training_that_diverged_are_no_base(spec, tmp_path):
    path = tmp_path / trained.FILE
    network = random_network(spec)
    kernel = network.variables["params"]["head"]["kernel"]
    network.variables["params"]["head"]["kernel"] = np.full_like(kernel, np.nan)
    trained.save(path, network)
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        PretrainedWeights.open(path).start(spec)
    assert str(caught.value).startswith(f"{path}: params/head/kernel holds numbers that are not ")


def test_a_config_follows_a_network_of_ours_or_is_refused(ours):
    given = PretrainedWeights.open(ours)
    assert settled(given, **WEIGHTS) == ("imagenet", "torchvision")
    named = {"data__scaling": "imagenet", "model__conventions": "torchvision"}
    assert settled(given, **named) == ("imagenet", "torchvision")
    with pytest.raises(ValueError, match=r"^config\.data\.scaling='symmetric': .*network\.safe.* "):
        settled(given, **{**WEIGHTS, "data__scaling": "symmetric"})
    with pytest.raises(ValueError, match=r"^config\.data\.resolution=16: .* images of 8 pixels"):
        settled(given, **WEIGHTS, data__resolution=16)
    # Conventions of another name may differ in nothing that features depend on: `start` tells.
    assert settled(given, **{**named, "model__conventions": "keras"}) == ("imagenet", "keras")


def test_conventions_of_ours_are_named_whatever_their_dropout_is(spec, tmp_path):
    path = tmp_path / trained.FILE
    ways = dataclasses.replace(spec.conventions, dropout=0.4)
    trained.save(path, random_network(dataclasses.replace(spec, conventions=ways)))
    assert settled(PretrainedWeights.open(path), **WEIGHTS) == ("imagenet", "torchvision")
    ways = dataclasses.replace(spec.conventions, norm_momentum=0.5)
    trained.save(path, random_network(dataclasses.replace(spec, conventions=ways)))
    with pytest.raises(ValueError, match=r"^config\.model\.conventions='weights': .* have no name"):
        settled(PretrainedWeights.open(path), **WEIGHTS)


@pytest.mark.parametrize(
    ("knob", "value"), [("projection", "relu6"), ("shortcut", "none"), ("activation", "silu")]
)
def test_weights_of_others_are_for_the_knobs_they_were_trained_with(tmp_path, knob, value):
    given = PretrainedWeights.open(layouts.write("torchvision", tmp_path / "weights"))
    blocks = tuple(dataclasses.replace(block, **{knob: value}) for block in narrow().blocks)
    other = dataclasses.replace(narrow(), blocks=blocks)
    message = refusal(given.start, other)
    assert f"torchvision trained it with {knob}=" in message
    assert message.endswith(f"expected that of config.model.{knob}, not {value!r}")
