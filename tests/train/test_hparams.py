"""Hyperparameters that lanes may differ in: one declaration is all that there is."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from configs import digits
from mnv2_jax.ablation import grid
from mnv2_jax.train import hparams
from mnv2_jax.train.hparams import LANE_FIELDS, HParams

FIELDS = grid.fields(digits.get_config())


def test_what_a_config_says_is_what_the_step_is_given():
    found = HParams.from_fields({**FIELDS, "seed": 7, "train.label_smoothing": 0.25})
    assert (found.seed, found.data_seed) == (7, 7)
    assert found.label_smoothing == np.float32(0.25)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"uint32", "float32"}
    assert HParams.from_fields({**FIELDS, "seed": 7, "data.order": "shared"}).data_seed == 0


def test_an_example_has_the_types_of_any_other():
    pairs = zip(
        jax.tree.leaves(HParams.example()),
        jax.tree.leaves(HParams.from_fields(FIELDS)),
        strict=True,
    )
    assert all(one.dtype == other.dtype for one, other in pairs)


def test_every_declared_field_is_one_of_the_config_and_may_differ_between_lanes():
    assert {*LANE_FIELDS} <= {*FIELDS}
    assert LANE_FIELDS["model.shortcut"] == ("bottleneck", "none")
    assert LANE_FIELDS["train.learning_rate"] is None


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", -1, "a whole number from 0 to 2^32 - 1"),
        ("train.learning_rate", 0.0, "a number above 0"),
        ("train.learning_rate", float("inf"), "a number above 0"),
        ("train.learning_rate", float("nan"), "a number above 0"),
        ("train.weight_decay", -1e-9, "a number, 0 or more"),
        ("train.label_smoothing", 1.0, "0 or more, below 1"),
        ("data.order", "any", "one of own, shared"),
        ("model.shortcut", "all", "one of bottleneck, none, expansion"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(path, value, expected):
    with pytest.raises(
        ValueError, match=re.escape(f"config.{path}={value!r}: expected {expected}")
    ):
        HParams.from_fields({**FIELDS, path: value})


def test_lanes_are_stacked_and_replaced():
    one = HParams.from_fields(FIELDS)
    other = one.replace(learning_rate=np.float32(0.5))
    both = jax.tree.map(lambda *leaves: np.stack(leaves), one, other)
    np.testing.assert_array_equal(both.learning_rate, np.array([0.1, 0.5], np.float32))
    assert {field.name for field in dataclasses.fields(HParams)} == {*hparams._declarations()}
