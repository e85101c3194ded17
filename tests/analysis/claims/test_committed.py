"""The committed results decide the claims of their configs as they did when they were written."""

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs import cifar10, digits, digits_recipe, transfer, transfer_recipe
from mnv2_jax.analysis import stated, tables
from mnv2_jax.analysis.charts.forest import claim_fields
from mnv2_jax.analysis.claim_tables import claims_markdown, claims_table
from mnv2_jax.analysis.claims import Claim, recorded, within_of
from mnv2_jax.analysis.html import claim_list
from mnv2_jax.analysis.verdicts import decide, read_decided
from tests.analysis.examples import LINEAR, more_without_shortcuts, plateau, rising

RESULTS = Path(__file__).resolve().parents[3] / "experiments/results"
CONFIGS: dict[str, tuple[Any, ...]] = {
    "blocks": (digits, "blocks"),
    "cifar10_smoke_dose": (cifar10, "smoke,dose"),
    "cifar10_smoke_factorial": (cifar10, "smoke,factorial"),
    "cifar10_smoke_intervention": (cifar10, "smoke,intervention"),
    "cifar10_smoke_precision": (cifar10, "smoke,precision"),
    "digits": (digits,),
    "digits_dose": (digits, "dose"),
    "digits_factorial": (digits, "factorial"),
    "digits_intervention": (digits, "intervention"),
    "digits_place": (digits, "place"),
    "digits_precision": (digits, "precision"),
    "digits_recipe": (digits_recipe,),
    "digits_shift": (digits,),
    "transfer": (transfer,),
    "transfer_recipe": (transfer_recipe,),
}


EARLIER = {
    *("name", "kind", "source", "statement", "metric", "estimate", "ci_low", "ci_high", "verdict"),
    *("confidence", "p_value", "p_holm", "bootstrap_low", "bootstrap_high", "pairs", "seeds"),
    *("dropped", "effect_size", "detectable", "seeds_needed", "margin", "notes", "claim"),
}
"""The keys of decided claims of version 0.2."""

LEVEL = within_of("level", "", "", 0.9, 0.01, where={"model.shortcut": "none"})


@functools.cache  # The claims on blocks take seconds: widths of equal cost are searched for.
def claims_of(folder: str) -> list[Claim]:
    config, *arguments = CONFIGS[folder]
    claims: list[Claim] = config.get_claims(*arguments)
    return claims


def results_of(folder: str) -> pd.DataFrame:
    # Recorded when the field still lay under train.
    return tables.read_results(RESULTS / folder).rename(columns={"train.shift": "augment.shift"})


def test_all_committed_claims_are_decided_anew() -> None:
    assert set(CONFIGS) == {path.parent.name for path in RESULTS.glob("*/claims.json")}


@functools.cache
def decided_anew(folder: str) -> list[dict[str, Any]]:
    claims = claims_of(folder)
    anytime = stated.has_plan_of_seeds(stated.read(RESULTS / folder), claims)
    return decide(claims, results_of(folder), anytime=anytime)


@pytest.mark.parametrize("folder", list(CONFIGS))
def test_committed_results_decide_their_claims_as_before(folder: str) -> None:
    before, now = read_decided(RESULTS / folder), decided_anew(folder)
    assert [row["name"] for row in now] == [row["name"] for row in before]
    for row, old in zip(now, before, strict=True):
        for key in old.keys() - {"stated"}:
            exact = not isinstance(old[key], float)
            # Detectable margins are found by simulation, whose matrices processors round apart.
            near = 1e-6 if key == "detectable" else 1e-9
            assert row[key] == (old[key] if exact else pytest.approx(old[key], rel=near)), key


@pytest.mark.parametrize(
    "folder",
    # That version had no claims on side tables.
    [folder for folder in CONFIGS if not folder.endswith("_precision")],
)
def test_rows_of_earlier_versions_are_shown_as_those_of_this_one(folder: str) -> None:
    now = decided_anew(folder)
    before = [{key: row[key] for key in EARLIER if key in row} for row in now]
    assert claim_list.sentence(before[0]) == claim_list.sentence(now[0])
    assert claim_list.claims(before).count("<li class") == len(now)
    assert claim_list.reading(before)
    assert claims_markdown([row | {"test_images": None} for row in now]) == claims_markdown(before)
    assert claims_table(before).row_count == len(before)
    assert [*map(claim_fields, now)] == [*map(claim_fields, before)]


@pytest.mark.parametrize("folder", list(CONFIGS))
def test_committed_claims_are_recorded_whole(folder: str) -> None:
    assert [recorded(row) for row in read_decided(RESULTS / folder)] == claims_of(folder)


@pytest.mark.parametrize("claim", [LINEAR, plateau(), rising(), more_without_shortcuts(), LEVEL])
def test_every_kind_is_made_again_from_its_row(claim: Claim, frame: pd.DataFrame) -> None:
    (row,) = json.loads(json.dumps(decide([claim], frame)))
    again = recorded(row)
    assert again == claim
    assert again is not None
    assert stated.identity(again) == stated.identity(claim)
    assert recorded({**row, "kind": "mine"}) is None
    assert recorded({key: value for key, value in row.items() if key != "claim"}) is None
    with pytest.raises(ValueError, match="its record is wrong"):
        recorded({**row, "claim": {**row["claim"], "axes": "x"}})


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in RESULTS.glob("*/stated.json"))
)
def test_claims_that_were_noted_keep_their_identities(folder: str) -> None:
    assert {stated.identity(claim) for claim in claims_of(folder)} == set(
        stated.read(RESULTS / folder)
    )


@pytest.mark.parametrize(
    ("claim", "identity"),
    [
        (LINEAR, "7097b25e15b5"),
        (plateau(), "b8308e9a8bdf"),
        (rising(), "dbaaf7b34120"),
        (more_without_shortcuts(), "d48f8beb4258"),
    ],
)
def test_every_kind_keeps_its_identities(claim: Claim, identity: str) -> None:
    assert stated.identity(claim) == identity


@pytest.mark.parametrize("of", ["digits", "cifar10_smoke"])
def test_slopes_0_and_1_have_the_results_of_relu6_and_linear_bit_for_bit(of: str) -> None:
    """The programs are others: one takes slopes, as lane values, and one does not."""
    names = {0.0: "relu6", 1.0: "linear"}
    dose, plain = (results_of(f"{of}_{question}") for question in ("dose", "intervention"))
    ends = dose[(dose["projection"] == "relu6") & dose["model.projection_slope"].isin([*names])]
    ends = ends.assign(projection=ends["model.projection_slope"].map(names))
    plain = plain[plain["model.projection_bias"] == 0]
    pairs = ends.merge(plain, on=["projection", "shortcut", "expansion", "seed"])
    assert len(pairs) == len(ends) == {"digits": 64, "cifar10_smoke": 24}[of]
    for measure in ("test_accuracy", "test_loss", "validation_loss", "train_loss"):
        assert (pairs[f"{measure}_x"] == pairs[f"{measure}_y"]).all()
