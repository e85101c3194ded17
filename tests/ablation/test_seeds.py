import pytest

from mnv2_jax.ablation import seeds
from mnv2_jax.ablation.seeds import Auto


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8", 8),
        ("0,2,5", [0, 2, 5]),
        ("auto", Auto(6, 2, 24)),
        ("auto:8,4,40", Auto(8, 4, 40)),
    ],
)
def test_seeds_are_read_as_they_are_written(text, wanted):
    assert seeds.parse(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "-1", "1,", "auto:", "auto:1,2", "auto:a,b,c", "Auto"])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError, match=f"^seeds={text}: expected how many, such as 8, which"):
        seeds.parse(text)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            (1, 2, 24),
            r"seeds: auto\(minimum=1, step=2, budget=24\): minimum=1; expected a whole nu",
        ),
        ((6, 0, 24), "seeds: auto.*: step=0; expected a whole number, 1 or more"),
        ((6, 2, 5), "seeds: auto.*: budget=5; expected a whole number, 6 of minimum or more"),
        ((6, 2.5, 24), "seeds: auto.*: step=2.5; expected a whole number, 1 or more"),
    ],
)
def test_wrong_numbers_are_refused(numbers, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Auto(*numbers)


@pytest.mark.parametrize(
    ("plan", "counts"),
    [
        (Auto(6, 2, 11), (2, 4, 6, 8, 10, 11)),
        (Auto(5, 2, 8), (2, 4, 5, 7, 8)),
        (Auto(4, 6, 12), (4, 10, 12)),
        (Auto(4, 2, 4), (2, 4)),
    ],
)
def test_rounds_lead_over_the_minimum_to_the_budget(plan, counts):
    assert plan.counts == counts
    assert list(plan) == list(range(plan.minimum))
