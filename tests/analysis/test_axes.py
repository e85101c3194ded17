import pandas as pd
import pytest

from mnv2_jax.ablation import records
from mnv2_jax.analysis import axes
from mnv2_jax.analysis.axes import View, averaged, default_view, finished, remarks, varying
from tests.analysis.synthetic import DECAY, RATE, make_frame, make_sections, make_transfers, stop


def with_rates(**values):
    """Half of the runs with one value of each column, half with the other."""
    frame = make_frame(expansions=(1, 6), seeds=2)
    halves = [
        frame.assign(**{name: pair[side] for name, pair in values.items()}) for side in (0, 1)
    ]
    return pd.concat(halves, ignore_index=True)


@pytest.mark.parametrize(("column", "path"), records._FIELDS.items())
def test_columns_go_by_their_names_and_by_the_fields_paths(column, path):
    if column == "seed":
        return
    assert axes.column(make_frame(), column) == column
    assert axes.column(make_frame(), path) == column


def test_other_fields_go_by_their_paths_and_by_their_last_parts():
    frame = with_rates(**{"train.learning_rate": (0.1, 0.2)})
    assert axes.column(frame, "train.learning_rate") == "train.learning_rate"
    assert axes.column(frame, "learning_rate") == "train.learning_rate"
    assert axes.column(frame, "madds", on_x=True) == "madds"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("expansoin", r"^expansoin: no such axis in these results; did you mean expansion\?"),
        ("wings", "^wings: no such axis in these results, .*; expected one of dataset, block"),
        ("seed", "^seed: seeds are the points"),
        ("madds", "^madds: no such axis"),
        ("test_accuracy", "^test_accuracy: no such axis"),
        ("rate", "^rate: it may be any of train.rate, augment.rate; expected one of these"),
    ],
)
def test_what_is_no_axis_is_refused(name, message):
    frame = with_rates(**{"train.rate": (0.1, 0.2), "augment.rate": (1, 2)})
    with pytest.raises(ValueError, match=message):
        axes.column(frame, name)


def test_a_view_names_its_axes_as_column_does():
    frame = with_rates(**{"train.rate": (0.1, 0.2)})
    found = axes.view(frame, "madds", "model.projection", ("rate", "width"))
    assert found == View("madds", "projection", ("train.rate", "width"))
    assert found.shown == ("madds", "projection", "train.rate", "width")
    assert axes.view(frame, "rate", None, ()).shown == ("train.rate",)
    assert axes.view(frame, "test_loss", "projection", ()).shown == ("test_loss", "projection")


@pytest.mark.parametrize(
    ("x", "hue", "panel", "message"),
    [
        ("", None, (), "^x: it is missing; expected one of dataset, block, .*, madds, or a meas"),
        ("wings", None, (), "^x=wings: .*, madds, or a measure such as test_accuracy$"),
        ("test_los", None, (), r"^x=test_los: .*; did you mean test_loss\?"),
        ("expansion", "test_loss", (), "^hue=test_loss: no such axis .*, epochs$"),
        ("expansoin", None, (), "^x=expansoin: no such axis in these results; did you mean"),
        ("expansion", "madds", (), "^hue=madds: no such axis"),
        ("expansion", "block", ("model.expansion",), "^panel=model.expansion: x shows it; expect"),
    ],
)
def test_wrong_views_are_refused(x, hue, panel, message):
    with pytest.raises(ValueError, match=message):
        axes.view(make_frame(), x, hue, panel)


def test_averaged_is_what_differs_between_runs_of_one_point():
    frame = with_rates(width=(0.5, 1.0), **{"train.rate": (0.1, 0.2)})
    assert varying(frame) == ["projection", "shortcut", "expansion", "width", "train.rate"]
    shown = ["expansion", "projection", "shortcut"]
    assert averaged(frame, shown) == ["width", "train.rate"]
    # They vary together: where one is shown, the other is not averaged, but is not the same either.
    assert averaged(frame, [*shown, "width"]) == []
    assert remarks(frame, [*shown, "width"]) == ["Points differ in rate too."]
    assert averaged(frame, []) == varying(frame)


def test_averaged_against_brute_force():
    frame = with_rates(width=(0.5, 1.0))
    frame = frame[~((frame["shortcut"] == "none") & (frame["width"] == 1.0))]
    for shown in (["shortcut"], ["width", "expansion"], ["projection", "width"]):
        runs = frame.to_dict("records")
        expected = {
            axis
            for one in runs
            for other in runs
            for axis in varying(frame)
            if axis not in shown
            and one[axis] != other[axis]
            and all(one[key] == other[key] for key in (*shown, "seed"))
        }
        assert set(averaged(frame, shown)) == expected


def test_the_default_view_shows_what_varies():
    assert default_view(make_frame()) == View("expansion", "projection", ("shortcut",))
    assert default_view(make_frame(expansions=(6,))) == View("projection", "shortcut")
    alone = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",))
    assert default_view(alone) == View("expansion")
    rates = pd.concat([alone.assign(**{"train.rate": rate}) for rate in (0.1, 0.2)])
    assert default_view(rates) == View("train.rate")


def test_data_sets_are_never_averaged():
    frame = make_frame(seeds=2)
    names = [frame.assign(dataset=name) for name in "abcdefg"]
    view = default_view(pd.concat(names, ignore_index=True))
    assert view.panels[0] == "dataset"
    assert "dataset" not in (view.x, view.hue)


def test_truth_values_are_names_and_unfinished_runs_are_counted():
    frame = with_rates(**{"model.squeeze_excite": (False, True)})
    stop(frame, 0)
    done = finished(frame, "test_accuracy")
    assert not axes.is_number(done, "model.squeeze_excite")
    assert axes.values(done, "model.squeeze_excite") == ["False", "True"]
    assert axes.unfinished(frame, done) == ["1 of 32 runs did not finish and are left out."]


def test_phases_of_a_transfer_are_shown_and_tell_what_they_have_of_their_own():
    frame = make_transfers()
    assert axes.implied_by_phase(frame) >= {"epochs", "dataset"}
    assert varying(frame) == ["projection", "transfer.phase", "transfer.norm"]
    view = default_view(frame)
    assert view == View("transfer.phase", "transfer.norm", ("projection",))
    assert axes.curve_view(frame) == View("epoch", "transfer.norm", ("transfer.phase",))
    assert axes.implied_by_phase(make_frame()) == set()
    # Where runs of one phase differ, so that it does not tell them apart, it is an axis again.
    frame.loc[0, "epochs"] = 7
    assert "epochs" in varying(frame)


def test_what_follows_from_the_phase_and_its_section_is_no_axis():
    frame = make_sections()
    assert frame.loc[frame["transfer.phase"] == "extraction", "train.learning_rate"].nunique() == 2
    assert axes.implied_by_phase(frame) >= {"train.learning_rate", "train.weight_decay"}
    assert varying(frame) == ["projection", "transfer.phase", "transfer.norm", DECAY, RATE]
    # A fine-tuning that varies it by itself makes it an axis again.
    frame.loc[frame.index[-1], "train.learning_rate"] = 0.02
    assert "train.learning_rate" in varying(frame)


def test_pretraining_is_drawn_only_where_the_phase_is_shown():
    frame = make_sections()
    assert len(axes.to_draw(frame, ["transfer.phase"])[0]) == len(frame)
    others, said = axes.to_draw(frame, ["projection"])
    assert set(others["transfer.phase"]) == {"scratch", "extraction", "finetuning"}
    assert said == ["Pretraining, on other classes, is left out."]
    bases = frame[frame["transfer.phase"] == "pretraining"]
    assert axes.to_draw(bases, ["projection"])[0] is bases
    plain = make_frame()
    assert axes.to_draw(plain, ["projection"]) == (plain, [])


def test_empty_cells_are_a_value_of_other_columns_only():
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    empty = float("nan")
    frame["train.clip"] = [1.5, empty, 2.0, empty]
    frame["train.nesterov"] = [True, empty, False, empty]
    frame["scratch.augment.flip"] = [True, empty, False, empty]
    frame["scratch.train.schedule"] = ["cosine", "", "linear", ""]
    done = finished(frame, "test_accuracy")
    assert done["train.clip"].tolist() == ["1.5", "", "2", ""]
    assert done["train.nesterov"].tolist() == ["True", "", "False", ""]
    assert axes.values(done, "scratch.augment.flip") == ["True", "False"]
    assert axes.values(done, "scratch.train.schedule") == ["cosine", "linear"]
