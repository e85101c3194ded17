import re

import pandas as pd

from mnv2_jax.analysis.html import design, means
from tests.analysis.synthetic import make_frame, stop


def rows_of(frame: pd.DataFrame) -> list[list[str]]:
    html = means.table(design.axes_of(frame), frame)
    rows = re.findall(r"<tr>(.*?)</tr>", html[html.index("<table") :])
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[re.sub(r"<[^>]*>", " ", cell).strip() for cell in row] for row in cells]


def test_it_holds_the_means_over_seeds() -> None:
    frame = make_frame(expansions=(6,), seeds=2)
    frame.loc[frame["projection"] == "relu6", "test_accuracy"] = 0.25
    frame.loc[frame["projection"] == "linear", "test_accuracy"] = [0.5, 0.7, 0.8, 0.8]
    stop(frame, 3)
    # Without expansions, projections go along charts' x, and so down.
    assert rows_of(frame) == [
        ["Projection", "Shortcut between bottlenecks", "No shortcut"],
        ["Linear", "60.0  ± 14.1", "80.0 1 seed"],
        ["ReLU6", "25.0  ± 0.0", "25.0  ± 0.0"],
    ]


def test_every_axis_that_varies_is_told_apart() -> None:
    parts = [
        make_frame(expansions=(1, 6), shortcuts=("none",), seeds=2).assign(
            **{"block": block, "train.learning_rate": rate, "test_accuracy": accuracy}
        )
        for block, rate, accuracy in (
            ("<fused>", 0.1, 0.5),
            ("<fused>", 0.2, 0.6),
            ("inverted_residual", 0.1, 0.7),
        )
    ]
    head, names, *rows = rows_of(pd.concat(parts, ignore_index=True))
    assert head == ["Expansion", "Learning rate", "Linear", "ReLU6"]
    assert names == ["&lt;fused&gt;", "inverted_residual"] * 2
    assert [row[:3] for row in rows] == [
        ["1", "0.1", "50.0  ± 0.0"],
        ["1", "0.2", "60.0  ± 0.0"],
        ["6", "0.1", "50.0  ± 0.0"],
        ["6", "0.2", "60.0  ± 0.0"],
    ]
    assert rows[1][3:] == ["", "60.0  ± 0.0", ""]


def test_columns_name_their_axis() -> None:
    parts = [
        make_frame(expansions=(1, 6), shortcuts=("none",), seeds=2).assign(
            **{"train.weight_decay": decay}
        )
        for decay in (0, 0.02)
    ]
    head, names, *_ = rows_of(pd.concat(parts, ignore_index=True))
    assert head == ["Expansion", "Weight decay 0", "Weight decay 0.02"]
    assert names == ["Linear", "ReLU6"] * 2
