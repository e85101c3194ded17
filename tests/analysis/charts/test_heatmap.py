"""Cells of the heatmap are the means over seeds."""

import pandas as pd
import pytest

from mnv2_jax.analysis.axes import View
from mnv2_jax.analysis.charts.heatmap import heatmap
from tests.analysis.charts.drawn import note, titles, whole
from tests.analysis.synthetic import make_frame, stop

VIEW = View("expansion", "projection", ("shortcut",))


def test_cells_are_means_in_the_order_of_the_grid() -> None:
    frame = make_frame(expansions=(6, 1), projections=("relu6", "linear"), seeds=3)
    stop(frame, 0)
    chart = heatmap(frame, VIEW)
    assert chart is not None
    cells = whole(chart, "mean")
    assert len(cells) == 8
    done = frame[frame["status"] == "done"]
    for cell in cells:
        names = {"projection": {"Linear": "linear"}.get(cell["down"], "relu6")}
        names["shortcut"] = "none" if cell["panel"] == "No shortcut" else "bottleneck"
        own = done[done["expansion"] == float(cell["across"])]
        for column, value in names.items():
            own = own[own[column] == value]
        assert cell["y"] == pytest.approx(100 * own["test_accuracy"].mean(), abs=1e-4)
        assert cell["text"] == f"{cell['y']:.1f}"
    x, y = (chart.spec["spec"]["layer"][0]["encoding"][name] for name in "xy")
    assert (x["sort"], y["sort"]) == (["6", "1"], ["ReLU6", "Linear"])
    assert titles(chart) == ["Shortcut between bottlenecks", "No shortcut"]
    steps = sorted((cell["y"], cell["step"]) for cell in cells)
    assert (steps[0][1], steps[-1][1]) == (0, 7)
    assert [step for _, step in steps] == sorted(step for _, step in steps)
    assert "1 of 24 runs did not finish" in note(chart)


def test_what_it_averages_over_is_told_and_a_single_axis_has_none(frame: pd.DataFrame) -> None:
    chart = heatmap(frame, View("expansion", "projection"))
    assert chart is not None
    assert "Averaged over shortcut." in note(chart)
    assert len(whole(chart, "mean")) == 12
    assert heatmap(frame, View("expansion")) is None
