"""Train one network: the config as it is, without its grid.

  python -m experiments.train --config=configs/digits.py
  python -m experiments.train --config=configs/digits.py --config.model.expansion=2 --config.seed=7
  python -m experiments.train --config=configs/imagenet.py:slim --dry_run

It writes what `experiments.ablate` writes, for one run, and keeps the latest checkpoints and the
best one. Rerunning skips a finished run, and resumes a killed one from its last checkpoint.
"""

from pathlib import Path

from absl import flags

from experiments import command_line, session
from mnv2_jax.ablation import grid
from mnv2_jax.api.experiment import Experiment

flags.adopt_module_key_flags(session)


def main() -> int:
    """Train the network. Return 1 if it failed, else 0.

    Raises:
      ValueError: the config is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    session.begin()
    config = session.CONFIG.value
    file = Path(command_line.config_name().partition(":")[0])
    experiment = Experiment(config, name=f"train_{file.stem}_{grid.run_id(config)}", files=[file])
    return session.run(experiment, keep_checkpoints=True, keep_networks=True)


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
