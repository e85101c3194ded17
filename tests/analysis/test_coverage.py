import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone
from mnv2_jax.analysis.verdicts import decide, undecidable
from tests.analysis.examples import CLAIM, more_without_shortcuts, transfers
from tests.analysis.synthetic import make_frame


def test_runs_that_differ_in_more_than_the_axis_are_told_before_and_after() -> None:
    frame = make_frame(expansions=(6,), shortcuts=("bottleneck",))
    relu6 = frame["projection"] == "relu6"
    frame = frame.assign(**{"width": 1.0 + relu6, "train.momentum": np.where(relu6, 0.8, 0.9)})
    claims: list[Claim] = [
        greater(*CLAIM),
        greater(*CLAIM, covarying=["model.width"]),
        greater(*CLAIM, covarying=["model.width", "train.momentum"]),
    ]
    assert undecidable(claims, frame.to_dict("records")) == [
        "claim 'linear' cannot be decided: runs with projection linear and relu6 differ in width "
        "and train.momentum too; name them in covarying=(...)",
        "claim 'linear' cannot be decided: runs with projection linear and relu6 differ in "
        "train.momentum too; name it in covarying=(...)",
    ]
    both, one, none = decide(claims, frame)
    assert both["notes"] == [
        "Of the results, runs with projection linear and relu6 differ in width and train.momentum "
        "too: none of them are pairs."
    ]
    assert one["notes"] == [both["notes"][0].replace("width and ", "")]
    assert (both["verdict"], none["verdict"]) == ("inconclusive", "supported")


def test_what_keeps_runs_apart_is_that_of_the_two_nearest() -> None:
    wide = make_frame(expansions=(1, 2), projections=("relu6",), shortcuts=("none",))
    frame = make_frame(expansions=(6,), projections=("linear",))
    both = pd.concat([frame, wide.assign(epochs=9)], ignore_index=True)
    (told,) = undecidable([greater(*CLAIM)], both.to_dict("records"))
    assert "differ in expansion and epochs too" in told


def test_every_kind_of_claim_is_told_by_the_values_that_have_no_pairs() -> None:
    frame = make_frame(expansions=(4, 6, 8), shortcuts=("bottleneck", "none"))
    frame.loc[frame["expansion"] == 8, "epochs"] = 9
    without = frame["shortcut"] == "none"
    shifted = frame.assign(width=1.0 + (without & (frame["projection"] == "relu6")))
    where = {"shortcut": "bottleneck"}
    alone = "; a claim of `greater` allows for that, by covarying=(...)"
    assert undecidable(
        [
            equivalent("e", "", "", "expansion", (4, 6, 8), 0.01, where),
            monotone("m", "", "", "expansion", (4, 6), where=where),
        ],
        frame.to_dict("records"),
    ) == [
        "claim 'e' cannot be decided: runs with expansion 8 and 4 where shortcut bottleneck differ "
        "in epochs too; runs with expansion 8 and 6 where shortcut bottleneck differ in epochs too"
        + alone
    ]
    (told,) = undecidable([more_without_shortcuts()], shifted.to_dict("records"))
    assert told == (
        "claim 'more_without' cannot be decided: runs with projection linear and relu6 where "
        f"shortcut none differ in width too{alone}"
    )


def test_other_seeds_are_no_pairs_whatever_is_named() -> None:
    frame = make_frame(expansions=(6,), shortcuts=("none",))
    frame.loc[frame["projection"] == "relu6", "seed"] += 6
    assert undecidable([greater(*CLAIM)], frame.to_dict("records")) == [
        "claim 'linear' cannot be decided: runs with projection linear and relu6 differ in seed "
        "too; expected the same seeds"
    ]


def test_runs_that_cannot_be_told_apart_are_refused_before_they_are_trained() -> None:
    frame = make_frame(expansions=(4, 6), shortcuts=("none",))
    with pytest.raises(ValueError, match=r"^claim 'linear': two runs .* pairs are ambiguous"):
        undecidable([greater(*CLAIM, covarying=["expansion"])], frame.to_dict("records"))


def test_values_are_looked_for_among_the_runs_that_a_claim_speaks_of() -> None:
    where = {"transfer.phase": "extraction"}
    claims: list[Claim] = [
        greater("there", "", "", "model.projection", "linear", "relu6", where),
        greater("one", "", "", "transfer.norm", "inference", "trained", where),
        greater("aside", "", "", "transfer.norm", "all", "inference"),
        greater("where", "", "", "expansion", 6, 1, {"transfer.norm": "all"}),
        greater("never", "", "", "expansion", 6, 1, {**where, "transfer.norm": "trained"}),
        greater("nowhere", "", "", "expansion", 7, 1, {**where, "transfer.norm": "trained"}),
        interaction(
            *("cells", "", "", "transfer.norm", "inference", "trained", "transfer.phase"),
            *("extraction", "tuned"),
        ),
    ]
    assert undecidable(claims, transfers().to_dict("records")) == [
        "claim 'one' cannot be decided: no run has transfer.norm trained where "
        "transfer.phase extraction",
        "claim 'aside' cannot be decided: no run has transfer.norm all where transfer.phase is "
        "not pretraining",
        "claim 'where' cannot be decided: no run has transfer.norm all where transfer.phase is "
        "not pretraining",
        "claim 'never' cannot be decided: no run has transfer.phase extraction and "
        "transfer.norm trained",
        "claim 'nowhere' cannot be decided: no run has expansion 7",
        "claim 'cells' cannot be decided: no run has transfer.norm inference and transfer.phase "
        "tuned or transfer.norm trained and transfer.phase extraction",
    ]
