"""A whole grid, end to end, against PyTorch training the same runs one by one.

Ours is the command that a user types, in a fresh process and folder: imports, compilation, records
and report count. PyTorch trains some of the runs, whose time is scaled to all; its imports do not
count, and its processes are assumed to share the rest of the grid perfectly.
"""

import csv
import io
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from experiments.benchmarks import ours, peers
from experiments.benchmarks.rows import OURS, Row
from experiments.benchmarks.settings import Sgd
from experiments.benchmarks.workers import ROOT, Pool, Unavailable
from mnv2_jax.ablation.grid import run_id
from mnv2_jax.data.sources import Dataset

TITLE = "The grid of configs/digits.py, end to end"
RATIO = "ours is times as fast"

CONFIG = ROOT / "configs" / "digits.py"
_UNIT = "s"


def measure() -> list[Row]:
    """Time the grid: ours as a whole, PyTorch's by one run per expansion."""
    configs, dataset = ours.experiment(CONFIG)
    sample = [config for config in configs if _is_sampled(config)]
    count = len(configs)
    name = f"digits, {count} runs"
    try:
        with peers.torch_pools() as pools:
            how, seconds, accuracy = sampled(dataset, sample, pools)
        theirs = Row(
            benchmark=name,
            contender="PyTorch, eager",
            how=f"{how}; {len(sample)} of the runs (linear, with shortcuts, a seed, every "
            f"expansion), scaled to {count}; test accuracy {accuracy:.1%}",
            unit=_UNIT,
            value=seconds * count,
            samples=1,
        )
    except Unavailable as error:
        theirs = Row(name, "PyTorch, eager", f"absent: {error}", _UNIT)
    with tempfile.TemporaryDirectory() as programs:
        # The first run compiles everything, the second one nothing.
        (seconds, accuracy), (again, _) = (whole(sample, Path(programs)) for _ in range(2))
    how = f"experiments.ablate in a fresh process; test accuracy of the same runs {accuracy:.1%}"
    if theirs.value is not None:
        theirs = theirs._replace(ratio=theirs.value / seconds)
    return [
        Row(name, OURS, f"{how}; all programs compiled anew", _UNIT, seconds, 1.0, 1),
        Row(
            name, OURS, "the same, with programs compiled before", _UNIT, again, again / seconds, 1
        ),
        theirs,
    ]


def sampled(
    dataset: Dataset, configs: Sequence[ConfigDict], pools: Sequence[Pool]
) -> tuple[str, float, float]:
    """Train runs in PyTorch, in the pool that is faster at one epoch of one run.

    Returns:
      The processes and threads; the mean seconds of a run while all cores are busy with runs; the
      mean accuracy on the test split.

    Raises:
      Unavailable: PyTorch cannot train here.
    """
    trial = ConfigDict(configs[-1].to_dict())
    trial.train.epochs = 1
    tried = [_train(dataset, [trial] * pool.count, pool)[1] for pool in pools]
    return _train(dataset, configs, pools[tried.index(min(tried))])


def _train(dataset: Dataset, configs: Sequence[ConfigDict], pool: Pool) -> tuple[str, float, float]:
    """Distribute the runs over the pool's processes, which train side by side."""
    train = configs[0].train
    sgd = Sgd(train.learning_rate, train.momentum, train.weight_decay, train.label_smoothing)
    recipe = train.batch_size, train.epochs, configs[0].augment.shift, sgd
    specs = [ours.network_of(config, dataset) for config in configs]
    splits = ours.splits(dataset)
    arguments = [(specs[first :: pool.count], splits, *recipe) for first in range(pool.count)]
    run = pool.prepare_each("experiments.benchmarks.torch_tasks:runs", arguments)
    seconds, accuracies = zip(*itertools.chain.from_iterable(run()), strict=True)
    mean = sum(seconds) / len(seconds)
    return pool.how, mean / pool.count, sum(accuracies) / len(accuracies)


def whole(configs: Sequence[ConfigDict], programs: Path) -> tuple[float, float]:
    """Run the command; return its seconds, and the mean test accuracy of the runs `configs`.

    Args:
      configs: some of the grid's runs.
      programs: the folder of compiled programs.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            f"--config={CONFIG.relative_to(ROOT)}",
            f"--workdir={folder}/runs",
            f"--compilation_cache={programs}",
        ]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "experiments.ablate", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"experiments.ablate failed: {done.stderr.strip()[-300:]}")
        table = Path(folder, "runs", "results.csv").read_text()
    wanted = {run_id(config) for config in configs}
    rows = csv.DictReader(io.StringIO(table))
    accuracies = [float(row["test_accuracy"]) for row in rows if row["run_id"] in wanted]
    return seconds, sum(accuracies) / len(accuracies)


def _is_sampled(config: ConfigDict) -> bool:
    model = config.model
    return (config.seed, model.projection, model.shortcut) == (0, "linear", "bottleneck")
