"""Trains a grid of networks, decides the config's claims and writes a report.

  python -m experiments.ablate --config=configs/digits.py
  python -m experiments.ablate --config=configs/digits.py --workdir=runs/30 --config.train.epochs=30
  python -m experiments.ablate --config=configs/digits.py --config.model.expansion=6
  python -m experiments.ablate --config=configs/digits.py:factorial --dry_run
  python -m experiments.ablate --config=configs/digits.py:factorial --shard=2/8
  python -m experiments.ablate --config=configs/digits.py:factorial --launcher=ray

A field given on the command line is the same in all runs; where the grid has an axis on it, the
axis collapses to that value. What is finished in the workdir is not trained again; what was in
training when the process was killed goes on from its last checkpoint. Shards, such as the jobs of
an array, may share a workdir, or have one each, which `experiments.merge` joins.
"""

from absl import flags

from experiments import command_line, session
from mnv2_jax.ablation import launchers
from mnv2_jax.ablation.launchers import Launcher, shards

flags.adopt_module_key_flags(session)
_SHARD = flags.DEFINE_string(
    "shard", None, "Train the I-th of N parts of the runs, of about equal work: I/N, such as 2/8."
)
_LAUNCHER = flags.DEFINE_string(
    "launcher",
    "local",
    "Where to train: local, in this process; ray, on a Ray cluster, a cohort at a time on every "
    "accelerator or, without one, every machine; or FILE.py:NAME, a launcher of your own.",
)
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address",
    None,
    "Of the cluster, 'auto' on one of its machines. Default: one is started, on this machine.",
)


_KEEP_NETWORKS = flags.DEFINE_bool(
    "keep_networks",
    None,
    "Keep the trained network of each run, for experiments.predict and evaluate. Default: where "
    "all networks together are under 200 MB.",
)


def main() -> int:
    """Runs the experiment. Returns 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid or a claim is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    launcher = _launcher()
    session.begin()
    return session.run(session.experiment(), launcher, keep_networks=_KEEP_NETWORKS.value)


def _launcher() -> Launcher:
    shard = shards.parse(_SHARD.value) if _SHARD.value is not None else None
    if shard and _LAUNCHER.value != "local":
        raise ValueError("--shard: it goes with --launcher=local alone")
    if _RAY_ADDRESS.value is not None and _LAUNCHER.value != "ray":
        raise ValueError(
            f"--ray_address={_RAY_ADDRESS.value}: nothing reads it; expected --launcher=ray too"
        )
    if _LAUNCHER.value == "ray":
        return launchers.Ray(_RAY_ADDRESS.value)
    return shard or launchers.find(_LAUNCHER.value)


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
