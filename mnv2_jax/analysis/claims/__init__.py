"""Statements, such as the paper's, each with the comparison that decides it.

A config makes a claim before the runs, with one call of a function here; the verdict is made by
`mnv2_jax.analysis.verdicts`. All of them take:

- name: short and unique, such as `"linear_bottleneck"`.
- source: section or figure of the paper, such as `"Figure 6a"`.
- statement: one sentence, as the reader of the report sees it.
- where: values of fields that restrict the runs. Without `transfer.phase` here or as a compared
  field, runs of pretraining are left out, since they are tested on other classes.
- metric: the column of a metric, such as `"test_loss"`.

A kind of claim is a subclass of `Claim`: in a module here, which is imported below, or in a user's
config file.
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
    """Return the format of a decided claim: its own, or that of its kind in earlier versions."""
    if "shown" in row:
        return cast(Shown, row["shown"])
    return KINDS.get(row["kind"], Claim).shown(row)
