"""The phases of transfer learning: what a run is trained after, as runs of their own.

Fine-tuning goes on from feature extraction, and that from a base: a network that was trained on
other images, by a run of the experiment or by somebody else. Each phase is a run like any other,
whose config has a section `transfer`: there `start` is the identity of what it starts from, so that
a run is its config, and the configs of all runs before it.

A config as it is written is one of fine-tuning. Its sections `pretraining`, `extraction` and
`scratch` hold what these phases set otherwise. A run keeps those of its own phase and of the phases
before it: what its start was trained by.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax.ablation import grid
from mnv2_jax.arch import check_choice
from mnv2_jax.schema import PHASE, SECTIONS

PHASES = ("scratch", "extraction", "finetuning")
"""Values of `config.transfer.phase`: all parts are trained, beginning with random weights; a new
classifier is trained on a frozen base; parts of the base are trained after that. A base that an
experiment trains itself has the phase "pretraining"."""

FIELDS = ("phase", "first", "norm", "dropout", "classes", "images_per_class", "start")
"""The fields of `config.transfer`."""

# What makes a phase what it is, whatever the config says.
_EVERYTHING = {"first": "stem", "norm": "all"}
_FIXED: dict[str, dict[str, Any]] = {
    "pretraining": {**_EVERYTHING, "images_per_class": 0},
    "scratch": _EVERYTHING,
    "extraction": {"first": "classifier", "norm": "inference"},
    "finetuning": {},
}
_BEFORE = {
    "scratch": (),
    "extraction": ("pretraining",),
    "finetuning": ("pretraining", "extraction"),
}


def runs(configs: Sequence[ConfigDict], base: str = "") -> list[ConfigDict]:
    """Return the runs of all phases of configs, each once, those that others start from first.

    Args:
      configs: as they are written, or as a grid of such makes them.
      base: the identity of a base that is given; by default the experiment trains its own.

    Raises:
      ValueError: a config has no such phase, lacks a section, or sets in one what it does not have.
    """
    found: dict[str, ConfigDict] = {}
    chains = [_chain(config, base) for config in configs]
    # A base, a classifier and what is fine-tuned: no chain is longer.
    for depth in range(3):
        for chain in chains:
            for run in chain[depth : depth + 1]:
                found[grid.run_id(run)] = run
    return list(found.values())


def told_by_phase(fields: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the paths of fields that follow from a run's phase and its section.

    Args:
      fields: of runs, by their paths; none where there are no phases.
    """
    if len({own.get(PHASE) for own in fields}) < 2:
        return set()
    values: dict[str, dict[Any, set[Any]]] = {}
    for own in fields:
        for path, value in own.items():
            said = (own.get(PHASE), *(own.get(f"{section}.{path}") for section in SECTIONS))
            values.setdefault(path, {}).setdefault(said, set()).add(value)
    single = {path for path, by in values.items() if all(len(own) == 1 for own in by.values())}
    return single - {PHASE}


def _chain(config: ConfigDict, base: str) -> list[ConfigDict]:
    """Return a run and those before it, the first one first."""
    if "transfer" not in config:
        raise ValueError(
            "config.transfer: the config lacks this section; expected one such as that of "
            "configs/transfer.py"
        )
    phase = config.transfer.phase
    check_choice("config.transfer.phase", phase, PHASES)
    start = config.transfer.start
    if start:
        raise ValueError(
            f"config.transfer.start={start!r}: expected '', since the phases before decide it; a "
            f"base of one's own is given as `pretrained`"
        )
    chain = []
    steps = [step for step in (*_BEFORE[phase], phase) if not (base and step == "pretraining")]
    if base and _BEFORE[phase]:
        start = base
    for number, step in enumerate(steps):
        run = _resolved(config, step, steps[: number + 1])
        run.transfer.start = start
        start = grid.run_id(run)
        chain.append(run)
    return chain


def _resolved(config: ConfigDict, phase: str, until: Sequence[str]) -> ConfigDict:
    """Return the config of one phase, with the sections of those until it."""
    whole = config.to_dict()
    sections = {name: whole.pop(name, None) for name in SECTIONS}
    own = sections.get(phase)
    if own is None and phase == "pretraining":
        raise ValueError(
            "pretrained: it is missing, and the config has no section `pretraining` to train a "
            "base by; expected the path of a trained network"
        )
    run = ConfigDict(whole)
    for path, value in grid.fields(ConfigDict(own or {})).items():
        _set(run, phase, path, value)
    run.transfer.phase = phase
    run.transfer.update(_FIXED[phase])
    run.update({name: sections[name] for name in until if sections.get(name)})
    return run


def _set(run: ConfigDict, phase: str, path: str, value: Any) -> None:
    """Set a field as the section of a phase says."""
    try:
        grid.check_field(run, path)
    except ValueError as error:
        raise ValueError(f"config.{phase}: {error}") from None
    *sections, field = path.split(".")
    try:
        functools.reduce(operator.getitem, sections, run)[field] = value
    except TypeError:
        right = grid.expected(run, path)
        raise ValueError(f"config.{phase}.{path}={value!r}: expected {right}") from None
