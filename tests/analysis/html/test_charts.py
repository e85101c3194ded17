import json
from typing import Any

import pandas as pd
import vl_convert

from mnv2_jax.analysis.claims import equivalent, greater
from mnv2_jax.analysis.html import charts, design, embedded
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.synthetic import make_frame, make_transfers, stop


def specs_of(frame: pd.DataFrame) -> dict[str, Any]:
    curves = pd.DataFrame({"epoch": [1, 2, 3]})
    return charts.make_specs(design.of(frame), frame, curves, [])


def test_charts_follow_the_axes(frame: pd.DataFrame) -> None:
    specs = specs_of(frame)
    assert list(specs) == ["accuracy", "cost", "curves"]
    accuracy = specs["accuracy"]
    assert accuracy["facet"]["field"] == "axis1"
    assert accuracy["facet"]["sort"] == ["Shortcut between bottlenecks", "No shortcut"]
    first, *_ = accuracy["spec"]["layer"]
    assert first["encoding"]["color"]["scale"]["domain"] == ["Linear", "ReLU6"]
    # Values of an axis go in as rows only, so that no name of one is a name to Vega.
    assert "data" not in first


def test_names_with_dots_are_no_fields() -> None:
    parts = [
        make_frame(expansions=(6,), shortcuts=("none",), seeds=2).assign(**{"train.rate": rate})
        for rate in (0.001, 0.1)
    ]
    specs = specs_of(pd.concat(parts, ignore_index=True))
    x = specs["accuracy"]["layer"][0]["encoding"]["x"]
    assert (x["field"], x["title"], x["scale"]["type"]) == ("x", "Rate", "log")
    assert "train.rate" not in json.dumps(specs)


def test_panels_and_colours_name_their_axis() -> None:
    parts = [
        make_frame(expansions=(1, 6), projections=projections, shortcuts=("none",), seeds=2).assign(
            **{"train.weight_decay": decay}
        )
        for projections in (("linear",), ("linear", "relu6"))
        for decay in (0, 0.02)
    ]
    one, two = (pd.concat(parts[at : at + 2], ignore_index=True) for at in (0, 2))
    named = '"Weight decay " + (datum.label)'
    colour = specs_of(one)["accuracy"]["layer"][0]["encoding"]["color"]
    assert colour["legend"]["labelExpr"] == named
    accuracy = specs_of(two)["accuracy"]
    assert accuracy["facet"]["header"]["labelExpr"] == named
    # Linear and ReLU6 are names by themselves.
    assert "labelExpr" not in accuracy["spec"]["layer"][0]["encoding"]["color"]["legend"]


def test_learning_curves_of_a_transfer_are_coloured_by_phase() -> None:
    specs = specs_of(make_transfers())
    colours = {
        name: specs[name]["spec"]["layer"][0]["encoding"]["color"]["scale"]["domain"]
        for name in ("accuracy", "curves")
    }
    assert colours["accuracy"][0] == "BatchNorm in inference mode"
    assert colours["curves"] == [
        "Pretraining (other classes)",
        "From scratch",
        "Feature extraction",
        "Fine-tuning",
    ]


def test_accuracy_over_a_cost_that_all_share_is_left_out(frame: pd.DataFrame) -> None:
    frame["madds"] = 40_000
    frame.loc[0, "madds"] = 50_000
    assert "cost" in specs_of(frame)
    stop(frame, 0)
    assert list(specs_of(frame)) == ["accuracy", "curves"]


def test_vega_lite_takes_every_kind(frame: pd.DataFrame) -> None:
    one = frame[frame["seed"] == 0].head(1)
    blocks = pd.concat([frame.head(2), frame.head(2).assign(block="fused")], ignore_index=True)
    for runs in (frame, one, blocks):
        for spec in specs_of(runs).values():
            assert vl_convert.vegalite_to_vega(spec | {"config": charts.CONFIG})["marks"]


def test_thousands_of_runs_are_drawn_once(frame: pd.DataFrame) -> None:
    seeds = [frame.assign(seed=frame["seed"] + 6 * copy) for copy in range(11)]
    few, many = specs_of(frame), specs_of(pd.concat(seeds, ignore_index=True))
    layers = {name: len(few[name]["spec"]["layer"]) for name in ("accuracy", "cost")}
    assert len(many["accuracy"]["spec"]["layer"]) == layers["accuracy"]
    assert len(many["cost"]["spec"]["layer"]) == layers["cost"] - 1


def test_without_a_finished_run_there_is_no_chart() -> None:
    frame = make_frame(expansions=(6,), seeds=1)
    for index in frame.index:
        stop(frame, index)
    assert specs_of(frame) == {}


def test_ticks_are_round_numbers() -> None:
    assert charts._epoch_ticks(3) == [1, 2, 3]
    assert charts._epoch_ticks(15) == [1, 5, 10, 15]
    assert charts._epoch_ticks(200) == [1, 50, 100, 150, 200]
    for madds, ticks in (([25_944, 186_992], [50_000, 100_000]), ([300, 300], [300])):
        x: Any = charts._cost(pd.Series(madds)).to_dict()
        assert x["axis"]["values"] == ticks


def test_claims_in_different_units_have_charts_of_their_own(frame: pd.DataFrame) -> None:
    claims = [
        greater("linear", "", "Linear", "projection", "linear", "relu6"),
        greater("loss", "", "Loss", "projection", "linear", "relu6", metric="test_loss"),
        equivalent("plateau", "", "Same", "expansion", (6, 8), 0.02, metric="test_loss"),
    ]
    rows = decide(claims, frame)
    curves = pd.DataFrame({"epoch": [1, 2, 3]})
    specs = charts.make_specs(design.of(frame), frame, curves, rows)
    assert list(specs) == ["claims", "claims_2", "accuracy", "cost", "curves"]
    titles = {
        name: [
            layer["encoding"]["x"]["title"]
            for layer in specs[name]["layer"]
            if "title" in layer["encoding"]["x"]
        ]
        for name in ("claims", "claims_2")
    }
    assert titles == {
        "claims": ["Difference in accuracy (percentage points)"],
        "claims_2": ["Difference in loss (nats)"],
    }
    shown = [embedded._claim(row) for row in rows]
    assert [one["unit"] for one in shown] == ["%", "nats", "nats"]
    assert specs["claims_2"]["usermeta"] == {"unit": "nats"}
    assert shown[0]["estimate"] == round(100 * rows[0]["estimate"], 4)
    assert shown[1]["estimate"] == round(rows[1]["estimate"], 6)
    assert shown[1]["difference"] == f"−{-rows[1]['estimate']:.3f} nats"
    assert (shown[2]["margin_low"], shown[2]["margin_high"]) == (-0.02, 0.02)
    assert (shown[1]["margin_low"], shown[1]["margin_high"]) == (None, None)
    for spec in specs.values():
        assert vl_convert.vegalite_to_vega(spec | {"config": charts.CONFIG})["marks"]
