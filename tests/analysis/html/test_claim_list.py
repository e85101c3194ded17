import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.analysis.html import claim_list, intervals

ROW: dict[str, Any] = {
    "name": "linear",
    "kind": "greater",
    "source": "section 3.2",
    "statement": "Linear wins",
    "metric": "test_accuracy",
    "estimate": 0.013,
    "ci_low": 0.009,
    "ci_high": 0.017,
    "confidence": 0.95,
    "pairs": 35,
    "seeds": 6,
    "dropped": 1,
    "p_value": 0.031,
    "verdict": "supported",
}


LOSS = {"metric": "test_loss", "estimate": -0.05, "ci_low": -0.07, "ci_high": -0.03}
EQUAL = {"kind": "equivalent", "margin": 0.02, "confidence": 0.9}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Linear wins, by 1.3 points [0.9, 1.7]"),
        (LOSS, "Linear wins, by 0.050 nats in test loss [0.030, 0.070]"),
        ({"kind": "interaction"}, "Linear wins, by 1.3 points [0.9, 1.7]"),
        ({"statement": ""}, "linear, by 1.3 points [0.9, 1.7]"),
        (
            {"verdict": "inconclusive", "ci_low": -0.004},
            "Linear wins; difference +1.3 points [−0.4, +1.7]",
        ),
        (
            {"verdict": "refuted", "estimate": -0.013, "ci_low": -0.017, "ci_high": -0.009},
            "Linear wins; difference −1.3 points [−1.7, −0.9]",
        ),
        ({"verdict": "ruined"}, "Linear wins; difference +1.3 points [+0.9, +1.7]"),
        (EQUAL, "Linear wins; largest difference +1.3 points [+0.9, +1.7] (90 %)"),
        (
            {"kind": "monotone", "margin": 0.0},
            "Linear wins; change from the first value to the last +1.3 points [+0.9, +1.7]",
        ),
        ({"kind": "a user's own"}, "Linear wins; difference +1.3 points [+0.9, +1.7]"),
        (
            {"verdict": "inconclusive", "ci_low": None, "ci_high": None},
            "Linear wins; difference +1.3 points, without an interval",
        ),
        ({"verdict": "inconclusive", "estimate": None}, "Linear wins; not measured"),
    ],
)
def test_a_claim_is_a_sentence_with_estimate_and_interval(
    changes: dict[str, Any], words: str
) -> None:
    row = ROW | changes
    said = "".join(claim_list.sentence(row)).replace("\N{NO-BREAK SPACE}", " ")
    assert said == words
    html = claim_list.claims([row])
    assert f"{row['verdict'].capitalize()}:</strong> " in html
    assert "<summary>6 seeds, 35 of 36 pairs, p 0.031</summary>" in html
    assert ('class="line"' in html) == (row["ci_low"] is not None and row["estimate"] is not None)
    assert ("[" in said) == ('class="line"' in html)


def test_intervals_lie_on_one_scale_for_each_unit() -> None:
    small = ROW | {"estimate": 0.004, "ci_low": 0.002, "ci_high": 0.006}
    html = claim_list.claims([ROW, small, ROW | LOSS])
    zeros = re.findall(r'class="zero" d="M([\d.]+),-20', html)
    lines = [tuple(map(float, pair)) for pair in re.findall(r'd="M([\d.]+),13H([\d.]+)"', html)]
    assert zeros[0] == zeros[1] != zeros[2]
    pixel = (lines[0][1] - lines[0][0]) / 0.8
    assert lines[1][1] - lines[1][0] == pytest.approx(0.4 * pixel, abs=0.2)
    assert lines[1][0] - float(zeros[0]) == pytest.approx(0.2 * pixel, abs=0.2)
    assert lines[2][1] < float(zeros[2])
    assert [title in html for title in ("(percentage points)", "(nats)")] == [True, True]
    # One seed's wide interval leaves room for the others, and ends at the edge.
    wide = ROW | {"ci_low": -9.0, "ci_high": 9.0}
    assert 'd="M0.0,13H300.0"' in claim_list.claims([wide, small])
    assert claim_list.claims([]) == ""


def test_details_are_folded() -> None:
    html = claim_list.claims([ROW])
    assert "<p>linear (section 3.2, test accuracy)</p>" in html
    assert "<ul>" not in html
    assert claim_list.reading([ROW]) == ""
    assert claim_list.reading([ROW | {"p_holm": None, "bootstrap_low": None, "notes": []}]) == ""


def test_what_more_is_known_is_among_the_details() -> None:
    row = ROW | {
        "bootstrap_low": 0.008,
        "bootstrap_high": 0.018,
        "p_holm": 0.094,
        "effect_size": -3.456,
        "detectable": 0.0042,
        "seeds_needed": 4,
        "notes": ["Fewer than 6 seeds cannot reach < 0.05."],
        "stated": {
            "config": "configs/digits.py",
            "commit": "24f9e47c8d1e41621e2477b7",
            "dirty": False,
            "when": None,
            "finished": 0,
        },
    }
    html = claim_list.claims([row])
    assert "p 0.031, 1 note</summary>" in html
    for text in (
        "BCa interval +0.8 to +1.8",
        "p (Holm) 0.094",
        "effect size −3.46",
        "detectable ±0.4",
        "seeds needed for the difference seen: 4",
        "Fewer than 6 seeds cannot reach &lt; 0.05.",
        "Stated in configs/digits.py at 24f9e47c8d1e before any run.",
    ):
        assert text in html
    for term in ("BCa interval", "p (Holm)", "Effect size", "Detectable", "Seeds needed"):
        assert f"<dt>{term}</dt>" in claim_list.reading([row])


def test_a_claim_stated_late_says_so() -> None:
    stated = {"config": "c.py", "commit": "a" * 40, "dirty": True, "when": "2026-11-26"}
    html = claim_list.claims([ROW | {"stated": stated | {"finished": 1}}])
    assert (
        "Stated in c.py at aaaaaaaaaaaa with uncommitted changes, 2026-11-26, after 1 run" in html
    )
    html = claim_list.claims([ROW | {"stated": stated | {"finished": 1_000}}])
    assert "after 1,000 runs were finished." in html


def test_an_equivalence_needs_its_seeds_for_the_margin():
    row = ROW | {"kind": "equivalent", "margin": 0.01, "seeds_needed": 9}
    assert "seeds needed for the margin: 9" in claim_list.claims([row])


@pytest.mark.parametrize(
    "words", ["86 %", "correction of Hedges", "cannot give less", "(Bonferroni)"]
)
def test_the_glossary_says_what_the_manual_says(words):
    names = ("bootstrap_low", "effect_size", "seeds_needed", "sign_flip_p")
    assert words in claim_list.reading(
        [ROW | dict.fromkeys(names, 1.0) | {"kind": "monotone", "margin": 0.01}]
    )


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e6))
def test_ticks_are_a_few_round_numbers_that_lie_inside(low: float, span: float) -> None:
    high = low + span
    ticks = intervals._ticks(low, high)
    values = [value for value, _ in ticks]
    assert 1 <= len(ticks) <= 7
    assert values == sorted(values)
    assert all(low - 1e-9 * span <= value <= high + 1e-9 * span for value in values)
    written = [float(text.replace("−", "-")) for _, text in ticks]
    assert len({*written}) == len(ticks)
    assert written == pytest.approx(values, rel=1e-6, abs=1e-3 * span)


def test_an_interval_that_goes_on_beyond_the_edge_has_an_arrow() -> None:
    wide = ROW | {"ci_low": -0.5, "ci_high": 0.6}
    for row, arrows in ((ROW, 0), (wide, 2), (ROW | {"ci_high": 0.6}, 1)):
        drawn = intervals.Forest([row]).interval(row)
        assert drawn.count('<path class="line"') == 1 + arrows
