"""The texts of `--help` and `--help_config`: flags, and fields of a config with their meaning."""

import functools
import importlib
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mnv2_jax import schema
from mnv2_jax.ablation import grid

_WIDEST = 100

_OTHERS = {
    "seed": "initial weights, dropout, order and augmentation follow from it; whole number, 0 or "
    "more",
    "metrics": "names in `mnv2_jax.metrics.METRICS` or FILE.py:OBJECT, separated by commas",
    "evaluate_test": "measure test images after the last epoch; False leaves them unread, for "
    "choices by validation accuracy",
    "data.split": "these splits in all runs, or splits of their sizes drawn for each seed: one of "
    "`mnv2_jax.data.splits.KINDS`",
    "data.scaling": "scale of images: one of `mnv2_jax.data.augment.SCALINGS`, or weights, as "
    "pretrained weights need it",
    "data.mode": "input pipeline: one of `mnv2_jax.train.modes.MODES`",
    "data.order": "order and augmentation of images by the run's seed, or the same in all runs: "
    "one of `mnv2_jax.train.hparams.ORDERS`",
    "model.preset": "network: one of `mnv2_jax.presets.PRESETS`",
    "model.width": "width multiplier, above 0",
    "model.depth": "depth multiplier, above 0",
    "model.projection_blocks": "blocks that have the projection, the others are linear: all, none, "
    "numbers from 1 such as 1,3-5, or all but 2,4-5",
    "model.shortcut_blocks": "blocks that have the shortcut, likewise; only blocks that keep the "
    "shape can have one",
    "model.conventions": "padding, BatchNorm, dropout, initial weights: one of "
    "`mnv2_jax.arch.CONVENTIONS`, or weights, as pretrained weights need it",
    "parallel": "lanes by device, or batches by device: one of `mnv2_jax.train.layouts.LAYOUTS`",
    schema.PHASE: "phase of the transfer: one of `mnv2_jax.ablation.phases.PHASES`",
    "transfer.first": "first part that trains: a part's name, or last_N for the last N blocks",
    "transfer.norm": "parts whose BatchNorm statistics move: one of `mnv2_jax.train.tuning.NORMS`",
    "transfer.dropout": "before the classifier, 0 or more, below 1",
    "transfer.start": "run or file that the network starts from; set by the phases before",
}
"""The meanings of fields that no dataclass declares."""


def screen(description: str) -> str:
    """Return the text of `--help`: the description of a command, and its flags."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    own = FLAGS.get_key_flags_for_module("__main__")
    own = sorted(own, key=lambda flag: flag.name not in ("config", "workdir"))
    shown = [line for flag in own for line in _flag(flag, width)]
    if "config" in FLAGS:
        shown[1:1] = _entry("--config.FIELD=VALUE", "Set a field of the config.", width)
        shown += _entry("--help_config", "Print every field of the config, and end.", width)
    return "\n".join([description.strip(), "", "Flags:", *shown])


def _flag(flag: flags.Flag[Any], width: int) -> list[str]:
    if flag.name.startswith("config."):
        return []
    name = f"--{flag.name}"
    if flag.boolean:
        name = f"--[no]{flag.name}"
    choices = getattr(flag.parser, "enum_values", None)
    if choices:
        name += f"={'|'.join(choices)}"
    text = " ".join((flag.help or "").split()).removeprefix(f"<{'|'.join(choices or ())}>: ")
    if flag.default not in (None, "", False, []):
        text += f" (default: {flag.default})"
    return _entry(name, text, width)


def _entry(name: str, text: str, width: int) -> list[str]:
    indent = 26
    lines = textwrap.wrap(text, width - indent) or [""]
    if len(name) + 4 > indent:
        return [f"  {name}", *(" " * indent + line for line in lines)]
    return [f"  {name:<{indent - 2}}{lines[0]}", *(" " * indent + line for line in lines[1:])]


def config_screen(config: ConfigDict, name: str) -> str:
    """Return the text of `--help_config`: every field, its value and its meaning.

    Args:
      config: the config.
      name: its file, and after a colon its argument.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [f"Fields of the config, as {name} sets them:"]
    for path, value in grid.fields(config).items():
        lines.append(f"  --config.{path}={value}")
        lines += textwrap.wrap(
            meaning(path), width, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


@functools.cache
def _holders() -> Mapping[str, Sequence[type]]:
    """Return the dataclasses whose attributes are fields of the config, by section."""
    # Imported here, so that commands which only read records do not import jax.
    from mnv2_jax import arch
    from mnv2_jax.data.augmentation import Augmentation
    from mnv2_jax.data.sources import Selection
    from mnv2_jax.train.hparams import HParams
    from mnv2_jax.train.recipe import Recipe

    return {
        "model": (arch.BlockSpec,),
        "data": (Selection,),
        "augment": (Augmentation,),
        "train": (Recipe, HParams),
        "transfer": (Selection,),
    }


def meaning(path: str) -> str:
    """Return the meaning of a field of the config as one line; "" for an unknown field."""
    section, _, rest = path.partition(".")
    if section in schema.SECTIONS:
        return f"in the phase {section}: {meaning(rest)}"
    if path in _OTHERS:
        return _with_choices(_OTHERS[path], "")
    for holder in _holders().get(section, ()):
        text = dict(_attributes(holder)).get(rest)
        if text:
            return _with_choices(re.split(r"\.(?= |$)", text, maxsplit=1)[0], holder.__module__)
    return ""


def _attributes(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the attributes that the docstring of a class describes, with their texts."""
    block = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=  \w)", block):
        name, _, text = entry.strip().partition(": ")
        yield name, " ".join(text.split())


def _with_choices(text: str, module: str) -> str:
    """Replace constants in backticks by the choices that they hold."""

    def choices(match: re.Match[str]) -> str:
        where, _, name = match[1].rpartition(".")
        if not name.isupper():
            return match[1]
        value = getattr(importlib.import_module(where or module), name)
        return str(value) if isinstance(value, int | float) else ", ".join(map(str, value))

    return re.sub(r"`([^`]+)`", choices, text)


FLAGS = flags.FLAGS
