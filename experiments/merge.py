"""Joins the workdirs of one experiment that was trained on several machines.

  python -m experiments.merge --workdir=runs/digits copied/machine_a copied/machine_b
  python -m experiments.merge --workdir=runs/digits shards/*
  python -m experiments.merge --workdir=runs/all runs/first_seeds s3://bucket/more_seeds

Records of finished runs are copied. Then `experiments.ablate` with that workdir finds them
finished, trains what is missing and writes the report. Two folders that hold other results of one
run are refused, and nothing is copied.
"""

import contextlib

from absl import flags

from experiments import command_line
from mnv2_jax.ablation import merging, workdir

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder to copy records into, which may be gs:// or s3://."
)


def main(*sources: str) -> int:
    """Copies the records of finished runs.

    Raises:
      ValueError: a folder is wrong, or results contradict one another.
      OSError: a record cannot be read or written.
    """
    if _WORKDIR.value is None:
        raise ValueError("--workdir: expected the folder to copy records into")
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(workdir.seen(source, flag="")).path for source in sources]
        for folder in folders:
            if not folder.is_dir():
                raise ValueError(f"{folder}: no such folder; expected that of an experiment")
        target = stack.enter_context(workdir.claimed(_WORKDIR.value))
        counts = merging.merge(target.path, folders)
    print(
        f"{target.shown(target.path)}: {counts['copied']} runs copied, {counts['known']} there "
        f"before or in several folders"
    )
    return 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="FOLDER", several=True)
