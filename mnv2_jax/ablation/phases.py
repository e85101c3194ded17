"""The phases of transfer learning, each a run of its own.

Fine-tuning starts from feature extraction, and that from a base: a network trained on other images,
by a run of the experiment or by somebody else. Each phase is a run like any other, whose config has
a section `transfer`. Its `start` is the id of the run or file that it starts from, so that a run's
id covers the configs of all runs before it.

A config file describes fine-tuning. Its sections `pretraining`, `extraction` and `scratch` hold the
values that these phases change. A run keeps the sections of its own phase and of those before it.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax.ablation import grid, ids
from mnv2_jax.arch import check_choice
from mnv2_jax.metrics import SPLITS
from mnv2_jax.schema import PHASE, SECTIONS

PHASES = ("scratch", "extraction", "finetuning")
"""Values of `config.transfer.phase`: train all parts from random weights; train a new classifier on
a frozen base; then train parts of the base too. The base of an experiment that trains its own has
the phase "pretraining"."""

BASES = (
    "weights fetched from torchvision, timm, Keras or transformers, or a run of experiments.train "
    "on a folder of yours: docs/how-to/import-weights.md"
)
"""The bases that can be given, for errors where there is none."""

FIELDS = ("phase", "first", "norm", "dropout", "classes", "images_per_class", "start")
"""The fields of `config.transfer`."""

# Fields of `config.transfer` that a phase fixes, whatever the config says.
_EVERYTHING = {"first": "stem", "norm": "all"}
_FIXED: dict[str, dict[str, Any]] = {
    "pretraining": {**_EVERYTHING, "images_per_class": 0},
    "scratch": _EVERYTHING,
    "extraction": {"first": "classifier", "norm": "inference"},
    "finetuning": {},
}
_OF_SPLITS = ("seed", *(f"data.{name}" for name in ("split", *SPLITS)))
"""The fields that splits which are drawn for each seed follow from, beside the data set."""

_BEFORE = {
    "scratch": (),
    "extraction": ("pretraining",),
    "finetuning": ("pretraining", "extraction"),
}


def runs(configs: Sequence[ConfigDict], base: str = "") -> list[ConfigDict]:
    """Return the runs of all phases of configs, each once, a start before those that need it.

    Args:
      configs: as in config files, or expanded from them by a grid.
      base: the identity of given weights; by default the experiment trains its own base.

    Raises:
      ValueError: a config has an unknown phase, lacks a section, or sets an unknown field in one.
    """
    chains = [_chain(config, base) for config in configs]
    by_depth = itertools.chain.from_iterable(itertools.zip_longest(*chains))
    return list({grid.run_id(run): run for run in by_depth if run is not None}.values())


def implied_by_phase(fields: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the paths of fields whose value follows from a run's phase and sections."""
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
    """Return the runs that lead to a run, and it as the last one."""
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
    for earlier, later in itertools.combinations(chain, 2):
        _check_splits(earlier, later)
    return chain


def _check_splits(earlier: ConfigDict, later: ConfigDict) -> None:
    """Check that a phase trains on no test image of a later one, where splits are drawn.

    Raises:
      ValueError: they draw other splits of the same data set.
    """
    runs = [grid.fields(run) for run in (earlier, later)]
    names = {ids.identity("data.name", fields["data.name"]) for fields in runs}
    if len(names) > 1 or all(fields.get("data.split") != "per_seed" for fields in runs):
        return
    for path in _OF_SPLITS:
        first, second = (fields[path] for fields in runs)
        if first != second:
            raise ValueError(
                f"config.data.split='per_seed': in the phase {earlier.transfer.phase} "
                f"config.{path} is {first!r}, in the phase {later.transfer.phase} {second!r}, so "
                f"that one may train on test images of the other; expected the same in both"
            )


def _resolved(config: ConfigDict, phase: str, until: Sequence[str]) -> ConfigDict:
    """Return the config of one phase, with the sections of the phases `until` it."""
    fields = config.to_dict()
    sections = {name: fields.pop(name, None) for name in SECTIONS}
    own = sections.get(phase)
    if own is None and phase == "pretraining":
        raise ValueError(
            f"pretrained: it is missing, and the config has no section `pretraining` to train a "
            f"base by; expected {BASES}"
        )
    run = ConfigDict(fields)
    for path, value in grid.fields(ConfigDict(own or {})).items():
        grid.assign(run, path, value, section=phase)
    run.transfer.phase = phase
    run.transfer.update(_FIXED[phase])
    run.update({name: sections[name] for name in until if sections.get(name)})
    return run
