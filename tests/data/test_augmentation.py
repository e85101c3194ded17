import dataclasses
import math
import re
from typing import Any

import pytest

from mnv2_jax.data.augmentation import Augmentation

NAN = math.nan
VALUES: dict[str, tuple[list, list, str]] = {
    "crop_area": ([0.0, 0.08, 1.0], [-0.01, 1.01, NAN], "0 to 1"),
    "randaugment_layers": ([0, 2], [-1], "0 or more"),
    "randaugment_magnitude": ([0, 10], [-1, 11], "0 to 10"),
    "shift": ([0, 4], [-1], "0 or more pixels"),
    "flip": ([False, True], [], ""),
    "rotation": ([0.0, 180.0], [-1.0, 180.5, NAN], "0 to 180 degrees"),
    "brightness": ([0.0, 1.0], [-0.01, 1.01, NAN], "0 to 1"),
    "contrast": ([0.0, 1.0], [-0.01, 1.01, NAN], "0 to 1"),
    "saturation": ([0.0, 1.0], [-0.01, 1.01, NAN], "0 to 1"),
    "hue": ([0.0, 0.5], [-0.01, 0.51, NAN], "0 to 0.5 turns"),
    "cutout": ([0, 16], [-1], "0 or more pixels"),
    # An infinite parameter of the Beta distribution would make all targets NaN.
    "mixup": ([0.0, 0.2, 8.0], [-0.1, math.inf, NAN], "0 to 1000"),
}
"""Valid and invalid values of each field, and its range in messages."""


def having(**values: Any):
    layers = {"randaugment_layers": 1} if "randaugment_magnitude" in values else {}
    return Augmentation(**{**layers, **values})


def message(name, value, expected):
    return f"^{re.escape(f'{name}={value!r}: expected {expected}')}$"


def test_every_field_has_values():
    assert list(VALUES) == [field.name for field in dataclasses.fields(Augmentation)]


@pytest.mark.parametrize("name", VALUES)
def test_values_in_range_are_valid_and_others_are_refused_by_the_field_s_name(name):
    valid, invalid, expected = VALUES[name]
    for value in valid:
        assert getattr(having(**{name: value}), name) == value
    for value in invalid:
        with pytest.raises(ValueError, match=message(name, value, expected)):
            having(**{name: value})


def test_a_magnitude_without_effect_is_refused():
    expected = "0, since there are no randaugment_layers"
    with pytest.raises(ValueError, match=message("randaugment_magnitude", 5, expected)):
        Augmentation(randaugment_magnitude=5)


def test_only_what_needs_the_stored_image_is_done_on_the_host():
    on_host = {"crop_area", "randaugment_layers", "randaugment_magnitude"}
    for name, (valid, _, _) in VALUES.items():
        assert having(**{name: valid[-1]}).on_host == (name in on_host), name
    assert not Augmentation().on_host


@pytest.mark.parametrize(
    ("wrong", "right", "images", "expected"),
    [
        ({"saturation": 0.3}, {"contrast": 0.3}, {"channels": 1}, "0, since the images are grey"),
        ({"hue": 0.3}, {"brightness": 0.3}, {"channels": 1}, "0, since the images are grey"),
        ({"shift": 33}, {"shift": 32, "mixup": 0.2}, {}, "at most 32, the size of the images"),
        (
            {"cutout": 33},
            {"cutout": 32, "saturation": 0.3, "hue": 0.3},
            {},
            "at most 32, the size of the images",
        ),
        ({"mixup": 0.2}, {}, {"together": 5}, "0, since it takes pairs, and 5 images are odd"),
    ],
)
def test_images_that_cannot_be_augmented_are_refused(wrong, right, images, expected):
    images = {"size": (24, 32), "channels": 3, "together": 4} | images
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=message(name, value, expected)):
        having(**wrong).check(**images)
    having(**right).check(**images)
