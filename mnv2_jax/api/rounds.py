"""Rounds of an experiment whose seeds stop by themselves.

The first rounds train some seeds of all runs, until there is the minimum. Then claims are decided,
and each further round adds seeds to the runs of claims that are undecided. The runs of a round
follow from the plan and the records of the rounds before alone: whoever resumes an experiment, or
trains a shard of it, goes through the same rounds.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.ablation import finished, records, sweep
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import coverage, decisions, tables
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.verdicts import decide
from mnv2_jax.api.planning import Planned
from mnv2_jax.train import processes

_DECIDED = (decisions.SUPPORTED, decisions.REFUTED, decisions.NEGLIGIBLE)


@dataclasses.dataclass(frozen=True)
class Round:
    """Runs that are trained before claims are decided again.

    Attributes:
      planned: the experiment with the runs of this round and of those before.
      cohorts: the runs of this round.
    """

    planned: Planned
    cohorts: Sequence[Cohort]


def rounds(planned: Planned, here: Workdir, say: Callable[[str], None]) -> Iterator[Round]:
    """Yield the rounds of an experiment; fixed seeds are one round.

    Ends when every claim is decided, the budget is spent, or runs that decide have no record.

    Args:
      planned: the experiment.
      here: its folder.
      say: takes a line on the claims, where there is something to train after it, or nothing more.

    Raises:
      ValueError: a claim names a column that the results lack.
    """
    plan = planned.seeds
    if plan is None:
        yield Round(planned, planned.cohorts)
        return
    primary = processes.is_primary()
    if primary and any(here.path.glob("runs/[!.]*")):
        sweep.write_table(here.path, planned.cohorts)  # With the descriptions of columns.
    runs = planned.runs
    wanted, so_far, line = {*runs}, set[str](), ""
    for count in plan.counts:
        of_round = {name for name in wanted if runs[name].config.seed < count}
        new = planned.with_starts(of_round) - so_far
        so_far |= new
        part = Round(planned.of(so_far), planned.of(new).cohorts)
        if line and finished.remaining(here.path, part.cohorts):
            say(f"{line}; next: {len(new)} runs, up to {count} seeds")
        yield part
        if count < plan.minimum:
            continue
        if primary:
            with contextlib.suppress(OSError):  # A bucket that cannot be reached lacks runs.
                here.sync()
        left = finished.remaining(here.path, part.planned.cohorts)
        if left:
            say(
                f"Claims wait for {sum(len(one.runs) for one in left)} runs of the first {count} "
                f"seeds, which failed or are trained by others; the same command goes on then"
            )
            return
        wanted, line = _judged(planned, part, here) if primary else (set(), "")
        wanted = _agreed(wanted, runs)
        line = f"After {count} seeds: {line}"
        if not wanted or count == plan.budget:
            say(f"{line}; the budget is spent" if wanted else line)
            return


def undecided(claims: Sequence[Claim], rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Return the claims that more seeds may decide; a claim without any pairs is none of them."""
    pairs = zip(claims, rows, strict=True)
    return [claim for claim, row in pairs if row["seeds"] and row["verdict"] not in _DECIDED]


def _judged(planned: Planned, part: Round, here: Workdir) -> tuple[set[str], str]:
    """Decide the claims after a round.

    Returns:
      The runs of undecided claims, with any seed of the plan; and a line.
    """
    text = records.table_text(records.rows(here.path, part.planned.cohorts))
    rows = decide(planned.claims, tables.parsed(here.path, text), anytime=True)
    left = undecided(planned.claims, rows)
    done = [
        f"{row['name']} {row['verdict']} ({row['seeds']} seeds)"
        for row in rows
        if row["verdict"] in _DECIDED
    ]
    rest = [row["name"] for row in rows if row["verdict"] not in _DECIDED]
    line = f"decided: {', '.join(done) or 'none'}; undecided: {', '.join(rest) or 'none'}"
    # As if all runs were done; claims look for the columns of their metrics.
    metrics = {claim.metric: 0.0 for claim in left}
    every = pd.DataFrame(records.planned(planned.cohorts)).assign(status="done", **metrics)
    return {name for claim in left for name in coverage.compared(claim, every)["run_id"]}, line


def _agreed(chosen: Iterable[str], runs: Iterable[str]) -> set[str]:
    """Return the runs that the primary process chose of all."""
    names, ours = [*runs], {*chosen}
    mask = processes.from_primary(np.array([name in ours for name in names]))
    return {name for name, is_chosen in zip(names, mask, strict=True) if is_chosen}
