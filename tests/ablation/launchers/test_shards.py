import dataclasses
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import digits
from mnv2_jax.ablation import cohort, grid
from mnv2_jax.ablation.launchers import shards
from mnv2_jax.ablation.launchers.shards import Shard

GRID = grid.product(
    grid.axis("model.expansion", (1, 2)),
    grid.axis("model.projection", ("linear", "relu6")),
    grid.axis("seed", range(2)),
)


@dataclasses.dataclass(frozen=True)
class Fake:
    """What shards ask of a cohort."""

    id: str
    runs: tuple[Any, ...]
    each: float
    whole: str = ""

    @property
    def work(self) -> float:
        return self.each * len(self.runs)


def fakes(sizes):
    return [
        Fake(
            f"cohort{number}",
            tuple(types.SimpleNamespace(id=f"{number}-{index}") for index in range(count)),
            each,
        )
        for number, (count, each) in enumerate(sizes)
    ]


cohorts_of = st.lists(st.tuples(st.integers(1, 30), st.floats(0.5, 20)), min_size=1, max_size=8)


@given(cohorts_of, st.integers(1, 12))
def test_shards_hold_every_run_once_and_about_the_same_work(sizes, of):
    cohorts: Any = fakes(sizes)
    parts = [shards.of_shard(cohorts, Shard(number, of)) for number in range(1, of + 1)]
    held = [run.id for part in parts for piece in part for run in piece.runs]
    assert held == [run.id for whole in cohorts for run in whole.runs]
    # A run cannot be cut: no shard is further from its share than by the longest one.
    share = sum(whole.work for whole in cohorts) / of
    longest = max(whole.each for whole in cohorts)
    assert all(
        abs(sum(piece.work for piece in part) - share) <= longest * (1 + 1e-9) for part in parts
    )
    ids = [piece.id for part in parts for piece in part]
    assert len(set(ids)) == len(ids)  # Checkpoints of two pieces never lie in one folder.


@given(st.integers(1, 30), st.integers(1, 40))
def test_pieces_hold_every_run_once_and_differ_by_one(count, parts):
    (whole,) = cohorts = fakes([(count, 1.0)])
    cut: Any = shards.pieces(cohorts[0], parts)  # type: ignore[arg-type]
    assert [run.id for piece in cut for run in piece.runs] == [run.id for run in whole.runs]
    sizes = [len(piece.runs) for piece in cut]
    assert len(sizes) == min(count, parts)
    assert max(sizes) - min(sizes) <= 1


def test_a_piece_of_all_is_the_cohort_itself(dots):
    cohorts = cohort.plan(grid.expand(digits.get_config(), GRID), lambda _: dots)
    assert shards.of_shard(cohorts, Shard(1, 1)) == cohorts
    assert shards.piece(cohorts[0], cohorts[0].runs) is cohorts[0]
    half = shards.piece(cohorts[0], cohorts[0].runs[:2])
    assert half.whole == shards.piece(half, half.runs[:1]).whole == cohorts[0].id
    assert (half.id, half.runs) != (cohorts[0].id, cohorts[0].runs)
    assert half.network_fingerprint == cohorts[0].network_fingerprint


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "/4", "a/b", "-1/4", "1/4/8", "1/0"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match=r"shard=.*: expected I/N with I from 1 to N"):
        shards.parse(text)


def test_a_shard_is_read_as_it_is_written():
    assert shards.parse("2/8") == Shard(2, 8)
    assert str(Shard(2, 8)) == "--shard=2/8"
    assert Shard(2, 8).part == "shard-2-of-8"
