"""Trains a grid of networks, decides the config's claims and writes a report.

  python -m experiments.ablate --config=configs/digits.py
  python -m experiments.ablate --config=configs/digits.py --workdir=runs/30 --config.train.epochs=30
  python -m experiments.ablate --config=configs/digits.py --config.model.expansion=6
  python -m experiments.ablate --config=configs/digits.py:factorial --dry_run
  python -m experiments.ablate --config=configs/digits.py:factorial --shard=2/8

A field given on the command line is the same in all runs; where the grid has an axis on it, the
axis collapses to that value. What is finished in the workdir is not trained again; what was in
training when the process was killed goes on from its last checkpoint. Shards, such as the jobs of
an array, may share a workdir, or have one each, which `experiments.merge` joins.
"""

import re

from absl import flags

from experiments import command_line, session
from mnv2_jax.ablation import grid, shards

flags.adopt_module_key_flags(session)
_SHARD = flags.DEFINE_string(
    "shard", None, "Train the I-th of N parts of the runs, of about equal work: I/N, such as 2/8."
)


def main() -> int:
    """Runs the experiment. Returns 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid or a claim is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    shard = shards.parse(_SHARD.value) if _SHARD.value is not None else None
    session.begin()
    path, argument = command_line.config_path()
    module = command_line.load_module(path)
    name = "_".join([path.stem, *(re.sub(r"\W+", "_", part) for part in argument)])
    configs = grid.expand(
        session.CONFIG.value, module.get_grid(*argument), command_line.overrides()
    )
    claims = module.get_claims(*argument)
    outcome = session.train(name, configs, claims, keep_checkpoints=False, shard=shard)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
