"""The grid language: axes over config fields, joined by product, zip or chain, and thinned.

A grid is a tuple of points; a point maps config paths to values, such as
`{"model.expansion": 6, "seed": 0}`. A grid and a config make runs.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

from mnv2_jax import values
from mnv2_jax.ablation import ids

Point = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Grid:
    """An ordered set of points."""

    points: tuple[Point, ...]

    def __len__(self) -> int:
        return len(self.points)


def axis(path: str, values: Iterable[Any]) -> Grid:
    """One point per value of the config field at `path`, such as "model.expansion"."""
    return Grid(tuple({path: value} for value in values))


def product(*grids: Grid) -> Grid:
    """Every combination of points, the last grid varying fastest.

    Raises:
      ValueError: two grids set the same path.
    """
    return _join(itertools.product(*(grid.points for grid in grids)))


def zipped(*grids: Grid) -> Grid:
    """Return the first points together, then the second ones, and so on.

    Raises:
      ValueError: the grids differ in length, or two set the same path.
    """
    lengths = [len(grid) for grid in grids]
    if len(set(lengths)) > 1:
        raise ValueError(f"grid: zipped axes have lengths {lengths}; expected equal ones")
    return _join(zip(*(grid.points for grid in grids), strict=True))


def chain(*grids: Grid) -> Grid:
    """Return the points of one grid after those of the other."""
    return Grid(tuple(itertools.chain.from_iterable(grid.points for grid in grids)))


def where(grid: Grid, keep: Callable[[Point], bool]) -> Grid:
    """Return the points of a grid for which `keep` is true."""
    return Grid(tuple(point for point in grid.points if keep(point)))


def with_seeds(grid: Grid | None, seeds: Iterable[int]) -> Grid:
    """Return the points of a grid with these seeds instead of its own, if it has any."""
    points = grid.points if grid else ({},)
    others = [{path: value for path, value in one.items() if path != "seed"} for one in points]
    once = [point for number, point in enumerate(others) if point not in others[:number]]
    return product(Grid(tuple(once)), axis("seed", seeds))


def _join(combinations: Iterable[tuple[Point, ...]]) -> Grid:
    points = []
    for combination in combinations:
        point: dict[str, Any] = {}
        for part in combination:
            for path in part:
                if path in point:
                    raise ValueError(f"grid: {path} is set by two axes; expected one")
            point.update(part)
        points.append(point)
    return Grid(tuple(points))


def expand(config: ConfigDict, grid: Grid, pinned: Collection[str] = ()) -> list[ConfigDict]:
    """Resolve a grid into configs, one per run.

    Args:
      config: holds every field that the grid sets, and the values of those that it does not; see
        `mnv2_jax.ablation.ids.complete` for those that it may lack.
      grid: the points.
      pinned: paths that keep the config's value: an axis given on the command line collapses.

    Raises:
      ValueError: the grid is empty, names a field that the config lacks or that is no axis, sets
        one to a value of another type, or holds the same run twice, by values that are equal; see
        `mnv2_jax.values`.
    """
    if not grid.points:
        raise ValueError("grid: it is empty; expected at least one value on every axis")
    for path in dict.fromkeys(path for point in grid.points for path in point):
        if ids.is_observed(path):
            raise ValueError(
                f"grid: {path} says what is measured, and changes no run; expected it in the config"
            )
    whole = ConfigDict(config.to_dict())
    ids.complete(whole)
    runs: dict[str, ConfigDict] = {}
    for point in grid.points:
        run = whole.copy_and_resolve_references()  # Much faster than of a dict.
        for path, value in point.items():
            if path not in pinned:
                _assign(run, path, value)
        identity = _canonical_id(run, point)
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
      ValueError: the config lacks a field, or it is of another type.
    """
    changed = ConfigDict(config.to_dict())
    for path, value in fields.items():
        _assign(changed, path, value)
    return changed


def _canonical_id(run: ConfigDict, point: Point) -> str:
    """Return the same for runs of a grid whose values are equal, whatever their last digits."""
    identity = run_id(run)
    written = {path: values.canonical(value) for path, value in point.items()}
    if all(written[path] == value for path, value in point.items()):
        return identity
    same = run.copy_and_resolve_references()
    for path, value in written.items():
        _assign(same, path, value)
    return run_id(same)


def run_id(config: ConfigDict) -> str:
    """Return the identity of a run: twelve hexadecimal digits of a hash of its resolved config.

    Fields that came later are left out at their neutral values; see `mnv2_jax.ablation.ids`.
    """
    return digest(canonical_json(ids.without_neutral(_as_dicts(config))))


def digest(text: str) -> str:
    """Twelve hexadecimal digits of a hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fields(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config, or of one as dicts, by paths such as "model.expansion"."""
    found: dict[str, Any] = {}
    _gather(_as_dicts(config), "", found)
    return found


def _gather(section: Mapping[str, Any], holder: str, found: dict[str, Any]) -> None:
    for name, value in section.items():
        if isinstance(value, dict):
            _gather(value, f"{holder}{name}.", found)
        else:
            found[holder + name] = value


def canonical_json(config: ConfigDict | Mapping[str, Any]) -> str:
    """Return the config as JSON, the same text whatever the order of its fields.

    Raises:
      ValueError: a value is infinite or no number, which JSON does not have, or too large for
        float32.
    """
    whole = _as_dicts(config)
    for path, value in fields(whole).items():
        if not values.is_representable(value):
            raise ValueError(f"config.{path}={value}: expected a finite number, 3.4e38 at most")
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _as_dicts(config: ConfigDict | Mapping[str, Any]) -> Mapping[str, Any]:
    """As `ConfigDict.to_dict`, which takes three times as long, and grids have many runs."""
    if not isinstance(config, ConfigDict):
        return config
    found: dict[str, Any] = {}
    for name, value in config.items(preserve_field_references=True):
        held = value.get() if isinstance(value, FieldReference) else value
        found[name] = _as_dicts(held) if isinstance(held, ConfigDict) else held
    return found


def check_field(config: ConfigDict, path: str) -> None:
    """Check that a config has a field.

    Raises:
      ValueError: it has none at `path`; the message says what it has there.
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
    found: Any = config
    for name in path.split("."):
        found = found[name]
    if isinstance(found, ConfigDict):
        return f"a field below it, such as config.{path}.{next(iter(found), 'FIELD')}"
    return "True or False" if isinstance(found, bool) else f"a value of type {type(found).__name__}"


def _assign(config: ConfigDict, path: str, value: Any) -> None:
    try:
        check_field(config, path)
    except ValueError as error:
        raise ValueError(f"grid: {error}") from None
    *sections, field = path.split(".")
    section: Any = config
    for name in sections:
        section = section[name]
    right = expected(config, path)
    try:
        section[field] = values.plain(value)
    except (TypeError, ValueError):
        raise ValueError(f"config.{path}={value!r}: expected {right}") from None
