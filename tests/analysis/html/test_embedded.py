import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.html import design, embedded
from tests.analysis.synthetic import make_frame, stop


def data_of(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    charts: Mapping[str, Chart] | None = None,
    **records: Any,
) -> dict[str, Any]:
    data = embedded.page_data(
        axes=design.axes_of(frame),
        frame=frame,
        curves=curves,
        configs=records.get("configs", {}),
        environments=records.get("environments", {}),
        charts=charts or {},
    )
    return json.loads(embedded.json_text(data))


def curves_of(frame: pd.DataFrame, epochs: int) -> pd.DataFrame:
    every = np.arange(1, epochs + 1)
    one = pd.DataFrame({"epoch": every, "validation_accuracy": every / epochs, "train_accuracy": 1})
    return pd.concat([one.assign(run_id=run_id) for run_id in frame["run_id"]], ignore_index=True)


def test_nothing_in_the_text_opens_or_closes_a_tag() -> None:
    hostile = {"</script><!--": "<script>&\u2028"}
    text = embedded.json_text(hostile)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile


def test_runs_are_columns_and_what_is_missing_is_null() -> None:
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=1)
    stop(frame, 1)
    frame["error"] = ["", "out of memory"]
    runs = data_of(frame, curves_of(frame, 2).head(0))["runs"]
    assert runs["run_id"] == frame["run_id"].tolist()
    assert runs["test_accuracy"] == [round(100 * frame["test_accuracy"][0], 4), None]
    assert runs["error"] == ["", "out of memory"]


def test_measures_that_have_a_value_are_shown_in_their_unit() -> None:
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=1)
    frame = frame.assign(test_calibration_error=0.01234, train_loss=np.nan)
    data = data_of(frame, curves_of(frame, 2).head(0))
    assert [(one["label"], one["digits"], one["isMetric"]) for one in data["measured"]] == [
        ("Test accuracy (%)", 1, True),
        ("Test loss (nats)", 3, True),
        ("Test calibration error (%)", 1, True),
        ("Validation accuracy (%)", 1, True),
        ("Training accuracy (%)", 1, True),
        ("MAdds", 0, False),
        ("Parameters", 0, False),
        ("Training time (s)", 1, False),
    ]
    assert data["runs"]["test_calibration_error"] == [1.234, 1.234]
    assert data["runs"]["test_loss"] == frame["test_loss"].tolist()


def test_curves_are_thinned_and_share_their_epochs() -> None:
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=1)
    curves = curves_of(frame, 200)
    curves.loc[199, "validation_accuracy"] = np.nan
    found = data_of(frame, curves)["curves"]
    (epochs,) = found["epochs"]
    assert len(epochs) == 60
    assert (epochs[0], epochs[-1]) == (1, 200)
    (number, validation, train), second = found["runs"]
    assert (number, validation[0], validation[-1], train[0]) == (0, 0.5, None, 100)
    assert second[1][-1] == 100
    assert data_of(frame, curves.head(200))["curves"]["runs"][1] is None


def test_rows_of_charts_are_a_table_without_repetitions() -> None:
    rows = [{"part": "point", "set": 0}, {"part": "mean", "y": 1.5}, {"part": "point", "set": 0}]
    chart = Chart("a", {"mark": "bar"}, rows, [{"runs": [0]}])
    frame = make_frame(expansions=(1,), projections=("linear",), shortcuts=("none",), seeds=1)
    data = data_of(frame, curves_of(frame, 1), {"one": chart, "other": chart})
    assert data["sets"] == [[{"runs": [0]}]]
    assert data["charts"]["other"] == data["charts"]["one"]
    assert data["charts"]["one"] == {
        **{"heading": "a", "notes": "", "figure": "", "choice": {}},
        "spec": {"mark": "bar"},
        "fields": ["part", "set", "y"],
        "texts": {"part": ["point", "mean"]},
        "rows": [[0, 0, None], [1, None, 1.5], [0, 0, None]],
        "sets": 0,
    }


def test_what_runs_share_is_written_once() -> None:
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=1)
    one, two = frame["run_id"]
    configs = {one: {"train.epochs": 5, "model.block": "a"}, two: {"train.epochs": 5}}
    assert data_of(frame, curves_of(frame, 1), configs=configs)["config"] == {
        "shared": {"train.epochs": "5"},
        "differing": {"model.block": {"values": ["a", ""], "codes": [0, 1]}},
    }
