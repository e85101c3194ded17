"""Statements of the paper, each with the comparison that decides it.

A claim is written in a config, one call each, before the runs; `mnv2_jax.analysis.verdicts` holds
it against them. Of a transfer's runs those of pretraining, which are tested on other classes, are
left out of every claim that does not name `transfer.phase` as a field it compares or in `where`.

A kind of claim is a subclass of `Claim`: in a module here, which the line of its import makes
known, or in a config file of the user's own.
"""

from typing import cast

from mnv2_jax.analysis.claims.base import Claim as Claim
from mnv2_jax.analysis.claims.base import Row, Shown
from mnv2_jax.analysis.claims.equivalent import equivalent as equivalent
from mnv2_jax.analysis.claims.greater import greater as greater
from mnv2_jax.analysis.claims.interaction import interaction as interaction
from mnv2_jax.analysis.claims.monotone import monotone as monotone
from mnv2_jax.analysis.claims.within_of import within_of as within_of

KINDS: dict[str, type[Claim]] = {one.kind: one for one in Claim.__subclasses__()}
"""The kinds that are imported above, by name."""


def shown(row: Row) -> Shown:
    """Return how a decided claim is shown: by what it says of itself, else by its kind."""
    if "shown" in row:
        return cast(Shown, row["shown"])
    return KINDS.get(row["kind"], Claim).shown(row)
