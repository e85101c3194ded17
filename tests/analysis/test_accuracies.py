"""Accuracies with numbers of images, by cell of the design."""

import math

import pandas as pd

from mnv2_jax import terminal
from mnv2_jax.analysis import accuracies
from mnv2_jax.analysis.html import mistakes
from tests.analysis.synthetic import make_frame, make_transfers


def with_images(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(train_images=140.0, validation_images=20.0, test_images=13.0)


def test_one_seed_has_numbers_of_images() -> None:
    frame = with_images(make_frame(expansions=(6,), shortcuts=("none",), seeds=1))
    frame["test_accuracy"] = [12 / 13, 11 / 13]
    frame["validation_accuracy"] = [0.85, 1.0]
    linear, relu6 = accuracies.cells(frame)
    assert (linear.name, relu6.name) == ("Linear", "ReLU6")
    assert (linear.texts["test"], relu6.texts["test"]) == ("92.3 % (12 of 13)", "84.6 % (11 of 13)")
    assert linear.texts["validation"] == "85.0 % of 20"


def test_seeds_have_mean_lowest_and_highest() -> None:
    frame = with_images(make_frame((6,), ("linear",), ("none",), seeds=3))
    frame["test_accuracy"] = [10 / 13, 12 / 13, 13 / 13]
    (cell,) = accuracies.cells(frame)
    assert cell.runs == 3
    assert cell.texts["test"] == "89.7 % (76.9 to 100.0) of 13"


def test_earlier_records_lack_numbers_of_images() -> None:
    frame = make_frame((6,), ("linear",), ("none",), seeds=1)
    (cell,) = accuracies.cells(frame.assign(test_accuracy=0.9))
    assert cell.texts["test"] == "90.0 %"
    (cell,) = accuracies.cells(with_images(frame).assign(test_accuracy=0.9, test_images=math.nan))
    assert cell.texts["test"] == "90.0 %"


def test_a_phase_is_named_and_what_follows_from_it_is_not() -> None:
    frame = make_transfers()
    names = [cell.name for cell in accuracies.cells(frame[frame["projection"] == "linear"])]
    assert names[:3] == ["Pretraining (other classes)", "From scratch", "Feature extraction"]
    assert names[3:] == [
        "Fine-tuning, BatchNorm in inference mode",
        "Fine-tuning, BatchNorm moves where trained",
    ]


def test_they_lead_where_seeds_do_not_repeat_and_in_transfers() -> None:
    assert accuracies.lead(make_frame(seeds=1))
    assert not accuracies.lead(make_frame(seeds=2))
    assert accuracies.lead(make_transfers())


def test_unfinished_runs_do_not_count() -> None:
    frame = make_frame((6,), ("linear",), ("none",), seeds=2)
    frame.loc[0, ["status", "test_accuracy"]] = ["diverged", math.nan]
    (cell,) = accuracies.cells(frame)
    assert cell.runs == 1
    assert accuracies.cells(frame.iloc[:1]) == []
    assert not accuracies.lead(frame.iloc[:1])


def test_where_test_images_are_unread_validation_takes_their_place(capsys) -> None:
    frame = with_images(make_frame(expansions=(6,), shortcuts=("none",), seeds=1))
    untested = frame.assign(
        test_accuracy=math.nan, test_images=math.nan, validation_accuracy=[0.85, 1.0]
    )
    linear, _ = accuracies.cells(untested)
    assert linear.texts["validation"] == "85.0 % (17 of 20)"
    assert accuracies.lead(untested)
    terminal.Console(width=80).print(accuracies.table(untested))
    out = capsys.readouterr().out
    assert "Validation" in out
    assert "Test" not in out
    assert "nan" not in out
    assert "Test</th>" not in mistakes.lead(untested, None)
    assert "Test</th>" in mistakes.lead(frame, None)


def test_a_terminal_has_room_for_some(capsys) -> None:
    frame = with_images(make_frame(expansions=tuple(range(1, 11)), seeds=1))
    terminal.Console(width=80).print(accuracies.table(frame))
    out = capsys.readouterr().out
    assert out.count(" of 13)") == 16
    assert "and 24 more in the report" in out
    assert max(map(len, out.splitlines())) <= 80
