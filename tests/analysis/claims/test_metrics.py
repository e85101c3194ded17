"""Claims about metrics other than accuracy."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mnv2_jax.analysis.claim_tables import claims_markdown, claims_table
from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from mnv2_jax.analysis.html import claim_list
from mnv2_jax.analysis.verdicts import check, decide, undecidable
from tests.analysis.synthetic import make_frame, stop

LOSS = "test_loss"
MAKERS: dict[str, Callable[[str], Claim]] = {
    "greater": lambda metric: greater(
        "g", "", "", "projection", "linear", "relu6", {"shortcut": "none"}, metric
    ),
    "interaction": lambda metric: interaction(
        *("i", "", "", "projection", "linear", "relu6", "shortcut", "none", "bottleneck"),
        metric=metric,
    ),
    "equivalent": lambda metric: equivalent(
        "e", "", "", "expansion", (6, 8, 10), 0.01, metric=metric
    ),
    "monotone": lambda metric: monotone("m", "", "", "expansion", (1, 4, 10), 0.002, metric=metric),
}


def mirrored(seed: int, noise: float) -> pd.DataFrame:
    """Runs whose loss is what they lack in accuracy."""
    frame = make_frame(seeds=6)
    frame["test_accuracy"] += np.random.default_rng(seed).normal(0, noise, len(frame))
    stop(frame, 7)
    return frame.assign(test_loss=1 - frame["test_accuracy"])


@pytest.mark.parametrize(("seed", "noise"), [(0, 0), (1, 0.01), (2, 0.05)])
def test_less_loss_is_better_by_as_much_as_more_accuracy(seed: int, noise: float) -> None:
    frame = mirrored(seed, noise)
    every, losses = (
        decide([make(metric) for make in MAKERS.values()], frame)
        for metric in ("test_accuracy", LOSS)
    )
    for accuracy, loss in zip(every, losses, strict=True):
        for key in ("verdict", "pairs", "seeds", "dropped", "confidence", "seeds_needed"):
            assert loss[key] == accuracy[key]
        for key, turned in (
            ("estimate", "estimate"),
            ("ci_low", "ci_high"),
            ("ci_high", "ci_low"),
            ("effect_size", "effect_size"),
        ):
            assert loss[key] == pytest.approx(-accuracy[turned])
        for key in ("p_value", "detectable"):
            assert loss[key] == pytest.approx(accuracy[key])


def test_a_claim_that_holds_has_an_interval_below_0() -> None:
    frame = mirrored(0, 0)
    row, opposite = decide(
        [
            greater("g", "", "", "projection", "linear", "relu6", metric=LOSS),
            greater("o", "", "", "projection", "relu6", "linear", metric=LOSS),
        ],
        frame,
    )
    assert (row["verdict"], opposite["verdict"]) == ("supported", "refuted")
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < 0 < opposite["ci_low"]
    assert row["measure"] == {"label": "loss", "unit": "nats", "digits": 3, "better": "lower"}


def test_numbers_are_written_in_the_unit_of_the_metric() -> None:
    rows = decide([make(LOSS) for make in MAKERS.values()], mirrored(0, 0.001))
    output = io.StringIO()
    Console(width=80, file=output).print(claims_table(rows))
    table = output.getvalue()
    assert max(len(line) for line in table.splitlines()) <= 80
    for words in ("margin ±0.010 nats", "rises up to 0.002 nats", " nats"):
        assert words in table
    assert " pt" not in table
    assert claims_markdown(rows).count("] nats (9") == len(rows)
    html = claim_list.claims(rows)
    assert html.count(" nats in test loss [") == len(rows)
    assert " pt" not in html
    assert "points" not in " ".join(note for row in rows for note in row["notes"])


def test_notes_on_losses_speak_of_falls_and_nats() -> None:
    frame = make_frame(expansions=(2, 4, 6))
    noise = np.random.default_rng(0).normal(0, 0.001, len(frame))
    frame["test_loss"] = frame["expansion"].map({2: 0.3, 4: 0.1, 6: 0.2}) + noise
    (row,) = decide([monotone("m", "", "", "expansion", (2, 4, 6), metric=LOSS)], frame)
    assert row["verdict"] == "refuted"
    assert row["notes"][0].startswith("Furthest from a fall: 4 to 6, +0.100 [+0.09")
    assert row["notes"][0].endswith("] nats (90 %).")
    frame["test_loss"] = np.random.default_rng(2).normal(0.9, 0.2, len(frame))
    (row,) = decide([MAKERS["greater"](LOSS)], frame)
    assert f"find a difference of {row['detectable']:.4f} nats 8 times in 10" in row["notes"][0]


def test_a_margin_of_what_is_no_fraction_may_be_any_number_above_0() -> None:
    assert equivalent("e", "", "", "expansion", (6, 8), 1.5, metric=LOSS)
    assert monotone("m", "", "", "expansion", (6, 8), 1.5, metric=LOSS)
    for margin in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a number above 0"):
            equivalent("e", "", "", "expansion", (6, 8), margin, metric=LOSS)
    with pytest.raises(ValueError, match="must be a number, 0 or more"):
        monotone("m", "", "", "expansion", (6, 8), -0.1, metric=LOSS)


@pytest.mark.parametrize("metric", ["seconds", "madds", "test_top5_accuracy", "nothing"])
@pytest.mark.parametrize("kind", list(MAKERS))
def test_what_is_no_metric_of_the_results_is_refused_before_there_are_any(
    kind: str, metric: str
) -> None:
    message = (
        f"claim '.': metric '{metric}' is no metric of these results; must be one of .'train_a"
    )
    with pytest.raises(ValueError, match=message):
        check([MAKERS[kind](metric)], make_frame().columns)


def test_claims_about_losses_can_be_decided() -> None:
    claims = [make(LOSS) for make in MAKERS.values()]
    check(claims, make_frame().columns)
    runs = make_frame().drop(columns=[LOSS, "test_accuracy"]).to_dict("records")
    assert undecidable(claims, runs) == []
