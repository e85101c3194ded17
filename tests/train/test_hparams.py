"""Hyperparameters that lanes may differ in, each declared once."""

import re

import jax
import numpy as np
import pytest

from configs import digits
from mnv2_jax.ablation import grid
from mnv2_jax.train.hparams import LANE_FIELDS, HParams

FIELDS = grid.fields(digits.get_config())


def test_hyperparameters_have_the_values_of_the_config():
    values = HParams.from_fields({**FIELDS, "seed": 7, "train.label_smoothing": 0.25})
    assert (values.seed, values.data_seed) == (7, 7)
    assert values.learning_rate == np.float32(0.1)
    assert values.label_smoothing == np.float32(0.25)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(values)} == {"uint32", "float32"}
    assert HParams.from_fields({**FIELDS, "seed": 7, "data.order": "shared"}).data_seed == 0


def test_defaults_have_the_types_of_others():
    def types(values):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), values)

    read = HParams.from_fields(FIELDS)
    assert types(HParams(knobs=read.knobs)) == types(read)
    assert {leaf.shape for leaf in read.knobs} == {(9,)}


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
    message = re.escape(f"config.{path}={value!r}: expected {expected}")
    with pytest.raises(ValueError, match=message):
        HParams.from_fields({**FIELDS, path: value})
