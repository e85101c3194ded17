"""The grid language: axes over config fields, joined by product, zip or chain, and thinned.

A grid is a tuple of points; a point maps config paths to values, such as
`{"model.expansion": 6, "seed": 0}`. A grid and a config make runs.
"""

import dataclasses
import difflib
import functools
import hashlib
import itertools
import json
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

from mnv2_jax import values
from mnv2_jax.ablation import ids
from mnv2_jax.ablation.seeds import Auto

Point = Mapping[str, Any]


auto = Auto
"""The word for it in a grid: `axis("seed", auto(minimum=6, step=2, budget=24))`."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """An ordered set of points.

    Attributes:
      points: with the least seeds, if these stop by themselves.
      seeds: how they do; None if all seeds are in the points.
    """

    points: tuple[Point, ...]
    seeds: Auto | None = None

    def __len__(self) -> int:
        return len(self.points)


def axis(path: str, values: Iterable[Any]) -> Grid:
    """Return a point for each value of the config field at `path`, such as "model.expansion".

    Args:
      path: of the field.
      values: of the field; for "seed", `auto(...)` too.

    Raises:
      ValueError: another field than the seed has values `auto(...)`.
    """
    seeds = values if isinstance(values, Auto) else None
    if seeds and path != "seed":
        raise ValueError(f"grid: {path} has the values {seeds}; expected them for seed alone")
    return Grid(tuple({path: value} for value in values), seeds)


def product(*grids: Grid) -> Grid:
    """Every combination of points, the last grid varying fastest.

    Raises:
      ValueError: two grids set the same path.
    """
    points = _join(itertools.product(*(grid.points for grid in grids)))
    return Grid(points, next((grid.seeds for grid in grids if grid.seeds), None))


def zipped(*grids: Grid) -> Grid:
    """Join the first points of all grids, then the second ones, and so on.

    Raises:
      ValueError: the grids differ in length, two set the same path, or one has seeds that stop by
        themselves.
    """
    if any(grid.seeds for grid in grids):
        raise ValueError(
            "grid: zipped axes have seeds that stop by themselves; expected these in a product"
        )
    lengths = [len(grid) for grid in grids]
    if len(set(lengths)) > 1:
        raise ValueError(f"grid: zipped axes have lengths {lengths}; expected equal ones")
    return Grid(_join(zip(*(grid.points for grid in grids), strict=True)))


def chain(*grids: Grid) -> Grid:
    """Return the points of all grids, one grid after the other.

    Raises:
      ValueError: some of them have seeds that stop by themselves, and others have not the same.
    """
    seeds = dict.fromkeys(grid.seeds for grid in grids)
    if len(seeds) > 1:
        texts = " and ".join(str(one) if one else "others" for one in seeds)
        raise ValueError(f"grid: chained parts have seeds {texts}; expected the same in all")
    points = itertools.chain.from_iterable(grid.points for grid in grids)
    return Grid(tuple(points), next(iter(seeds), None))


def where(grid: Grid, keep: Callable[[Point], bool]) -> Grid:
    """Return the points of a grid for which `keep` is true.

    Raises:
      ValueError: they lack some of the seeds, which stop by themselves.
    """
    kept = Grid(tuple(point for point in grid.points if keep(point)), grid.seeds)
    if grid.seeds and len(with_seeds(kept, grid.seeds)) != len(kept):
        raise ValueError(
            f"grid: where leaves out some seeds of {grid.seeds}; expected all of a point's, or none"
        )
    return kept


def with_seeds(grid: Grid | None, seeds: Iterable[int]) -> Grid:
    """Return the points of a grid with these seeds instead of its own, if it has any."""
    points = grid.points if grid else ({},)
    others = [{path: x for path, x in point.items() if path != "seed"} for point in points]
    distinct = [point for number, point in enumerate(others) if point not in others[:number]]
    return product(Grid(tuple(distinct)), axis("seed", seeds))


def _join(combinations: Iterable[tuple[Point, ...]]) -> tuple[Point, ...]:
    points = []
    for combination in combinations:
        point: dict[str, Any] = {}
        for part in combination:
            for path in part:
                if path in point:
                    raise ValueError(f"grid: {path} is set by two axes; expected one")
            point.update(part)
        points.append(point)
    return tuple(points)


def expand(config: ConfigDict, grid: Grid, pinned: Collection[str] = ()) -> list[ConfigDict]:
    """Resolve a grid into configs, one per run.

    Args:
      config: has every field that the grid sets, and values for all others; fields added later
        may be missing, see `mnv2_jax.ablation.ids.complete`.
      grid: the points.
      pinned: paths that keep the config's value: an axis given on the command line collapses.

    Raises:
      ValueError: the grid is empty, names an unknown field or one that changes no run, sets a value
        of another type, or has a run twice, by values that are equal; see `mnv2_jax.values`.
    """
    if not grid.points:
        raise ValueError("grid: it is empty; expected at least one value on every axis")
    for path in dict.fromkeys(path for point in grid.points for path in point):
        if ids.is_observed(path):
            raise ValueError(
                f"grid: {path} says what is measured, and changes no run; expected it in the config"
            )
    base = ConfigDict(config.to_dict())
    ids.complete(base)
    runs: dict[str, ConfigDict] = {}
    for point in grid.points:
        run = base.copy_and_resolve_references()  # Much faster than to make one of a dict.
        own = {path: value for path, value in point.items() if path not in pinned}
        for path, value in own.items():
            assign(run, path, value)
        identity = _canonical_id(run, own)
        if identity in runs and not any(path in pinned for path in point):
            raise ValueError(
                f"grid: {dict(point)} appears twice; expected every run once, and values that "
                f"float32 tells apart"
            )
        runs[identity] = run
    return list(runs.values())


def with_fields(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """Return a copy of a config with other values, by path.

    Raises:
      ValueError: see `assign`.
    """
    changed = ConfigDict(config.to_dict())
    for path, value in fields.items():
        assign(changed, path, value)
    return changed


def _canonical_id(run: ConfigDict, point: Point) -> str:
    """Return an id that is the same for runs whose values are equal in float32."""
    identity = run_id(run)  # Refuses values that float32 does not have.
    canonical = {path: values.canonical(value) for path, value in point.items()}
    return identity if canonical == point else run_id(with_fields(run, canonical))


def run_id(config: ConfigDict) -> str:
    """Return a run's id: twelve hexadecimal digits of a hash of its resolved config.

    Fields added later are left out at their neutral values; see `mnv2_jax.ablation.ids`.
    """
    return digest(canonical_json(ids.without_neutral(_as_dicts(config))))


def digest(text: str) -> str:
    """Return twelve hexadecimal digits of a hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fields(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config, or of one as dicts, by paths such as "model.expansion"."""
    return dict(_flattened(_as_dicts(config), ""))


def _flattened(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def canonical_json(config: ConfigDict | Mapping[str, Any]) -> str:
    """Return a config as JSON, with sorted fields.

    Raises:
      ValueError: a number is infinite, NaN or too large for float32.
    """
    content = _as_dicts(config)
    for path, value in fields(content).items():
        if not values.is_representable(value):
            raise ValueError(f"config.{path}={value}: expected a finite number, 3.4e38 at most")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _as_dicts(config: ConfigDict | Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what `ConfigDict.to_dict` does in a third of the time, since grids have many runs."""
    if not isinstance(config, ConfigDict):
        return config
    result: dict[str, Any] = {}
    for name, value in config.items(preserve_field_references=True):
        resolved = value.get() if isinstance(value, FieldReference) else value
        result[name] = _as_dicts(resolved) if isinstance(resolved, ConfigDict) else resolved
    return result


def check_field(config: ConfigDict, path: str) -> None:
    """Check that a config has a field.

    Raises:
      ValueError: it has none at `path`; the message names those that it has there.
    """
    section: Any = config
    for depth, field in enumerate(path.split(".")):
        holder = ".".join(["config", *path.split(".")[:depth]])
        if not isinstance(section, ConfigDict):
            raise ValueError(f"{holder}.{field}: no such field; {holder} is one, not a section")
        if field not in section:
            close = difflib.get_close_matches(field, list(section), n=1)
            hint = f"did you mean {close[0]}?" if close else f"{holder} has {', '.join(section)}"
            raise ValueError(f"{holder}.{field}: no such field; {hint}")
        section = section[field]


def expected(config: ConfigDict, path: str) -> str:
    """Return the values that a field takes, in words."""
    current: Any = functools.reduce(operator.getitem, path.split("."), config)
    if isinstance(current, ConfigDict):
        return f"a field below it, such as config.{path}.{next(iter(current), 'FIELD')}"
    is_bool = isinstance(current, bool)
    return "True or False" if is_bool else f"a value of type {type(current).__name__}"


def assign(config: ConfigDict, path: str, value: Any, section: str = "") -> None:
    """Set a field of a config.

    Args:
      config: it is changed.
      path: of the field.
      value: NumPy's scalars become Python's.
      section: the section of a phase that sets the field, for messages; by default a grid does.

    Raises:
      ValueError: there is no such field, or it is of another type.
    """
    try:
        check_field(config, path)
    except ValueError as error:
        raise ValueError(f"{f'config.{section}' if section else 'grid'}: {error}") from None
    *sections, field = path.split(".")
    right = expected(config, path)
    try:
        functools.reduce(operator.getitem, sections, config)[field] = values.plain(value)
    except (TypeError, ValueError):
        source = f"config.{section}.{path}" if section else f"config.{path}"
        raise ValueError(f"{source}={value!r}: expected {right}") from None
