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

from typing import Any, cast

from mnv2_jax.analysis.claims.base import IN_ROWS, Row, Shown
from mnv2_jax.analysis.claims.base import Claim as Claim
from mnv2_jax.analysis.claims.contrast import contrast as contrast
from mnv2_jax.analysis.claims.equivalent import equivalent as equivalent
from mnv2_jax.analysis.claims.greater import greater as greater
from mnv2_jax.analysis.claims.interaction import interaction as interaction
from mnv2_jax.analysis.claims.monotone import monotone as monotone
from mnv2_jax.analysis.claims.within_of import within_of as within_of

KINDS: dict[str, type[Claim]] = {one.kind: one for one in Claim.__subclasses__()}
"""The kinds that are imported above, by name."""


def shown(row: Row) -> Shown:
    """Return the format of a decided claim: its own, and of its kind what it lacks."""
    own = row.get("shown", {})
    if Shown.__required_keys__ <= own.keys():
        return cast(Shown, own)
    return cast(Shown, {**KINDS.get(row["kind"], Claim).shown(row), **own})


def recorded(row: Row) -> Claim | None:
    """Return the claim of a decided row; None if an earlier version, or another's kind, wrote it.

    Raises:
      ValueError: the row's fields are not those of a claim of its kind.
    """
    kind = KINDS.get(row["kind"])
    if kind is None or "claim" not in row:
        return None
    own = {key: tuple(v) if isinstance(v, list) else v for key, v in row["claim"].items()}
    fields: dict[str, Any] = {name: row[name] for name in IN_ROWS} | own
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"claim {row['name']!r}: its record is wrong ({error})") from None
