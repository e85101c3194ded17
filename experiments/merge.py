"""Merge the workdirs of one experiment that was trained on several machines.

  python -m experiments.merge --workdir=runs/digits copied/machine_a copied/machine_b
  python -m experiments.merge --workdir=runs/digits shards/*
  python -m experiments.merge --workdir=runs/all runs/first_seeds s3://bucket/more_seeds

Finished runs are copied, and the side tables of experiments.evaluate. Then `experiments.ablate`
with that workdir skips them, trains what is missing and writes the report; the last line printed is
that command. If two folders hold different results of one run, nothing is copied.
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

flags.DEFINE_string(
    "workdir", None, "The folder to copy records into, which may be gs:// or s3://."
)


def main(*sources: str) -> int:
    """Copy finished runs and their side tables.

    Raises:
      ValueError: a folder is wrong, or results contradict one another.
      OSError: a record cannot be read or written.
    """
    where = command_line.required("workdir", "the folder to copy records into")
    outlive("stdout")
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(workdir.seen(source, flag="")).path for source in sources]
        target = stack.enter_context(workdir.claimed(where))
        named = {where: target.path, **dict(zip(sources, folders, strict=True))}
        known = dict(_plans(named))
        merged = merging.merge(target.path, folders)
        grids = [plan["cohorts"] for plan in known.values()]
        if grids and where not in known and all(cohorts == grids[0] for cohorts in grids):
            plan = next(iter(known.values()))
            plans.keep(target.path, {**plan, "command": _command(plan, where)})
    say(
        f"{target.shown(target.path)}: {merged.copied} runs copied, {merged.known} there before or "
        f"in several folders"
    )
    for line in first_few(merged.damaged):
        say(f"{line}; left out")
    for line in _next_step(known, where):
        say(line)
    return 0


def _plans(folders: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the plans of experiments with their folders; print a line for each damaged one."""
    for name, folder in folders.items():
        try:
            if plan := plans.read(folder):
                yield name, plan
        except checksums.DamagedError as error:
            say(str(error))


def _next_step(plans: Mapping[str, Mapping[str, Any]], where: str) -> Iterator[str]:
    """Yield a line if the folders are of several experiments, and the command to run next."""
    experiments: dict[tuple[str, ...], list[str]] = {}
    for folder, plan in plans.items():
        fields = [word for word in shlex.split(plan["command"]) if word.startswith("--config")]
        fields = fields or [plan["command"]]  # A call of mnv2_jax.api.
        experiments.setdefault((plan["name"], *fields), []).append(folder)
    if len(experiments) > 1:
        lists = (f"{' '.join(key)} in {', '.join(own)}" for key, own in experiments.items())
        yield f"The folders are of different experiments: {'; '.join(lists)}"
    if len(experiments) == 1:
        yield f"Next: {_command(next(iter(plans.values())), where)}"
    else:
        yield f"Next: the experiment's command with --workdir={where}"


def _command(plan: Mapping[str, Any], where: str) -> str:
    """Return the command that runs the whole experiment in the merged folder."""
    if not plan["command"].startswith("python "):  # A call of mnv2_jax.api.
        return f"{plan['command']} with workdir={json.dumps(where)}"
    command = command_line.of_the_whole(plan["command"], "workdir")
    return f"{command} {shlex.quote(f'--workdir={where}')}"


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="FOLDER", several=True)
