import math

import numpy as np
import pytest

from mnv2_jax.analysis import reach
from mnv2_jax.analysis.decisions import Comparison, decide_sign
from mnv2_jax.analysis.means import holm
from mnv2_jax.analysis.verdicts import corrected


@pytest.mark.parametrize(("seeds", "claims"), [(2, 1), (6, 3), (8, 6), (24, 1)])
def test_the_least_effect_is_just_decided(seeds: int, claims: int) -> None:
    values = np.random.default_rng(0).normal(size=seeds)
    unit = (values - values.mean()) / values.std(ddof=1)
    least = reach.least_effect(seeds, claims)
    nothing = decide_sign(Comparison(unit, seeds, 0))
    for factor, verdict in ((1.001, "supported"), (0.999, "inconclusive")):
        first = decide_sign(Comparison(unit + factor * least, seeds, 0))
        assert corrected([first, *[nothing] * (claims - 1)], holm)[0][0] == verdict


def test_seeds_that_stop_need_what_e_values_need() -> None:
    # |t| of 4.7 with six seeds, for one claim.
    assert reach.least_effect(6, 1, stops=True) == pytest.approx(4.7 / math.sqrt(6), abs=0.02)
    assert reach.least_effect(6, 3, stops=True) > reach.least_effect(6, 1, stops=True)
    assert math.isinf(reach.least_effect(3, 1, stops=True))


def test_lines() -> None:
    nothing = "cannot decide any claim, whatever the results;"
    assert reach.line(1, 2) == f"1 seed {nothing} 2 seeds could"
    assert reach.line(3, 1, stops=True) == f"3 seeds {nothing} 4 seeds could"
    assert reach.line(6, 3) == (
        "with 6 seeds, the first verdict on 3 claims needs a mean difference of 1.4 standard "
        "deviations between seeds, and more where test images count; sign-flip p cannot be below "
        "0.031"
    )
    assert reach.line(6, 1).startswith("with 6 seeds, a verdict needs a mean difference of 1 ")


@pytest.mark.parametrize("stops", [False, True])
def test_seeds_that_draw_their_own_images_need_more(stops: bool) -> None:
    alone, drawn = (reach.least_effect(6, 1, stops=stops, overlap=o) for o in (0.0, 0.5))
    assert drawn > 1.9 * alone
