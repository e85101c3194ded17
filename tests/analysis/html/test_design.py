import pandas as pd

from mnv2_jax.analysis.html import design
from tests.analysis.synthetic import RATE, make_frame, make_sections


def test_axes_are_those_in_which_runs_differ_with_seed_last(frame: pd.DataFrame) -> None:
    axes = design.axes_of(frame)
    assert [axis.name for axis in axes] == ["projection", "shortcut", "expansion", "seed"]
    projection, shortcut, expansion, _ = axes
    assert projection.labels == ("Linear", "ReLU6")
    assert shortcut.values == ("bottleneck", "none")
    assert expansion.labels == ("1", "2", "4", "6", "8", "10")
    assert [expansion.values[code] for code in expansion.codes] == frame["expansion"].tolist()


def test_values_are_in_the_order_of_the_grid(frame: pd.DataFrame) -> None:
    shortcut, expansion = design.axes_of(frame[::-1])[1:3]
    assert shortcut.values == ("none", "bottleneck")
    assert expansion.labels == ("10", "8", "6", "4", "2", "1")
    assert [shortcut.values[code] for code in shortcut.codes] == frame["shortcut"].tolist()[::-1]


def test_truth_values_are_names_and_numbers_are_none() -> None:
    parts = [
        make_frame(seeds=2).assign(**{"train.learning_rate": rate, "model.ema": rate > 0.1})
        for rate in (0.1, 0.2)
    ]
    axes = {axis.name: axis for axis in design.axes_of(pd.concat(parts, ignore_index=True))}
    rate, ema = axes["train.learning_rate"], axes["model.ema"]
    assert (rate.numeric, rate.labels) == (True, ("0.1", "0.2"))
    assert (ema.numeric, ema.labels) == (False, ("False", "True"))


def test_values_that_round_alike_stay_apart() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.clip"] = [0.1, 0.1000000001]
    frame["train.batch_size"] = [1_048_576, 1_048_577.0]
    labels = {axis.name: axis.labels for axis in design.axes_of(frame)}
    assert labels["train.clip"] == ("0.1", "0.1000000001")
    assert labels["train.batch_size"] == ("1048576", "1048577")


def test_a_missing_number_is_a_value_of_its_own() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.clip"] = [float("nan"), 1.0]
    clip = next(axis for axis in design.axes_of(frame) if axis.name == "train.clip")
    assert clip.labels == ("1", "none")
    assert clip.codes == (1, 0)


def test_axes_are_called_what_figures_call_them_unless_two_were_alike() -> None:
    frame = make_frame(expansions=(1, 2), projections=("linear",), shortcuts=("none",), seeds=1)
    frame["train.dropout"], frame["train.ema"] = [0.1, 0.2], [0.9, 0.99]
    frame["dataset"] = ["digits", "easy"]
    called = {axis.name: (axis.label, axis.titles[1]) for axis in design.axes_of(frame)}
    assert called["train.dropout"] == ("Dropout", "Dropout 0.2")
    assert called["expansion"] == ("Expansion", "Expansion 2")
    assert called["dataset"] == ("Data set", "easy")
    alike = design.axes_of(frame.rename(columns={"train.ema": "model.dropout"}))
    labels = {axis.label for axis in alike}
    assert labels == {"Data set", "Expansion", "train.dropout", "model.dropout"}


def test_of_a_transfer_what_sections_set_stays_and_what_follows_from_it_goes() -> None:
    frame = make_sections()
    axes = {axis.name: axis for axis in design.axes_of(frame)}
    assert "train.learning_rate" not in axes
    assert axes[RATE].label == "Extraction: learning rate"
    assert axes[RATE].labels == ("0.05", "0.1", "none")
    images = "transfer.images_per_class"
    more = pd.concat([frame.assign(**{images: count}) for count in (0, 20, 5)])
    axis = {axis.name: axis for axis in design.axes_of(more)}[images]
    # In the grid's order; "all" lies at no distance from the others.
    assert (axis.labels, axis.numeric) == (("all", "20", "5"), False)
    assert [axis.labels[code] for code in axis.codes[:: len(frame)]] == ["all", "20", "5"]
