"""Given weights: where they come from, which configs and networks they fit."""

import dataclasses
import shutil

import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.ablation import bases, phases
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
    "projection_slope": 0.5,
    "shortcut_weight": 0.5,
}
OF_CONVENTIONS = {"padding": "SAME", "norm_epsilon": 1e-3}
"""For each field a value that makes it another base."""


@pytest.mark.parametrize(
    ("kind", "fields", "free"),
    [
        (arch.NetworkSpec, OF_NETWORK, {"blocks", "classes", "conventions", "in_channels"}),
        (arch.BlockSpec, OF_BLOCK, {"projection_bias"}),
        (arch.Conventions, OF_CONVENTIONS, {"norm_momentum", "dropout", "initializer"}),
    ],
)
def test_every_field_is_compared(kind, fields, free):
    assert {field.name for field in dataclasses.fields(kind)} == fields.keys() | free


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field, value)
        for fields in (OF_NETWORK, OF_BLOCK, OF_CONVENTIONS)
        for field, value in fields.items()
    ],
)
def test_a_base_of_another_network_is_refused(ours, spec, field, value):
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
    where = " in block 2" if field in OF_BLOCK else ""
    assert refusal(PretrainedWeights.open(ours).start, wanted) == (
        f"{ours}: what was trained there has {field} {there!r}, not {value!r}{where}; expected a "
        f"config of that network"
    )


def test_a_base_of_another_depth_or_for_other_images_is_refused(ours, spec):
    shallow = dataclasses.replace(spec, blocks=spec.blocks[:2])
    assert refusal(PretrainedWeights.open(ours).start, shallow) == (
        f"{ours}: what was trained there has 3 blocks, not 2; expected a config of that network"
    )
    coloured = dataclasses.replace(spec, in_channels=3)
    assert refusal(PretrainedWeights.open(ours).start, coloured) == (
        f"{ours}: what was trained there has in_channels 1, not 3; expected a config of that "
        f"network"
    )


def test_all_differences_are_named_at_once(spec):
    first, *others = spec.blocks
    changed = [dataclasses.replace(block, projection="relu6", stride=1) for block in others]
    wanted = dataclasses.replace(spec, blocks=(first, *changed), resolution=16)
    assert bases.differences(spec, wanted) == [
        "resolution 8, not 16",
        "projection 'linear', not 'relu6' in blocks 2 to 3",
        *(
            f"stride {block.stride}, not 1 in block {number}"
            for number, block in enumerate(others, start=2)
            if block.stride != 1
        ),
    ]
    assert bases.differences(spec, spec) == []


def settled(given, said=(), channels=1, **changes):
    """Scaling and conventions of a config after `settle`."""
    wanted = config(**changes)
    given.settle(wanted, channels, said)
    return wanted.data.scaling, wanted.model.conventions


WEIGHTS = {"data__scaling": "weights", "model__conventions": "weights"}


@pytest.mark.parametrize("layout", OTHERS)
def test_a_config_follows_weights_of_others(tmp_path, layout):
    path = layouts.write(layout, tmp_path / "weights")
    given = PretrainedWeights.open(path)
    source, conventions, scaling = OTHERS[layout]
    others = {"data__scaling": "unit", "model__conventions": "default", "model__projection": "relu"}
    # Whatever the resolution is: it is no weight.
    for changes in (WEIGHTS, others, {**others, "data__resolution": 64}):
        assert settled(given, **changes) == (scaling, conventions)
    said = ("data.scaling", "model.conventions", "model.projection")
    assert refusal(lambda: settled(given, said, **others)) == (
        f"pretrained={path}: it was trained ({source}) with config.data.scaling={scaling!r}, "
        f"config.model.conventions={conventions!r}, config.model.projection='linear', not 'unit', "
        f"'default', 'relu'; expected these fields left out: they are taken from it"
    )
    # What is said and right is no difference.
    named = {"data__scaling": scaling, "model__conventions": conventions}
    assert settled(given, said, **named) == (scaling, conventions)


def test_a_config_names_the_scaling_of_an_export_which_does_not(export):
    given = PretrainedWeights.open(export[0])
    for scaling in ("symmetric", "imagenet"):
        changes = {**WEIGHTS, "data__scaling": scaling}
        assert settled(given, **changes) == (scaling, "slim")
    message = refusal(lambda: settled(given, **WEIGHTS))
    assert message.startswith("config.data.scaling='weights': ")
    assert message.endswith(" does not tell it; expected one of symmetric, imagenet")


def test_weights_of_a_training_that_diverged_are_no_base(spec, tmp_path):
    path = tmp_path / trained.FILE
    network = random_network(spec)
    kernel = network.variables["params"]["head"]["kernel"]
    network.variables["params"]["head"]["kernel"] = np.full_like(kernel, np.nan)
    trained.save(path, network)
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        PretrainedWeights.open(path).start(spec)
    assert str(caught.value).startswith(f"{path}: params/head/kernel holds numbers that are not ")


def test_a_config_follows_a_network_of_ours(ours, spec):
    """Its model, and the size, channels and scaling of its images."""
    given = PretrainedWeights.open(ours)
    others = {
        "data__scaling": "symmetric",
        "data__resolution": 224,
        "model__preset": "mobilenet_v2",
        "model__width": 1.4,
        "model__expansion": 6.0,
        "model__conventions": "keras",
        "model__projection": "relu",
        "model__shortcut": "none",
    }
    wanted = config(**others)
    taken = given.settle(wanted, channels=3)
    assert taken == {
        "data.scaling": "imagenet",
        "data.resolution": 8,
        "data.channels": 1,
        "model.preset": "tiny",
        "model.width": 1.0,
        "model.expansion": 2.0,
        "model.conventions": "torchvision",
        "model.projection": "linear",
        "model.shortcut": "bottleneck",
    }
    built = presets.build(**wanted.model.to_dict(), resolution=8, in_channels=1, classes=7)
    assert bases.differences(spec, built) == []
    assert given.settle(wanted, channels=3) == {}
    message = refusal(
        lambda: given.settle(config(**others), 3, ("model.preset", "data.resolution", "seed"))
    )
    assert message == (
        f"pretrained={ours}: it was trained (mnv2_jax) with config.data.resolution=8, "
        f"config.model.preset='tiny', not 224, 'mobilenet_v2'; expected these fields left "
        f"out: they are taken from it"
    )


def test_a_model_that_is_said_in_other_words_is_the_same_network(ours):
    # At this divisor, the width changes no channel; and the conventions differ in momentum alone.
    changes = {"model__width": 1.01, **WEIGHTS}
    given = PretrainedWeights.open(ours)
    wanted = config(**changes)
    given.settle(wanted, 1, ("model.width",))
    assert wanted.model.width == 1.01


def test_a_network_that_no_preset_builds_needs_its_config(spec, tmp_path):
    first, *others = spec.blocks
    odd = dataclasses.replace(spec, blocks=(dataclasses.replace(first, kernel_size=7), *others))
    path = tmp_path / trained.FILE
    trained.save(path, random_network(odd))
    given = PretrainedWeights.open(path)
    assert refusal(lambda: settled(given, **WEIGHTS)) == (
        f"pretrained={path}: no preset known here builds its network; expected a config file that "
        f"registers its preset, or sets config.model as it was trained"
    )
    assert "kernel_size 7, not 3 in block 1" in refusal(given.start, spec)


def test_conventions_of_ours_are_named_whatever_their_dropout_is(spec, tmp_path):
    path = tmp_path / trained.FILE
    ways = dataclasses.replace(spec.conventions, dropout=0.4)
    trained.save(path, random_network(dataclasses.replace(spec, conventions=ways)))
    assert settled(PretrainedWeights.open(path), **WEIGHTS) == ("imagenet", "torchvision")
    ways = dataclasses.replace(spec.conventions, norm_momentum=0.5)
    trained.save(path, random_network(dataclasses.replace(spec, conventions=ways)))
    message = refusal(lambda: settled(PretrainedWeights.open(path), **WEIGHTS))
    assert ": no preset known here builds its network; " in message
