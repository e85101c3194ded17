from typing import Any

import pandas as pd

from mnv2_jax.analysis.html import design
from tests.analysis.synthetic import RATE, make_frame, make_sections


def places(frame: pd.DataFrame) -> tuple[str | None, ...]:
    found = design.of(frame)
    return tuple(axis.name if axis else None for axis in (found.x, found.hue, found.panel))


def test_the_default_grid_is_shown_as_the_paper_does(frame: pd.DataFrame) -> None:
    found = design.of(frame)
    assert [axis.name for axis in found.axes] == ["projection", "shortcut", "expansion", "seed"]
    assert places(frame) == ("expansion", "projection", "shortcut")
    assert found.hidden == ()
    projection, shortcut, expansion, _ = found.axes
    assert projection.labels == ("Linear", "ReLU6")
    assert shortcut.values == ("bottleneck", "none")
    assert expansion.labels == ("1", "2", "4", "6", "8", "10")
    assert [expansion.values[code] for code in expansion.codes] == frame["expansion"].tolist()


def test_other_axes_take_the_places_that_are_free() -> None:
    one = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=2)
    assert places(one) == (None, None, None)

    def with_(**values: Any) -> pd.DataFrame:
        rows = [
            one.assign(**dict(zip(values, row, strict=True)))
            for row in zip(*values.values(), strict=True)
        ]
        return pd.concat(rows, ignore_index=True)

    assert places(with_(block=["fused", "standard"])) == ("block", "block", None)
    assert places(with_(shortcut=["none", "bottleneck"])) == ("shortcut", "shortcut", None)
    rates = {"train.learning_rate": [0.1, 0.2]}
    assert places(with_(**rates)) == ("train.learning_rate", None, None)
    two = with_(**rates, **{"model.ema": [True, False]})
    assert places(two) == ("train.learning_rate", "model.ema", None)


def test_axes_that_nothing_shows_are_told() -> None:
    parts = [
        make_frame(seeds=2).assign(**{"train.learning_rate": rate, "model.ema": rate > 0.1})
        for rate in (0.1, 0.2)
    ]
    found = design.of(pd.concat(parts, ignore_index=True))
    assert [axis.name for axis in found.hidden] == ["train.learning_rate", "model.ema"]
    rate = next(axis for axis in found.axes if axis.name == "train.learning_rate")
    assert (rate.numeric, rate.labels) == (True, ("0.1", "0.2"))
    assert "." not in rate.key
    ema = next(axis for axis in found.axes if axis.name == "model.ema")
    assert (ema.numeric, ema.labels) == (False, ("False", "True"))


def test_values_that_round_alike_stay_apart() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.clip"] = [0.1, 0.1000000001]
    frame["train.batch_size"] = [1_048_576, 1_048_577.0]
    labels = {axis.name: axis.labels for axis in design.of(frame).axes}
    assert labels["train.clip"] == ("0.1", "0.1000000001")
    assert labels["train.batch_size"] == ("1048576", "1048577")


def test_a_missing_number_is_a_value_of_its_own() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.clip"] = [float("nan"), 1.0]
    clip = next(axis for axis in design.of(frame).axes if axis.name == "train.clip")
    assert clip.labels == ("1", "none")
    assert clip.codes == (1, 0)


def test_axes_are_called_what_figures_call_them_unless_two_were_alike() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.dropout"], frame["train.ema"] = [0.1, 0.2], [0.9, 0.99]
    frame["dataset"] = ["digits", "easy"]
    called = {axis.name: (axis.label, axis.titles[1]) for axis in design.of(frame).axes}
    assert called["train.dropout"] == ("Dropout", "Dropout 0.2")
    assert called["expansion"] == ("Expansion", "Expansion 2")
    assert called["dataset"] == ("Data set", "easy")
    alike = design.of(frame.rename(columns={"train.ema": "model.dropout"})).axes
    labels = {axis.label for axis in alike}
    assert labels == {"Data set", "Expansion", "train.dropout", "model.dropout"}


def test_of_a_transfer_curves_tell_phases_apart() -> None:
    frame = make_sections()
    images = (frame["transfer.phase"] != "pretraining") * 10
    found = design.of(frame.assign(**{"transfer.images_per_class": images}))
    assert [axis and axis.name for axis in (found.x, found.hue)] == [
        "transfer.phase",
        "transfer.norm",
    ]
    assert found.curve_hue is found.x
    by_name = {axis.name: axis for axis in found.axes}
    # What sections set stays, what follows from it and the phase goes.
    assert "train.learning_rate" not in by_name
    assert by_name[RATE].label == "Extraction: learning rate"
    assert by_name[RATE].labels == ("0.05", "0.1", "none")
    grid = design.of(make_frame())
    assert grid.curve_hue is grid.hue
    more = pd.concat([frame.assign(**{"transfer.images_per_class": n}) for n in (0, 20, 5)])
    images_axis = {axis.name: axis for axis in design.of(more).axes}["transfer.images_per_class"]
    # All are the most: they come last, and lie at no distance from the others.
    assert (images_axis.labels, images_axis.numeric) == (("5", "20", "all"), False)
    assert [images_axis.labels[code] for code in images_axis.codes[:: len(frame)]] == [
        *("all", "20", "5")
    ]
