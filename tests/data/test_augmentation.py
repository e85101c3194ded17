import dataclasses
import math
import re
from typing import Any

import pytest

from mnv2_jax.data.augmentation import MAX_MAGNITUDE, Augmentation


def having(**values: Any):
    return Augmentation(**values)


LAYERS = {"randaugment_layers": 1}

REFUSED = [
    ("crop_area", -0.01, "0 to 1"),
    ("crop_area", 1.01, "0 to 1"),
    ("shift", -1, "0 or more pixels"),
    ("cutout", -1, "0 or more pixels"),
    ("rotation", -1.0, "0 to 180 degrees"),
    ("rotation", 180.5, "0 to 180 degrees"),
    ("brightness", -0.01, "0 to 1"),
    ("brightness", 1.01, "0 to 1"),
    ("contrast", -0.01, "0 to 1"),
    ("contrast", 1.01, "0 to 1"),
    ("saturation", -0.01, "0 to 1"),
    ("saturation", 1.01, "0 to 1"),
    ("hue", -0.01, "0 to 0.5 turns"),
    ("hue", 0.51, "0 to 0.5 turns"),
    ("mixup", -0.1, "0 to 1000"),
    # The Beta distribution has no such parameter: all targets would be NaN.
    ("mixup", math.inf, "0 to 1000"),
    ("randaugment_layers", -1, "0 or more"),
]
TAKEN: dict[str, list] = {
    "crop_area": [0.0, 0.08, 1.0],
    "shift": [0, 4],
    "flip": [False, True],
    "cutout": [0, 16],
    "rotation": [0.0, 180.0],
    "brightness": [0.0, 1.0],
    "contrast": [0.0, 1.0],
    "saturation": [0.0, 1.0],
    "hue": [0.0, 0.5],
    "mixup": [0.0, 0.2, 8.0],
    "randaugment_layers": [0, 2],
    "randaugment_magnitude": [0],
}


def message(name, value, expected):
    return f"^{re.escape(f'{name}={value!r}: expected {expected}')}$"


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED)
def test_a_value_out_of_range_is_refused_by_its_name(name, value, expected):
    with pytest.raises(ValueError, match=message(name, value, expected)):
        having(**{name: value})


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(Augmentation) if field.type is float]
)
def test_what_is_not_a_number_is_refused(name):
    with pytest.raises(ValueError, match=f"^{name}=nan: expected 0 "):
        having(**{name: math.nan})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Augmentation)])
def test_values_up_to_both_ends_are_taken(name):
    for value in TAKEN[name]:
        assert getattr(having(**{name: value}), name) == value


@pytest.mark.parametrize("magnitude", [-1, MAX_MAGNITUDE + 1])
def test_magnitudes_beyond_the_strongest_are_refused(magnitude):
    with pytest.raises(ValueError, match=message("randaugment_magnitude", magnitude, "0 to 10")):
        having(**LAYERS, randaugment_magnitude=magnitude)
    for taken in (0, MAX_MAGNITUDE):
        assert having(**LAYERS, randaugment_magnitude=taken).on_host


def test_a_magnitude_that_nothing_reads_is_refused():
    expected = "0, since there are no randaugment_layers"
    with pytest.raises(ValueError, match=message("randaugment_magnitude", 5, expected)):
        Augmentation(randaugment_magnitude=5)


def test_only_what_needs_the_stored_image_is_done_on_the_host():
    host = {"crop_area", "randaugment_layers"}
    for name, values in TAKEN.items():
        assert having(**{name: values[-1]}).on_host == (name in host), name


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_colour_to_change(name):
    with pytest.raises(ValueError, match=message(name, 0.3, "0, since the images are grey")):
        having(**{name: 0.3}).check((32, 32), channels=1, together=4)
    having(**{name: 0.3}).check((32, 32), channels=3, together=4)
    Augmentation(brightness=0.3, contrast=0.3).check((32, 32), channels=1, together=4)


@pytest.mark.parametrize("name", ["shift", "cutout"])
def test_no_more_than_the_whole_image_is_moved_or_blanked(name):
    expected = "at most 32, the size of the images"
    with pytest.raises(ValueError, match=message(name, 33, expected)):
        having(**{name: 33}).check((24, 32), channels=3, together=4)
    having(**{name: 32}).check((24, 32), channels=3, together=4)


def test_pairs_need_an_even_number_of_images():
    expected = "0, since it takes pairs, and 5 images are odd"
    with pytest.raises(ValueError, match=message("mixup", 0.2, expected)):
        Augmentation(mixup=0.2).check((32, 32), channels=3, together=5)
    Augmentation(mixup=0.2).check((32, 32), channels=3, together=6)
    Augmentation().check((32, 32), channels=3, together=5)
