import pandas as pd
import pytest

from mnv2_jax.analysis.claims import equivalent, greater, interaction, monotone
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.examples import more_without_shortcuts


def test_claims_that_cannot_be_meant_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="better and worse are both 'linear'"):
        greater("x", "", "", "projection", "linear", "linear")
    with pytest.raises(ValueError, match="where restricts the compared axis 'projection'"):
        greater("x", "", "", "projection", "linear", "relu6", {"projection": "linear"})
    for values in ((6,), (6, 6)):
        with pytest.raises(ValueError, match="must be two or more, all different"):
            equivalent("x", "", "", "expansion", values, 0.01)
    for margin in (0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            equivalent("x", "", "", "expansion", (6, 8), margin)
        if margin != 0:
            with pytest.raises(ValueError, match="margin"):
                monotone("x", "", "", "expansion", (6, 8), margin)
    with pytest.raises(ValueError, match="must be two or more, all different"):
        monotone("x", "", "", "expansion", (6, 8, 6))
    with pytest.raises(ValueError, match="more and less are both 'none'"):
        more_without_shortcuts("none", "none")
    with pytest.raises(ValueError, match="axis and by are both 'width'"):
        interaction("x", "", "", "width", 1, 2, by="width", more=1, less=2)
    with pytest.raises(ValueError, match="better and worse are both 1"):
        interaction("x", "", "", "width", 1, 1, by="expansion", more=1, less=2)
    with pytest.raises(ValueError, match="where restricts the compared axis 'expansion'"):
        interaction("x", "", "", "width", 1, 2, "expansion", 1, 2, {"expansion": 1})
    with pytest.raises(ValueError, match="where restricts the compared axis 'expansion'"):
        monotone("x", "", "", "expansion", (6, 8), where={"expansion": 6})
    with pytest.raises(ValueError, match="axis 'stride'"):
        decide([greater("x", "", "", "stride", 1, 2)], frame)
