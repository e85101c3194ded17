"""Joins the workdirs of one experiment that was trained on several machines.

  python -m experiments.merge --workdir=runs/digits copied/machine_a copied/machine_b
  python -m experiments.merge --workdir=runs/digits shards/*
  python -m experiments.merge --workdir=runs/all runs/first_seeds s3://bucket/more_seeds

Finished runs are copied, and the side tables of experiments.evaluate. Then `experiments.ablate`
with that workdir finds them finished, trains what is missing and writes the report; the last line
printed is that command. Two folders that hold other results of one run are refused, and nothing is
copied.
"""

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from mnv2_jax import checksums
from mnv2_jax.ablation import merging, plans, workdir
from mnv2_jax.terminal import first_few, outlive, say

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder to copy records into, which may be gs:// or s3://."
)


def main(*sources: str) -> int:
    """Copy finished runs and their side tables.

    Raises:
      ValueError: a folder is wrong, or results contradict one another.
      OSError: a record cannot be read or written.
    """
    if _WORKDIR.value is None:
        raise ValueError("--workdir: expected the folder to copy records into")
    outlive("stdout")
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(workdir.seen(source, flag="")).path for source in sources]
        target = stack.enter_context(workdir.claimed(_WORKDIR.value))
        named = {_WORKDIR.value: target.path, **dict(zip(sources, folders, strict=True))}
        found = dict(_plans(named))
        merged = merging.merge(target.path, folders)
        grids = [plan["cohorts"] for plan in found.values()]
        if grids and _WORKDIR.value not in found and all(one == grids[0] for one in grids):
            plan = next(iter(found.values()))
            plans.keep(target.path, {**plan, "command": _command(plan)})
    say(
        f"{target.shown(target.path)}: {merged.copied} runs copied, {merged.known} there before or "
        f"in several folders"
    )
    for line in first_few(merged.damaged):
        say(f"{line}; left out")
    for line in _what_next(found):
        say(line)
    return 0


def _plans(folders: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the plans of experiments by their folders; a line for each that is damaged."""
    for name, folder in folders.items():
        try:
            if plan := plans.read(folder):
                yield name, plan
        except checksums.DamagedError as error:
            say(str(error))


def _what_next(plans: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lines for folders of several experiments, and the command that goes on with them."""
    experiments: dict[tuple[str, ...], list[str]] = {}
    for folder, plan in plans.items():
        fields = [word for word in shlex.split(plan["command"]) if word.startswith("--config")]
        fields = fields or [plan["command"]]  # Of mnv2_jax.api.
        experiments.setdefault((plan["name"], *fields), []).append(folder)
    if len(experiments) > 1:
        told = (f"{' '.join(key)} in {', '.join(where)}" for key, where in experiments.items())
        yield f"The folders are of different experiments: {'; '.join(told)}"
    if len(experiments) == 1:
        yield f"Next: {_command(next(iter(plans.values())))}"
    else:
        yield f"Next: the experiment's command with --workdir={_WORKDIR.value}"


def _command(plan: Mapping[str, Any]) -> str:
    """Return an experiment's command, for all of it, in the merged folder."""
    if not plan["command"].startswith("python "):  # A call of mnv2_jax.api.
        return f"{plan['command']} with workdir={json.dumps(_WORKDIR.value)}"
    command = command_line.of_the_whole(plan["command"], "workdir")
    return f"{command} {shlex.quote(f'--workdir={_WORKDIR.value}')}"


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="FOLDER", several=True)
