import pandas as pd
import pytest

from mnv2_jax.analysis.charts.chart import Chart, views_of
from mnv2_jax.analysis.charts.forest import forest
from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.charts.drawn import whole

ACCURACY: list[Claim] = [
    greater("linear", "", "Linear wins", "projection", "linear", "relu6"),
    equivalent("plateau", "", "", "expansion", (6, 8), 0.01),
]
LOSS: list[Claim] = [
    greater("loss", "", "Linear loses less", "projection", "linear", "relu6", metric="test_loss"),
    monotone("falls", "", "", "expansion", (1, 10), 0.02, metric="test_loss"),
    equivalent("loss_plateau", "", "", "expansion", (6, 8), 0.05, metric="test_loss"),
]


def chart_of(frame: pd.DataFrame, claims: list[Claim]) -> Chart:
    chart = forest(frame, claims, decide(claims, frame))
    assert chart is not None
    return chart


def texts(chart: Chart, part: str, view: str = "0") -> list[str]:
    return [row["text"] for row in whole(chart, part, view=view)]


def test_claims_in_different_units_have_axes_of_their_own(frame: pd.DataFrame) -> None:
    mixed = [ACCURACY[0], LOSS[0], ACCURACY[1], *LOSS[1:]]
    chart = chart_of(frame, mixed)
    axes = [view["layer"][-4]["encoding"]["x"]["title"] for view in views_of(chart.spec)]
    assert axes == ["Difference in accuracy (percentage points)", "Difference in loss (nats)"]
    rows = {row["name"]: row for row in decide(mixed, frame)}
    first, second = (whole(chart, "estimate", view=view) for view in "01")
    assert [one["x"] for one in first] == [
        pytest.approx(100 * rows[name]["estimate"], abs=1e-4) for name in ("linear", "plateau")
    ]
    assert [one["x"] for one in second] == [
        pytest.approx(rows[claim.name]["estimate"], abs=1e-6) for claim in LOSS
    ]
    assert second[0]["difference"] == f"−{-rows['loss']['estimate']:.3f} nats"
    assert texts(chart, "title", "0") == ["Linear wins"]
    assert texts(chart, "title", "1") == ["Linear loses less"]


def test_verdicts_stand_before_statements_and_differ_in_colour_and_marker(
    frame: pd.DataFrame,
) -> None:
    words = "Less is more, " * 9
    claims = [*ACCURACY, greater("not", "", words, "projection", "relu6", "linear")]
    chart = chart_of(frame, claims)
    labels = texts(chart, "label")
    assert labels[0] == "Supported: Linear wins"
    # A claim without a statement goes by its name; a long one takes several lines.
    assert labels[1] == "Supported: plateau"
    assert " ".join(labels[2:5]) == f"Refuted: {words}".strip()
    (view,) = views_of(chart.spec)
    shape = view["layer"][5]["encoding"]["shape"]["scale"]
    assert shape == {"domain": ["supported", "refuted"], "range": ["circle", "square"]}
    places = [row["y"] for row in chart.rows if row["part"] in ("label", "estimate")]
    assert places[:5] == sorted(places[:5])
    assert view["height"] >= max(row["y"] for row in chart.rows)


@pytest.mark.parametrize(
    ("claims", "margins"), [(ACCURACY, [(-1.0, 1.0)]), (LOSS, [(-0.05, 0.05)])], ids=["pt", "nats"]
)
def test_a_margin_is_what_an_estimate_is_to_lie_in(
    frame: pd.DataFrame, claims: list[Claim], margins: list[tuple[float, float]]
) -> None:
    # The margin of a monotone claim is of steps, and the estimate of the whole.
    rows = whole(chart_of(frame, claims), "estimate")
    found = [(row["margin_low"], row["margin_high"]) for row in rows]
    assert [ends for ends in found if ends != (None, None)] == margins


def test_differences_are_those_of_the_claims_along_the_main_axis(frame: pd.DataFrame) -> None:
    both = interaction(
        *("i", "", "More without", "projection", "linear", "relu6", "shortcut"),
        *("none", "bottleneck"),
    )
    six = greater("six", "4", "Six wins", "model.expansion", 6, 1)
    chart = chart_of(frame, [*ACCURACY, both, six])
    # The last compares the main axis itself: there is nothing for it to run along.
    assert texts(chart, "title") == ["Linear wins", "More without"]
    assert texts(chart, "label")[-6:] == [f"Expansion {t}" for t in (1, 2, 4, 6, 8, 10)]
    means = frame.groupby(["expansion", "projection"])["test_accuracy"].mean().unstack()
    shown = [row["x"] for row in whole(chart, "along")[:6]]
    assert shown == pytest.approx(list(100 * (means["linear"] - means["relu6"])))


def test_without_a_pair_there_is_no_forest(frame: pd.DataFrame) -> None:
    claims = [greater("none", "", "", "shortcut", "bottleneck", "expansion")]
    assert forest(frame, claims, decide(claims, frame)) is None
