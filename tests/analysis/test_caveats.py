import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis.claims import Claim, equivalent, greater, monotone
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.synthetic import make_frame, stop

SCATTER = np.array([0.011, 0.004, 0.009, 0.016, 0.005, 0.012])
LINEAR = greater("linear", "", "", "projection", "linear", "relu6")


def frame_with(seed_differences: np.ndarray) -> pd.DataFrame:
    """Runs whose linear projections lead by a number that depends on the seed alone."""
    frame = make_frame(expansions=(6,), seeds=len(seed_differences))
    lead = frame["seed"].map(dict(enumerate(seed_differences)))
    frame["test_accuracy"] = 0.9 + lead * (frame["projection"] == "linear")
    return frame


def notes_of(claim: Claim, frame: pd.DataFrame, *others: Claim) -> list[str]:
    notes = decide([claim, *others], frame)[0]["notes"]
    assert isinstance(notes, list)
    return notes


def test_a_clear_result_needs_no_note() -> None:
    assert notes_of(LINEAR, frame_with(SCATTER)) == []


@pytest.mark.parametrize(("seeds", "least"), [(2, "0.5"), (3, "0.25"), (5, "0.0625")])
def test_fewer_than_six_seeds_cannot_reach_5_percent(seeds: int, least: str) -> None:
    frame = frame_with(0.1 + SCATTER[:seeds] / 100)
    assert notes_of(LINEAR, frame) == [
        f"p of the sign-flip test, which assumes no distribution, is {float(least):.3f}, and "
        f"{seeds} seeds cannot give less than {least}."
    ]
    # An equivalence is tested otherwise.
    equal = equivalent("e", "", "", "projection", ("linear", "relu6"), 0.2)
    assert notes_of(equal, frame) == []


def test_a_claim_that_the_correction_leaves_open_is_told() -> None:
    frame = frame_with(SCATTER - 0.0045)
    assert decide([LINEAR], frame)[0]["verdict"] == "supported"
    others = [greater(name, "", "", "shortcut", "bottleneck", "none") for name in "abc"]
    (row, *_) = decide([LINEAR, *others], frame)
    assert row["verdict"] == "inconclusive"
    told = f"By itself p is {row['p_value']:.3f}; by Holm's correction over 4 claims it is "
    assert row["notes"][0] == f"{told}{row['p_holm']:.3f}."
    assert row["p_holm"] == pytest.approx(4 * row["p_value"])
    # The interval that holds together with those of the other claims is wider, and reaches 0.
    assert row["joint_low"] < 0 < row["ci_low"]


def test_a_refuted_equivalence_has_a_p_of_its_own() -> None:
    equal = equivalent("e", "", "", "projection", ("linear", "relu6"), 0.001)
    (row,) = decide([equal], frame_with(SCATTER))
    assert (row["verdict"], row["notes"]) == ("refuted", [])
    assert row["p_support"] > 0.5
    assert row["p_value"] == row["p_refute"] < 0.05
    assert row["sign_flip_p"] is None


def test_pairs_left_out_are_counted() -> None:
    frame = frame_with(SCATTER)
    stop(frame, 0)
    left_out = "1 of 12 pairs is left out: a run of it is not among the results or did not finish."
    assert notes_of(LINEAR, frame) == [left_out]
    left_out = (
        "2 of 12 pairs are left out: a run of each is not among the results or did not finish."
    )
    assert notes_of(LINEAR, frame.drop(index=1)) == [left_out]


def test_pairs_of_which_no_seed_has_both_runs_are_told_from_those_that_lost_one() -> None:
    frame = make_frame(expansions=(4, 6), shortcuts=("none",))
    # The grid has ReLU6 at one expansion alone, and one run of the others diverged.
    frame = frame[(frame["projection"] == "linear") | (frame["expansion"] == 6)]
    stop(frame, frame.index[-1])
    assert notes_of(LINEAR, frame)[:2] == [
        "1 of 12 pairs is left out: a run of it is not among the results or did not finish.",
        "6 of 12 pairs are left out: a run of each is not among the results, whatever the seed.",
    ]


def test_what_was_not_measured() -> None:
    frame = frame_with(SCATTER)
    assert notes_of(LINEAR, frame[frame["seed"] == 0]) == ["One seed gives no interval."]
    assert notes_of(LINEAR, frame[frame["projection"] == "linear"]) == [
        "No run has projection relu6."
    ]
    frame.loc[frame["projection"] == "linear", "status"] = "diverged"
    left_out = (
        "12 of 12 pairs are left out: a run of each is not among the results or did not finish."
    )
    assert notes_of(LINEAR, frame) == [left_out, "No pair of runs finished."]
    rise = monotone("m", "", "", "expansion", (4, 6, 8))
    two = make_frame(expansions=(4, 6))
    assert notes_of(rise, two) == ["No run has expansion 8."]


def test_inconclusive_says_what_the_design_could_have_seen() -> None:
    frame = frame_with(SCATTER - 0.006)
    (row,) = decide([LINEAR], frame)
    assert row["notes"] == [
        f"By the scatter of its seeds, this design would find a difference of "
        f"{100 * row['detectable']:.2f} points 8 times in 10; one as small as estimated takes "
        f"{row['seeds_needed']} seeds."
    ]
    assert (round(row["detectable"], 4), row["seeds_needed"]) == (0.0065, 16)
    equal = equivalent("e", "", "", "projection", ("linear", "relu6"), 0.005)
    (row,) = decide([equal], frame)
    assert row["notes"] == [
        f"By the scatter of its seeds, this design would confirm a margin of "
        f"{100 * row['detectable']:.2f} points, were there no difference, 8 times in 10; "
        f"a margin of 0.5 takes {row['seeds_needed']} seeds."
    ]


def test_no_number_of_seeds_finds_no_difference() -> None:
    (note,) = notes_of(LINEAR, frame_with(np.array([0.01, -0.01, 0.02, -0.02, 0.03, -0.03])))
    assert note.endswith("8 times in 10.")


def test_a_monotone_claim_names_the_step_that_fails() -> None:
    frame = make_frame(expansions=(2, 4, 6))
    noise = np.random.default_rng(0).normal(0, 0.001, len(frame))
    frame["test_accuracy"] = frame["expansion"].map({2: 0.90, 4: 0.95, 6: 0.93}) + noise
    rise = monotone("m", "", "", "expansion", (2, 4, 6))
    (note,) = notes_of(rise, frame)
    assert note.startswith("Furthest from a rise: 4 to 6, -2.0 [-2.")
    assert note.endswith("] points (90 %).")
    assert notes_of(monotone("m", "", "", "expansion", (2, 6)), frame) == []


def test_runs_that_training_ruined_are_told_first() -> None:
    frame = frame_with(SCATTER - SCATTER.mean())
    assert decide([LINEAR], frame)[0]["verdict"] == "inconclusive"
    frame["restored_epoch"] = np.nan
    assert not any("ruined" in note for note in notes_of(LINEAR, frame))
    frame.loc[frame.index[:3], "restored_epoch"] = (0, 2, 5)
    of_all = f"Training ruined 3 of the {len(frame)} runs that are compared: "
    assert notes_of(LINEAR, frame)[0].startswith(of_all)
    (decided,) = decide([LINEAR], frame)
    assert decided["verdict"] == "ruined"
    # Of runs that are not compared nothing is said.
    shortcuts = frame["shortcut"].iloc[[0]].to_list()
    other = ({"bottleneck", "none"} - set(shortcuts)).pop()
    assert set(frame.loc[frame["restored_epoch"].notna(), "shortcut"]) == set(shortcuts)
    there = greater("there", "", "", "projection", "linear", "relu6", where={"shortcut": other})
    assert not any("ruined" in note for note in notes_of(there, frame))
