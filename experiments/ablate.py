"""Train a grid of networks, decide the config's claims and write a report.

  python -m experiments.ablate --config=configs/digits.py
  python -m experiments.ablate --config=configs/digits.py --workdir=runs/30 --config.train.epochs=30
  python -m experiments.ablate --config=configs/digits.py --config.model.expansion=6
  python -m experiments.ablate --config=configs/digits.py --seeds=8
  python -m experiments.ablate --config=configs/digits.py --seeds=auto
  python -m experiments.ablate --config=configs/digits.py:factorial --dry_run
  python -m experiments.ablate --config=configs/digits.py:factorial --shard=2/8
  python -m experiments.ablate --config=configs/digits.py:factorial --launcher=ray

A field given on the command line is the same in all runs; a grid's axis on it collapses to that
value. Rerunning skips finished runs and resumes killed ones from their last checkpoint; the report
is drawn again if something that it shows has changed. Shards may share a workdir, or have one each,
which `experiments.merge` joins.

--seeds=auto trains 6 seeds, then 2 at a time until every claim is decided, 24 at most;
--seeds=auto:8,4,40 has other numbers.
"""

from absl import flags

from experiments import command_line, session
from mnv2_jax.ablation import launchers, seeds
from mnv2_jax.ablation.launchers import Launcher, shards

flags.adopt_module_key_flags(session)
_SEEDS = flags.DEFINE_string(
    "seeds",
    None,
    "How many, such as 8; which ones, such as 0,2,5; or auto. Default: the grid's own.",
)
_SHARD = flags.DEFINE_string(
    "shard", None, "Train the I-th of N parts of about equal work: I/N, such as 2/8."
)
_LAUNCHER = flags.DEFINE_string(
    "launcher",
    "local",
    "local, in this process; ray, on a Ray cluster; or FILE.py:NAME, a launcher of your own.",
)
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address",
    None,
    "Address of the Ray cluster, or auto. Default: start one on this machine.",
)


_KEEP_NETWORKS = flags.DEFINE_bool(
    "keep_networks",
    None,
    "Keep trained networks, for evaluate and predict. Default: if all are under 200 MB.",
)


def main() -> int:
    """Run the experiment. Return 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid or a claim is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    launcher = _launcher()
    session.begin()
    return session.run(
        session.experiment(),
        launcher,
        keep_networks=_KEEP_NETWORKS.value,
        seeds=None if _SEEDS.value is None else seeds.parse(_SEEDS.value),
    )


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
