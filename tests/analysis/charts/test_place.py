"""The chart of places has the paired differences of each block, as their definitions say."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis import means
from mnv2_jax.analysis.charts.place import place
from tests.analysis.synthetic import make_frame

SEEDS = 4
PROJECTION, SHORTCUT = "model.projection_blocks", "model.shortcut_blocks"


def placed() -> pd.DataFrame:
    """Return runs of three blocks; shortcuts are in the last two."""
    base = make_frame(expansions=(6,), projections=("linear",), shortcuts=("bottleneck",), seeds=1)
    rng = np.random.default_rng(0)
    one_of_three = ["none", "all", *"123", *(f"all but {number}" for number in "123")]
    one_of_two = [text for text in one_of_three if not text.endswith("1")]
    cells = [
        *itertools.product(["relu6"], ["bottleneck", "none"], one_of_three, ["all"], range(SEEDS)),
        *itertools.product(["linear"], ["bottleneck"], ["all"], one_of_two, range(SEEDS)),
    ]
    rows = [
        dict(base.iloc[0])
        | dict(zip(("projection", "shortcut", PROJECTION, SHORTCUT, "seed"), cell, strict=True))
        | {"run_id": f"run{number}", "test_accuracy": rng.uniform(0.8, 0.9)}
        for number, cell in enumerate(cells)
    ]
    return pd.DataFrame(rows).assign(bottlenecks="4 6 8")


def mean_of(frame: pd.DataFrame, more: dict[str, str], less: dict[str, str]) -> list[float]:
    sides = []
    for values in (more, less):
        chosen = (frame[list(values)] == pd.Series(values)).all(axis=1)
        sides.append(frame[chosen].sort_values("seed")["test_accuracy"].to_numpy())
    interval = means.t_interval(100 * (sides[0] - sides[1]), 0.95)
    return [interval.estimate, interval.low, interval.high]


def test_its_rows_are_the_differences_of_each_block() -> None:
    frame = placed()
    chart = place(frame)
    assert chart is not None
    found = {(row["panel"], row["at"], row["hue"]): row for row in chart.rows}
    # Three blocks with and without shortcuts, two shortcuts; each compared twice.
    assert len(found) == len(chart.rows) == 2 * (3 + 3 + 2)
    alone, others = dict.fromkeys(row["hue"] for row in chart.rows)
    relu6 = {"projection": "relu6", "shortcut": "none"}
    for panel, where, axis, number, sign in (
        ("Cost of ReLU6: no shortcut", relu6, PROJECTION, "2", -1),
        (
            "Gain of a shortcut between bottlenecks: linear",
            {"projection": "linear"},
            SHORTCUT,
            "3",
            1,
        ),
    ):
        for side, pair in ((alone, (number, "none")), (others, ("all", f"all but {number}"))):
            row = found[panel, number, side]
            cells = [where | {axis: text} for text in pair[::sign]]
            expected = mean_of(frame, *cells)
            assert [row["y"], row["low"], row["high"]] == pytest.approx(expected, abs=1e-5)
    assert "2 (6)" in chart.svg()


def test_there_is_none_without_places_and_unfinished_runs_are_left_out(
    frame: pd.DataFrame,
) -> None:
    assert place(frame) is None
    runs = placed()
    runs.loc[runs[PROJECTION] == "1", "status"] = "failed"
    chart = place(runs)
    assert chart is not None
    assert len(chart.rows) == 2 * (3 + 3 + 2) - 2
