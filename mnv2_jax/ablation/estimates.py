"""Estimates of the time and the disk space that training takes.

Time is estimated from what earlier sweeps took on this machine, which is kept in the user's cache.
"""

import contextlib
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import cache, checksums
from mnv2_jax.ablation import records
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.data import embedded
from mnv2_jax.train import compilation, environment
from mnv2_jax.train.compilation import Compilation

_BLOCK = 4096
_FILES_PER_RUN = 7
_BYTES_PER_EPOCH = 700  # A line of metrics, and TensorBoard's.
_STATES = 3  # Parameters, optimizer state and averages, each of about the same size.
_CHECKPOINTS = 2

_MOST_PROGRAMS = 1000
"""The most programs whose times are kept, the latest ones."""

_SAME, _SIMILAR = 1.3, 2.0
"""The factors that times differ by from one sweep to the next: of the same program, with other work
on the machine, and of another network of the same preset."""


@dataclasses.dataclass
class Measured:
    """Times of one cohort in a sweep.

    Attributes:
      lanes: of its programs.
      compilation: of its programs.
      first_images: seconds from the start of its first chunk to its first step: images are decoded
        and weights are drawn.
    """

    lanes: int
    compilation: Compilation
    first_images: float = 0.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The time of an experiment.

    Attributes:
      low: seconds; None if the training time is not known.
      high: seconds; None likewise.
      compilation: seconds of all programs; None if no compilation was measured.
      cached: how many cohorts have their programs in the cache of compiled programs.
      training: seconds of all training and evaluation; None if not known.
      images: seconds until the first images are there; None if not known.
      report: seconds of the latest report; None if there was none.
    """

    low: float | None
    high: float | None
    compilation: float | None
    cached: int
    training: float | None
    images: float | None
    report: float | None


def note(workdir: Path, cohorts: Sequence[Cohort], measured: Mapping[str, Measured]) -> None:
    """Store the times of a sweep in the user's cache folder.

    Args:
      workdir: has the records of finished runs.
      cohorts: those trained.
      measured: their times, by the cohort's id.
    """
    kept = _read()
    for cohort in cohorts:
        program = kept["programs"].pop(cohort.id, {})  # Put back at the end, as the latest one.
        program |= {
            "preset": _preset(cohort),
            "madds": cohort.cost.madds,
            "layers": len(cohort.cost.layers),
            "input": cohort.feed()[0].__name__,
        }
        rows = [row for run in cohort.runs if (row := records.read(workdir, run.id))]
        # A single lane takes one device, of which there may be several.
        took = sum(row["seconds"] for row in rows if _kind(row["device"]) == _kind(here()))
        if took > 0:
            program["speed"] = cohort.work / len(cohort.runs) * len(rows) / took
        if times := measured.get(cohort.id):
            program |= _compilation(program, times)
            data = kept["images"]
            data[_data(cohort)] = max(times.first_images, data.get(_data(cohort), 0.0))
        kept["programs"][cohort.id] = program
    kept["programs"] = dict([*kept["programs"].items()][-_MOST_PROGRAMS:])
    _write(kept)


def note_report(seconds: float) -> None:
    """Store the seconds that a report took in the user's cache folder."""
    _write(_read() | {"report": seconds})


def seconds(cohort: Cohort) -> float | None:
    """Estimate the training time of a cohort on these devices, in seconds.

    Goes by the same cohort or, if it was not trained here, by the network of the same preset that
    is nearest in cost; None if there is none.
    """
    found = _training(cohort, _read())
    return found.seconds if found else None


def compiling(cohort: Cohort) -> float | None:
    """Estimate the seconds of compilation of a cohort's programs; None if none was measured."""
    found = _compiling(cohort, _read())
    return found.seconds if found else None


def estimate(cohorts: Sequence[Cohort], planning: float = 0.0) -> Estimate:
    """Estimate the time of an experiment on these devices.

    Programs compile one after the other, each while the cohorts before train, and on CPU both take
    the same cores. So the time lies between that of the slower of the two and the sum of both.

    Args:
      cohorts: those that will be trained.
      planning: seconds that it takes to plan them.
    """
    kept = _read()
    compilations = [found for cohort in cohorts if (found := _compiling(cohort, kept))]
    trainings = [found for cohort in cohorts if (found := _training(cohort, kept))]
    unmeasured = {
        _data(cohort): 0.0 if cohort.dataset.name in embedded.EMBEDDED else None
        for cohort in cohorts
    }
    images = [kept["images"].get(name, default) for name, default in unmeasured.items()]
    known_images = [value for value in images if value is not None]
    low = high = None
    if cohorts and len(compilations) == len(trainings) == len(cohorts):
        others = planning + sum(known_images) + (kept["report"] or 0.0)
        low = others / _SAME + side_by_side(
            [time.seconds / time.factor for time in compilations],
            [time.seconds / time.factor for time in trainings],
        )
        both = (*compilations, *trainings)
        high = others * _SAME + sum(time.seconds * time.factor for time in both)
    return Estimate(
        low=low,
        high=high,
        compilation=_sum_of(compilations, len(cohorts)),
        cached=sum(time.is_cached for time in compilations),
        training=_sum_of(trainings, len(cohorts)),
        images=sum(known_images) if len(known_images) == len(images) else None,
        report=kept["report"],
    )


def side_by_side(compilations: Sequence[float], trainings: Sequence[float]) -> float:
    """Return the seconds of cohorts that compile while those before them train."""
    compiled = ended = 0.0
    for compilation_seconds, training_seconds in zip(compilations, trainings, strict=True):
        compiled += compilation_seconds
        ended = max(compiled, ended) + training_seconds
    return ended


def disk(cohorts: Sequence[Cohort]) -> int:
    """Estimate the bytes of all records and of the checkpoints of the largest cohort."""
    records_size = sum(
        len(cohort.runs)
        * (_FILES_PER_RUN * _BLOCK + cohort.program.recipe.epochs * _BYTES_PER_EPOCH)
        for cohort in cohorts
    )
    checkpoints = (
        _CHECKPOINTS * _STATES * 4 * cohort.cost.params_with_statistics * len(cohort.runs)
        for cohort in cohorts
    )
    return records_size + max(checkpoints, default=0)


def here() -> str:
    """Return the name of this process's devices."""
    return environment.device_name(jax.devices())


@dataclasses.dataclass(frozen=True)
class _Time:
    """An estimate: seconds, the factor by which they may be wrong, and if the cache has it."""

    seconds: float
    factor: float
    is_cached: bool = False


def _training(cohort: Cohort, kept: Mapping[str, Any]) -> _Time | None:
    same = kept["programs"].get(cohort.id, {})
    if "speed" in same:
        return _Time(cohort.work / same["speed"], _SAME)
    feed = cohort.feed()[0].__name__
    others = [
        (program["input"] != feed, abs(program["madds"] - cohort.cost.madds), program["speed"])
        for program in kept["programs"].values()
        if "speed" in program and program["preset"] == _preset(cohort)
    ]
    return _Time(cohort.work / min(others)[-1], _SIMILAR) if others else None


def _compiling(cohort: Cohort, kept: Mapping[str, Any]) -> _Time | None:
    same = kept["programs"].get(cohort.id, {})
    if "compiler" in same:
        is_cached = (
            same["lanes"] == len(cohort.runs)
            and same["jax"] == jax.__version__
            and compilation.are_kept(same["entries"])
        )
        compiler = 0.0 if is_cached else same["compiler"]
        return _Time(same["tracing"] + compiler, _SAME, is_cached)
    per_layer = [
        (program["tracing"] + program["compiler"]) / program["layers"]
        for program in kept["programs"].values()
        if program.get("compiler")
    ]
    if not per_layer:
        return None
    return _Time(statistics.median(per_layer) * len(cohort.cost.layers), _SIMILAR)


def _compilation(before: Mapping[str, Any], times: Measured) -> dict[str, Any]:
    """Return what is kept of a compilation; programs that the cache had keep their times."""
    now = times.compilation
    compiler, entries = now.compiler, now.entries
    is_same = before.get("lanes") == times.lanes and before.get("jax") == jax.__version__
    if is_same and not entries:
        compiler, entries = before["compiler"], before["entries"]
    return {
        "jax": jax.__version__,
        "lanes": times.lanes,
        "tracing": now.seconds - now.compiler,
        "compiler": compiler,
        "entries": entries,
    }


def _sum_of(times: Sequence[_Time], count: int) -> float | None:
    return sum(time.seconds for time in times) if len(times) == count else None


def _kind(device: str) -> str:
    return device.partition(" x ")[0]


def _preset(cohort: Cohort) -> str:
    return str(cohort.runs[0].config.model.preset)


def _data(cohort: Cohort) -> str:
    return f"{cohort.dataset.name} {cohort.dataset.fingerprint}"


def _read() -> dict[str, Any]:
    """Return the times on these devices."""
    return {"programs": {}, "images": {}, "report": None} | _all().get(here(), {})


def _write(kept: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # The next estimate is missing or older.
        checksums.write_json(_path(), {**_all(), here(): kept}, indent=1)


def _all() -> dict[str, Any]:
    try:
        return checksums.read_json(_path())
    except (OSError, checksums.DamagedError):
        return {}


def _path() -> Path:
    return cache.folder() / "times.json"
