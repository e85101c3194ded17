import re

import numpy as np
import pytest

from mnv2_jax.analysis.charts import chart
from mnv2_jax.analysis.charts.hues import FRONT, Hues, looks_of
from mnv2_jax.analysis.names import PROJECTIONS

# Okabe and Ito 2008, jfly.uni-koeln.de/color: the palette that colour-blind readers tell apart.
OKABE_ITO = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d1d1f"}


def in_light(looks):
    return [chart._light()[colour[6:-1]] for colour, _, _ in looks]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_few_names_differ_in_colour_marker_and_dashes(count):
    found = looks_of("block", [f"block {number}" for number in range(count)])
    for looks in zip(*found, strict=True):
        assert len(set(map(str, looks))) == count
    assert set(in_light(found)) <= OKABE_ITO


@pytest.mark.parametrize("values", [[f"v{n}" for n in range(40)], list(map(float, range(40)))])
def test_no_two_of_many_look_the_same(values):
    # Markers and dashes alone tell them apart: in grey too.
    assert len({(shape, str(dash)) for _, shape, dash in looks_of("axis", values)}) == 40


@pytest.mark.parametrize("count", [2, 6, 8])
def test_numbers_darken_as_they_rise(count):
    colours = in_light(looks_of("expansion", list(range(count))))
    parts = [[int(part, 16) / 255 for part in re.findall("..", name[1:])] for name in colours]
    greys = [float(np.dot(part, (0.2126, 0.7152, 0.0722))) for part in parts]
    assert greys == sorted(set(greys), reverse=True)
    assert max(greys) < 0.75  # Pale on white paper.


def test_values_with_names_of_their_own_look_the_same_in_any_company():
    (alone,) = looks_of("projection", ["relu6"])
    assert looks_of("projection", [*PROJECTIONS, "new"])[1] == alone
    assert looks_of("projection", ["new"]) != [alone]


def test_names_that_are_shortened_alike_stay_apart():
    one, other = ("a/very/long/path/" + middle + "/of/my_blocks.py:MixedKernels" for middle in "ab")
    assert len(set(Hues("block", [one, other]).labels.values())) == 2


def test_a_legend_names_the_axis_and_goes_beside_where_there_is_much():
    few = Hues("projection", ["linear", "relu6"], front=True)
    color = few.encoding()["color"]
    assert color["legend"]["title"] == "Projection"
    assert color["scale"]["domain"] == ["Linear", "ReLU6", FRONT]
    assert "orient" not in few.legend(600)
    assert few.legend(90)["columns"] == 1
    assert Hues("block", list("abcdefgh")).legend(600)["orient"] == "right"
    assert Hues(None, []).encoding()["color"]["legend"] is None
