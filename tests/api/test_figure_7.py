"""Positive fractions of random and of trained networks."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from mnv2_jax import presets
from mnv2_jax.ablation import grid
from mnv2_jax.analysis import figure_7
from mnv2_jax.api import figure_7 as measure
from mnv2_jax.data import augment, photographs
from mnv2_jax.nn import network, pretrained, trained
from mnv2_jax.nn.positive import positive_fractions


@pytest.fixture
def run(tmp_path, tiny):
    """The folder of a run with a network of digits' shape, without its config."""
    spec = presets.build(tiny)
    names = tuple(map(str, range(10)))
    variables = network.initialise(spec)
    file = tmp_path / trained.FILE
    trained.save(file, trained.Trained(spec, variables, names, "symmetric", 1.0))
    return tmp_path


def tell(lines=None):
    return (lines if lines is not None else []).append


def test_a_trained_network_sees_photographs_where_its_images_are_unknown(run):
    found = measure.trained(run / trained.FILE, tell())
    assert (found.images, found.threshold) == ("8 crops of two photographs", 1 / 6)
    kept = trained.load(run / trained.FILE)
    images = np.asarray(augment.scale(jnp.asarray(photographs.crops(8, 1)), "symmetric"))
    fractions = positive_fractions(kept.spec, kept.variables, images)
    own = [row for row in found.rows if row["moments"] == figure_7.RUNNING]
    assert own == figure_7.rows_of(fractions, figure_7.RUNNING)
    assert len(found.rows) == 2 * len(own)


def test_a_run_sees_its_validation_images(run):
    config = digits.get_config()
    (run / "config.json").write_text(grid.canonical_json(config))
    found = measure.trained(run, tell())
    assert found.images == "64 validation images of digits"


def test_a_data_set_that_is_gone_is_named(run):
    config = digits.get_config()
    config.data.name = "gone/"
    (run / "config.json").write_text(json.dumps(json.loads(grid.canonical_json(config))))
    lines: list[str] = []
    found = measure.trained(run, tell(lines))
    assert found.images == "8 crops of two photographs"
    assert "config.json: its data set cannot be read (" in lines[0]


def test_a_file_that_does_not_tell_the_scaling_is_refused(tmp_path):
    spec = presets.build("mobilenet_v2", conventions="torchvision")
    path = tmp_path / "exported.safetensors"
    pretrained.save(path, spec, network.initialise(spec))
    with pytest.raises(ValueError, match="does not tell the scaling of images"):
        measure.trained(path, tell())


def test_random_networks_are_those_of_the_seeds():
    done: list[int] = []
    found = measure.initial(1, 32, done.append)
    assert done == [1]
    assert [row["expanding_block"] for row in found.rows] == 2 * list(range(1, 17))
    averages = [row["average"] for row in found.rows if row["moments"] == figure_7.BATCH]
    assert averages == pytest.approx([0.5] * 16, abs=0.1)
