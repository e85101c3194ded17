from typing import Any

import pytest

from mnv2_jax.analysis.html import claim_table

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


def test_a_claim_without_more_has_one_row() -> None:
    html = claim_table.table([ROW])
    assert "+1.3" in html
    assert "35 of 36" in html
    for row in (ROW, ROW | {"p_holm": None, "bootstrap_low": None, "notes": []}):
        assert 'class="more"' not in claim_table.table([row])
        assert claim_table.reading([row]) == ""


def test_what_more_is_known_stands_below() -> None:
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
    html = claim_table.table([row])
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
        assert f"<dt>{term}</dt>" in claim_table.reading([row])


def test_a_claim_stated_late_says_so() -> None:
    stated = {"config": "c.py", "commit": "a" * 40, "dirty": True, "when": "2026-11-26"}
    html = claim_table.table([ROW | {"stated": stated | {"finished": 1}}])
    assert (
        "Stated in c.py at aaaaaaaaaaaa with uncommitted changes, 2026-11-26, after 1 run" in html
    )
    html = claim_table.table([ROW | {"stated": stated | {"finished": 1_000}}])
    assert "after 1,000 runs were finished." in html


def test_an_equivalence_needs_its_seeds_for_the_margin():
    row = ROW | {"kind": "equivalent", "margin": 0.01, "seeds_needed": 9}
    assert "seeds needed for the margin: 9" in claim_table.table([row])


@pytest.mark.parametrize("words", ["86 %", "correction of Hedges", "below 0.05", "(Bonferroni)"])
def test_the_glossary_says_what_the_manual_says(words):
    names = ("bootstrap_low", "effect_size", "seeds_needed")
    assert words in claim_table.reading(
        [ROW | dict.fromkeys(names, 1.0) | {"kind": "monotone", "margin": 0.01}]
    )
