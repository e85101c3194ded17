import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from mnv2_jax.analysis.figures.forest import forest
from mnv2_jax.analysis.figures.style import drawing
from mnv2_jax.analysis.verdicts import decide

ACCURACY: list[Claim] = [
    greater("linear", "", "Linear wins", "projection", "linear", "relu6"),
    equivalent("plateau", "", "", "expansion", (6, 8), 0.01),
]
LOSS: list[Claim] = [
    greater("loss", "", "Linear loses less", "projection", "linear", "relu6", metric="test_loss"),
    monotone("falls", "", "", "expansion", (1, 10), 0.02, metric="test_loss"),
    equivalent("loss_plateau", "", "", "expansion", (6, 8), 0.05, metric="test_loss"),
]


def drawn(frame: pd.DataFrame, claims: list[Claim]) -> Figure:
    with drawing():
        return forest(frame, claims, decide(claims, frame))


def labels(axis: Axes) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def estimates(axis: Axes) -> list[float]:
    return [
        float(np.asarray(line.get_xdata())[0])
        for line in axis.lines
        if line.get_marker() in ("D", "o")
    ]


def test_claims_in_different_units_have_axes_of_their_own(frame: pd.DataFrame) -> None:
    mixed = [ACCURACY[0], LOSS[0], ACCURACY[1], *LOSS[1:]]
    figure = drawn(frame, mixed)
    claims, along, others, along_loss = figure.axes
    assert [axis.get_xlabel() for axis in figure.axes] == [
        "",
        "Difference in accuracy (percentage points)",
        "",
        "Difference in loss (nats)",
    ]
    assert (labels(claims), labels(others)) == (
        ["linear", "plateau"],
        ["loss", "falls", "loss_plateau"],
    )
    assert [axis.get_title(loc="left") for axis in (along, along_loss)] == [
        "Linear wins",
        "Linear loses less",
    ]
    rows = {row["name"]: row for row in decide(mixed, frame)}
    assert estimates(claims) == [100 * rows[name]["estimate"] for name in ("linear", "plateau")]
    assert estimates(others) == [rows[name]["estimate"] for name in labels(others)]
    assert along.get_xlim() == claims.get_xlim()
    assert along_loss.get_xlim() == others.get_xlim() != claims.get_xlim()


def test_one_unit_shares_one_axis(frame: pd.DataFrame) -> None:
    validation = greater(
        "val", "", "Also", "projection", "linear", "relu6", metric="validation_accuracy"
    )
    figure = drawn(frame, [*ACCURACY, validation])
    assert len(figure.axes) == 3
    assert {axis.get_xlim() for axis in figure.axes} == {figure.axes[0].get_xlim()}
    labelled = [axis.get_xlabel() for axis in figure.axes]
    assert labelled == ["", "", "Difference in accuracy (percentage points)"]


@pytest.mark.parametrize(
    ("claims", "bands"), [(ACCURACY, [(-1.0, 1.0)]), (LOSS, [(-0.05, 0.05)])], ids=["pt", "nats"]
)
def test_a_band_is_what_an_estimate_is_to_lie_in(
    frame: pd.DataFrame, claims: list[Claim], bands: list[tuple[float, float]]
) -> None:
    # The margin of a monotone claim is of steps, and the estimate of the whole.
    first = drawn(frame, claims).axes[0]
    found = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in first.patches]  # type: ignore[attr-defined]
    assert found == [pytest.approx(band) for band in bands]


def test_differences_along_the_main_axis_are_those_of_gains(frame: pd.DataFrame) -> None:
    both = interaction(
        *("i", "", "More without", "projection", "linear", "relu6", "shortcut"),
        *("none", "bottleneck"),
    )
    titles = [axis.get_title(loc="left") for axis in drawn(frame, [*ACCURACY, both]).axes]
    assert titles == ["Claims", "Linear wins", "More without"]
