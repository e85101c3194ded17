import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis.records import distinct_values, read_curves, read_files, read_results
from tests.analysis.synthetic import EPOCHS, make_frame, stop, write_workdir


def test_text_stays_text_and_numbers_are_numbers(workdir: Path) -> None:
    frame = read_results(workdir)
    assert len(frame) == 144
    assert frame["run_id"].iloc[0] == "0000e99"
    assert set(frame["shortcut"]) == {"bottleneck", "none"}
    assert frame["expansion"].dtype == float
    assert frame["test_accuracy"].isna().sum() == 2


def test_words_that_pandas_takes_for_missing_stay_words(tmp_path: Path) -> None:
    make_frame().assign(block="null", device="").to_csv(tmp_path / "results.csv", index=False)
    frame = read_results(tmp_path)
    assert set(frame["block"]) == {"null"}
    assert set(frame["device"]) == {""}


def test_a_sweep_without_rows_reads_as_an_empty_table(tmp_path: Path) -> None:
    make_frame().head(0).to_csv(tmp_path / "results.csv", index=False)
    assert read_results(tmp_path).empty


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("status", "finished", "column status.*finished.*must be one of"),
        ("madds", "many", "column madds.*must be numbers"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    frame = make_frame().head(2).assign(**{column: value})
    frame.to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_a_missing_file_an_empty_one_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results\.csv"):
        read_results(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_results(tmp_path)
    make_frame().drop(columns="width").to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ValueError, match=r"lacks the columns \['width'\]"):
        read_results(tmp_path)


def test_curves_have_a_row_per_epoch_and_null_is_nan(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), seeds=1)
    stop(frame, 1)
    workdir = write_workdir(tmp_path, frame)
    (workdir / "runs" / frame["run_id"][2] / "metrics.jsonl").unlink()
    curves = read_curves(workdir, frame)
    assert len(curves) == 3 * EPOCHS
    assert list(curves["epoch"][:EPOCHS]) == [1, 2, 3, 4, 5]
    diverged = curves[curves["run_id"] == frame["run_id"][1]]
    assert diverged["validation_accuracy"].isna().all()
    assert np.isfinite(diverged["train_loss"]).all()


def test_a_broken_line_of_a_curve_is_named(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=1)
    path = write_workdir(tmp_path, frame) / "runs" / frame["run_id"][0] / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: .*must be one JSON object"):
        read_curves(tmp_path, frame)


def test_environments_are_flattened_and_differences_kept(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), seeds=1)
    workdir = write_workdir(tmp_path, frame)
    other = workdir / "runs" / frame["run_id"][1] / "environment.json"
    other.write_text(json.dumps({"python": "3.12.0", "libraries": {"jax": "0.10.2"}}))
    files = read_files(workdir, frame, "environment.json")
    assert files[frame["run_id"][1]] == {"python": "3.12.0", "libraries.jax": "0.10.2"}
    assert distinct_values(files) == {
        "python": ["3.11.2", "3.12.0"],
        "libraries.jax": ["0.10.2"],
        "devices": ['["cpu:0"]'],
    }
    assert read_files(workdir, pd.DataFrame({"run_id": []}), "environment.json") == {}
    other.write_text("{")
    with pytest.raises(ValueError, match=r"environment.json: .*must be JSON"):
        read_files(workdir, frame, "environment.json")
