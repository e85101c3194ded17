import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mnv2_jax.analysis.figures.style import (
    PROJECTIONS,
    axis_name,
    full_name,
    looks,
    short_name,
    value_name,
)

# Okabe and Ito 2008, jfly.uni-koeln.de/color: the palette that colour-blind readers tell apart.
OKABE_ITO = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222"}


def grey(colour):
    return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_few_names_differ_in_colour_marker_and_dashes(count):
    found = looks("block", [f"block {number}" for number in range(count)]).values()
    for key in ("color", "marker", "linestyle"):
        assert len({str(look[key]) for look in found}) == count
    assert {look["color"] for look in found} <= OKABE_ITO


@pytest.mark.parametrize("values", [[f"v{n}" for n in range(40)], list(map(float, range(40)))])
def test_no_two_of_many_look_the_same(values):
    found = [tuple(map(str, look.values())) for look in looks("axis", values).values()]
    assert len(set(found)) == 40
    assert len({look[1:] for look in found}) == 40  # Marker and dashes: in grey too.


@pytest.mark.parametrize("count", [2, 6, 12])
def test_numbers_darken_as_they_rise(count):
    greys = [grey(look["color"]) for look in looks("expansion", list(range(count))).values()]
    assert greys == sorted(greys, reverse=True)
    assert max(greys) < 0.75  # Pale on white paper.


def test_values_with_names_of_their_own_look_the_same_in_any_company():
    alone = looks("projection", ["relu6"])["relu6"]
    assert looks("projection", [*PROJECTIONS, "new"])["relu6"] == alone
    assert alone != looks("projection", ["new"])["new"]


def test_names():
    assert value_name("projection", "relu6") == "ReLU6"
    assert value_name("expansion", 6.0) == "6"
    assert value_name("model.kind", "") == "not set"
    assert full_name("expansion", 6.0) == "Expansion 6"
    assert full_name("train.learning_rate", 0.1) == "Learning rate 0.1"
    assert full_name("block", "fused") == "fused"


def test_names_of_a_transfer():
    path = "extraction.train.learning_rate"
    assert axis_name(path) == short_name(path) == "Extraction: learning rate"
    assert axis_name("train.learning_rate") == "Learning rate"
    assert full_name(path, 0.1) == "Extraction: learning rate 0.1"
    assert value_name("transfer.phase", "pretraining") == "Pretraining (other classes)"
    assert value_name("transfer.images_per_class", 0) == "all"
    assert value_name("transfer.images_per_class", 10.0) == "10"
    assert value_name("width", 0) == "0"


def test_a_long_name_keeps_both_ends():
    name = value_name("block", "a/very/long/path/to/the/file_of_my_blocks.py:MixedKernels")
    assert len(name) < 40
    assert name.startswith("a/very/long")
    assert name.endswith("blocks.py:MixedKernels")
