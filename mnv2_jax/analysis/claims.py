"""Statements of the paper, each with the comparison that decides it.

A claim is written in a config, one call each, before the runs; `mnv2_jax.analysis.verdicts` holds
it against them. Of a transfer's runs those of pretraining, which are tested on other classes, are
left out of every claim that does not name `transfer.phase` as a field it compares or in `where`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.values import canonical

_EVERYWHERE: Mapping[str, Scalar] = MappingProxyType({})


@dataclass(frozen=True)
class Greater:
    """`better` scores higher than `worse` on `axis`. Made by `greater`."""

    name: str
    source: str
    statement: str
    axis: str
    better: Scalar
    worse: Scalar
    where: Mapping[str, Scalar]
    metric: str
    along: tuple[str, ...]

    kind = "greater"
    confidence = 0.95


@dataclass(frozen=True)
class Equivalent:
    """All `values` of `axis` score within `margin` of each other. Made by `equivalent`."""

    name: str
    source: str
    statement: str
    axis: str
    values: tuple[Scalar, ...]
    margin: float
    where: Mapping[str, Scalar]
    metric: str

    kind = "equivalent"
    # TOST at 5 % asks whether the 90 % interval lies inside the margin.
    confidence = 0.90


@dataclass(frozen=True)
class Interaction:
    """`better` leads `worse` by more at `by = more` than at `by = less`. Made by `interaction`."""

    name: str
    source: str
    statement: str
    axis: str
    better: Scalar
    worse: Scalar
    by: str
    more: Scalar
    less: Scalar
    where: Mapping[str, Scalar]
    metric: str

    kind = "interaction"
    confidence = 0.95


@dataclass(frozen=True)
class Monotone:
    """The score rises with `axis`, value by value. Made by `monotone`."""

    name: str
    source: str
    statement: str
    axis: str
    values: tuple[Scalar, ...]
    margin: float
    where: Mapping[str, Scalar]
    metric: str

    kind = "monotone"
    confidence = 0.95


Claim = Greater | Equivalent | Interaction | Monotone


def greater(
    name: str,
    source: str,
    statement: str,
    axis: str,
    better: Scalar,
    worse: Scalar,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
    along: Sequence[str] = (),
) -> Greater:
    """Claims that `axis = better` has a higher mean `metric` than `axis = worse`.

    Supported when the 95 % interval of the paired difference lies above 0, refuted when it lies
    below, inconclusive otherwise.

    Args:
      name: short and unique, such as `"linear_bottleneck"`.
      source: section or figure of the paper, such as `"Figure 6a"`.
      statement: one sentence, as the reader of the report sees it.
      axis: the field that is compared, such as `"model.projection"`.
      better: value of `axis` that is claimed to win.
      worse: value of `axis` that is claimed to lose.
      where: values of fields that restrict the comparison; without `transfer.phase` here or as a
          compared field, runs of pretraining are left out.
      metric: accuracy column, a fraction of 1.
      along: fields that the grid varies along with `axis`, such as a width that makes up for what a
        block costs: the runs of a pair may differ in them, and need not.

    Raises:
      ValueError: `better` equals `worse`, or `where` restricts `axis` itself.
    """
    better, worse = map(canonical, (better, worse))
    _check_different(name, "better and worse", better, worse)
    _check_where(name, where, axis)
    restrictions, companions = _canonical(where), tuple(along)
    return Greater(name, source, statement, axis, better, worse, restrictions, metric, companions)


def equivalent(
    name: str,
    source: str,
    statement: str,
    axis: str,
    values: Sequence[Scalar],
    margin: float,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
) -> Equivalent:
    """Claims that every two `values` of `axis` differ by less than `margin` in `metric`.

    Each pair of values is tested by TOST at 5 %. The claim says that all are close, so it is
    supported only if every test passes (an intersection-union test: no correction for the number
    of pairs is due). Refuted if the interval of some pair lies wholly outside +-margin: of 90 %
    for two values, and wider the more pairs there are, as any of them could by chance (Bonferroni:
    96.7 % for three).

    Args:
      name: short and unique, such as `"expansion_plateau"`.
      source: section or figure of the paper.
      statement: one sentence, as the reader of the report sees it.
      axis: the field that is compared, such as `"model.expansion"`.
      values: two or more values of `axis`.
      margin: largest difference that counts as none, a fraction of 1 (0.01 is one point).
      where: values of fields that restrict the comparison; without `transfer.phase` here or as a
          compared field, runs of pretraining are left out.
      metric: accuracy column, a fraction of 1.

    Raises:
      ValueError: fewer than two different values, a margin outside (0, 1), or `where`
          restricts `axis` itself.
    """
    values = tuple(map(canonical, values))
    _check_values(name, values)
    if not 0 < margin < 1:
        raise ValueError(f"claim {name!r}: margin {margin!r}; must be a fraction between 0 and 1")
    _check_where(name, where, axis)
    return Equivalent(name, source, statement, axis, values, margin, _canonical(where), metric)


def interaction(
    name: str,
    source: str,
    statement: str,
    axis: str,
    better: Scalar,
    worse: Scalar,
    by: str,
    more: Scalar,
    less: Scalar,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
) -> Interaction:
    """Claims that what `better` gains over `worse` is more at `by = more` than at `by = less`.

    What is estimated is the difference of the two differences, taken within a seed. Supported when
    its 95 % interval lies above 0, refuted when it lies below, inconclusive otherwise.

    Args:
      name: short and unique, such as `"linear_without_shortcuts"`.
      source: section or figure of the paper.
      statement: one sentence, as the reader of the report sees it.
      axis: the field that is compared, such as `"model.projection"`.
      better: value of `axis` whose gain is spoken of.
      worse: value of `axis` that it is a gain over.
      by: the field that the gain is claimed to depend on, such as `"model.shortcut"`.
      more: value of `by` with the larger gain.
      less: value of `by` with the smaller gain.
      where: values of fields that restrict the comparison; without `transfer.phase` here or as a
          compared field, runs of pretraining are left out.
      metric: accuracy column, a fraction of 1.

    Raises:
      ValueError: two values or the two fields are equal, or `where` restricts one of the fields.
    """
    better, worse = map(canonical, (better, worse))
    _check_different(name, "better and worse", better, worse)
    more, less = map(canonical, (more, less))
    _check_different(name, "more and less", more, less)
    _check_different(name, "axis and by", axis, by)
    _check_where(name, where, axis, by)
    return Interaction(
        name, source, statement, axis, better, worse, by, more, less, _canonical(where), metric
    )


def monotone(
    name: str,
    source: str,
    statement: str,
    axis: str,
    values: Sequence[Scalar],
    margin: float = 0.0,
    where: Mapping[str, Scalar] = _EVERYWHERE,
    metric: str = "test_accuracy",
) -> Monotone:
    """Claims that `metric` rises along `values` and from none to the next falls by over `margin`.

    Supported when the 95 % interval of the rise from the first value to the last lies above 0 and
    every step passes a one-sided t test at 5 % against a fall of `margin` (an intersection-union
    test: no correction for the number of steps is due). Refuted when the interval of the whole rise
    lies below 0, or that of a step wholly below -margin; as any of them could by chance, they are
    wider the more there are (Bonferroni: of 95 % for two values, where the step is the whole, and
    96.7 % for three). Inconclusive otherwise.

    Args:
      name: short and unique, such as `"more_expansion"`.
      source: section or figure of the paper.
      statement: one sentence, as the reader of the report sees it.
      axis: the field that is compared, such as `"model.expansion"`.
      values: two or more values of `axis`, in the order in which the metric is claimed to rise.
      margin: largest fall that counts as none, a fraction of 1 (0.01 is one point).
      where: values of fields that restrict the comparison; without `transfer.phase` here or as a
          compared field, runs of pretraining are left out.
      metric: accuracy column, a fraction of 1.

    Raises:
      ValueError: fewer than two different values, a margin outside [0, 1), or `where`
          restricts `axis` itself.
    """
    values = tuple(map(canonical, values))
    _check_values(name, values)
    if not 0 <= margin < 1:
        raise ValueError(f"claim {name!r}: margin {margin!r}; must be a fraction, 0 or more")
    _check_where(name, where, axis)
    return Monotone(name, source, statement, axis, values, margin, _canonical(where), metric)


def _canonical(where: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {field: canonical(value) for field, value in where.items()}


def _check_different(name: str, what: str, one: Scalar, other: Scalar) -> None:
    if one == other:
        raise ValueError(f"claim {name!r}: {what} are both {one!r}; must differ")


def _check_values(name: str, values: Sequence[Scalar]) -> None:
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"claim {name!r}: values {values!r}; must be two or more, all different")


def _check_where(name: str, where: Mapping[str, Scalar], *compared: str) -> None:
    for axis in compared:
        if axis in where:
            raise ValueError(
                f"claim {name!r}: where restricts the compared axis {axis!r}; leave it out"
            )
