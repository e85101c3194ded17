"""A kind of claim from outside the package: a class, and what it takes from its base."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from mnv2_jax.analysis import stated
from mnv2_jax.analysis.charts.forest import forest
from mnv2_jax.analysis.claim_tables import claims_markdown, claims_table
from mnv2_jax.analysis.claims import KINDS, Claim, shown
from mnv2_jax.analysis.claims.base import Row, Shown
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.html import claim_list
from mnv2_jax.analysis.report import analyse
from mnv2_jax.analysis.verdicts import check, decide, read_decided, undecidable
from mnv2_jax.api.planning import read_config_file
from tests.analysis.charts.drawn import whole
from tests.analysis.examples import LINEAR
from tests.analysis.synthetic import make_frame, stop, write_workdir


@dataclass(frozen=True, kw_only=True)
class Beyond(Claim):
    """The metric is better than a bound, in runs of one projection."""

    bound: float
    projection: str

    kind = "beyond"
    counted = "runs"
    in_rows = ("bound",)
    reading = ("Beyond", "Better than a <bound>.")

    def compared(self) -> Sequence[Mapping[str, Any]]:
        return [{"model.projection": self.projection}]

    def decide(self, runs: Runs) -> Decision:
        distances = runs.distances(self.bound)
        chosen = runs.frame.loc[distances.index, "projection"] == self.projection
        return decide_sign(runs.compare(distances[chosen]))

    @classmethod
    def shown(cls, row: Row) -> Shown:
        return {**super().shown(row), "margin": f"above {row['bound']}"}


def beyond(bound: float = 0.5, **fields: Any) -> Beyond:
    given = {"name": "own", "source": "mine", "statement": "Far.", "projection": "linear"} | fields
    return Beyond(bound=bound, **given)


def terminal(rows: Sequence[Row]) -> str:
    output = io.StringIO()
    Console(width=100, file=output).print(claims_table(rows))
    return output.getvalue()


def test_it_is_decided_like_any_other(frame: pd.DataFrame) -> None:
    stop(frame, 0)
    row, beaten, _ = decide([beyond(), beyond(0.99, name="beaten"), LINEAR], frame)
    level = frame[frame["projection"] == "linear"].groupby("seed")["test_accuracy"].mean()
    assert row["estimate"] == pytest.approx(level.mean() - 0.5)
    assert (row["verdict"], beaten["verdict"]) == ("supported", "refuted")
    assert (row["pairs"], row["dropped"], row["seeds"]) == (71, 1, 6)
    assert row["notes"] == ["1 of 72 runs is left out: it did not finish."]
    assert row["detectable"] is not None
    loss = beyond(2.0, metric="test_loss", where={"model.shortcut": "none"})
    assert decide([loss], frame)[0]["verdict"] == "supported"


def test_it_is_checked_before_anything_trains(frame: pd.DataFrame) -> None:
    runs = frame.to_dict("records")
    assert undecidable([beyond()], runs) == []
    assert undecidable([beyond(projection="relu"), beyond(where={"expansion": 7})], runs) == [
        "claim 'own' cannot be decided: no run has projection relu",
        "claim 'own' cannot be decided: no run has expansion 7",
    ]
    with pytest.raises(ValueError, match="claim 'own': where names 'depth', which is no column"):
        check([beyond(where={"depth": 1})], frame.columns)
    with pytest.raises(ValueError, match="claim 'own': metric 'test_lss' is no metric"):
        check([beyond(metric="test_lss")], frame.columns)


def test_without_runs_it_is_inconclusive(frame: pd.DataFrame) -> None:
    for seeds in (0, 1):
        (row,) = decide([beyond()], frame[frame["seed"] < seeds])
        assert (row["seeds"], row["verdict"]) == (seeds, "inconclusive")
    for index in frame.index:
        stop(frame, index)
    (row,) = decide([beyond()], frame)
    assert row["notes"][-1] == "No run finished."


def test_its_rows_are_shown_where_the_class_is_not_known(frame: pd.DataFrame) -> None:
    assert "beyond" not in KINDS
    rows = json.loads(json.dumps(decide([beyond(), LINEAR], frame)))
    assert rows[0]["bound"] == 0.5
    assert shown(rows[0])["margin"] == "above 0.5"
    assert "above 0.5" in terminal(rows)
    assert "72 of 72 runs" in claims_markdown(rows)
    html = claim_list.claims(rows) + claim_list.reading(rows)
    assert "above 0.5" in html
    assert "beyond test accuracy" in html
    assert "<dt>Beyond</dt>\n<dd>Better than a &lt;bound&gt;.</dd>" in html
    chart = forest(frame, [beyond(), LINEAR], rows)
    assert chart is not None
    first, second = whole(chart, "estimate")
    assert (first["claim"], second["claim"]) == (rows[0]["statement"], rows[1]["statement"])
    assert first["margin_low"] is None


def test_rows_of_a_kind_that_nothing_is_known_of_are_shown_too(frame: pd.DataFrame) -> None:
    (row,) = decide([beyond()], frame)
    bare = {key: value for key, value in row.items() if key not in ("shown", "measure")}
    assert "supported" in terminal([bare])
    assert "**supported**" in claims_markdown([bare])
    assert "beyond test accuracy" in claim_list.claims([bare])
    assert claim_list.reading([bare | dict.fromkeys(("detectable", "seeds_needed"))])
    chart = forest(frame, [beyond()], [bare])
    assert chart is not None
    assert [one["verdict"] for one in whole(chart, "estimate")] == ["supported"]


def test_it_goes_through_the_whole_analysis(tmp_path: Path) -> None:
    write_workdir(tmp_path, make_frame(expansions=(6,), shortcuts=("none",), seeds=2))
    stated.note(tmp_path, [beyond()], {"config": "mine.py"}, 0)
    (row,) = analyse(tmp_path, [beyond()], title="t", command="c")
    assert read_decided(tmp_path) == [row]
    assert row["stated"]["config"] == "mine.py"
    assert "<dt>Beyond</dt>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert stated.identity(beyond()) != stated.identity(beyond(0.6))


OWN = """
from dataclasses import dataclass
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.decisions import INCONCLUSIVE, Comparison, Decision


@dataclass(frozen=True, kw_only=True)
class Mine(Claim):
    kind = "mine"

    def decide(self, runs):
        one = runs.compare(runs.distances(0.9))
        return Decision(float("nan"), float("nan"), one, [one])


def get_config():
    from configs import digits
    return digits.get_config()


def get_grid():
    from mnv2_jax.ablation.grid import axis
    return axis("seed", (0,))


def get_claims():
    return [Mine(name="mine", source="", statement="")]
"""


def test_a_config_gives_claims_of_a_kind_of_its_own(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    claims = read_config_file(str(path)).claims
    check(claims, frame.columns)
    (row,) = decide(claims, frame)
    assert (row["kind"], row["verdict"], row["p_holm"]) == ("mine", "inconclusive", None)


def test_errors_of_a_kind_become_a_line(frame: pd.DataFrame) -> None:
    class Wrong(Beyond):
        def decide(self, runs: Runs) -> Decision:
            return decide_sign(runs.no_such_thing)  # type: ignore[attr-defined]

    given: dict[str, Any] = {"name": "own", "source": "", "statement": "", "bound": 1.0}
    given["projection"] = "linear"
    with pytest.raises(
        ValueError, match=r"^claim .own.: a claim of kind beyond raises AttributeError: .Runs. "
    ):
        check([Wrong(**given)], frame.columns)
    with pytest.raises(TypeError, match='Nameless: expected a name, such as kind = "greater"'):
        type("Nameless", (Claim,), {})
