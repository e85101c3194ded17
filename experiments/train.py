"""Trains one network: the config as it is, without its grid.

  python -m experiments.train --config=configs/digits.py
  python -m experiments.train --config=configs/digits.py --config.model.expansion=2 --config.seed=7
  python -m experiments.train --config=configs/imagenet.py:slim --dry_run

It writes what `experiments.ablate` writes, for one run, and keeps the latest checkpoints and the
best one. Trained before, it is not trained again; killed, it goes on from its last checkpoint.
"""

from absl import flags

from experiments import command_line, session, training
from mnv2_jax.ablation import grid

flags.adopt_module_key_flags(session)


def main() -> int:
    """Trains the network. Returns 1 if it failed, else 0.

    Raises:
      ValueError: the config is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    session.begin()
    config = session.CONFIG.value
    name = f"train_{command_line.config_path()[0].stem}_{grid.run_id(config)}"
    saved = training.saving(keep=True, networks=True)
    outcome = training.train(name, [config], [], saved=saved)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
