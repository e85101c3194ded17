"""How much of a cohort's training time passes outside of compiled programs, on the host."""

from collections.abc import Sequence

from experiments.benchmarks import ours
from experiments.benchmarks.rows import OURS, Row
from experiments.benchmarks.workers import ROOT

TITLE = "Wall time outside of compiled programs while a cohort trains"
RATIO = "share of wall time"

CONFIG = ROOT / "configs" / "digits.py"
EXPANSIONS = (1.0, 6.0)


def measure(expansions: Sequence[float] = EXPANSIONS) -> list[Row]:
    """Trains the cohorts of the default grid that have one of `expansions`."""
    experiment = ours.experiment(CONFIG)
    parts = {part.runs[0].config.model.expansion: part for part in experiment.cohorts}
    measured = []
    for expansion in expansions:
        part = parts[expansion]
        wall, inside = ours.time_in_programs(part)
        measured.append(
            Row(
                f"digits, expansion {expansion:g}",
                OURS,
                f"{len(part.runs)} lanes, {part.runs[0].config.train.epochs} epochs, evaluated "
                f"after each; {wall:.3g} s in all",
                *("s outside", wall - inside, (wall - inside) / wall),
                samples=1,
            )
        )
    return measured
