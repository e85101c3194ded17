"""A small experiment, eight runs of two cohorts, and readers of its records."""

import csv
from pathlib import Path

CONFIG = """
from configs import digits
from mnv2_jax import arch, presets
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import greater

presets.PRESETS["small"] = presets.Preset(
    8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 2, 1),), 32, 10, arch.BlockSpec(divisor=1)
)

def get_config():
    config = digits.get_config()
    config.model.preset = "small"
    config.train.epochs = 3
    config.train.evaluation_batch_size = 64
    config.data.train = "train[:256]"  # Decoding and training on all of them would take a second.
    config.data.validation = "validation[:64]"
    config.data.test = "test[:128]"
    return config

def get_grid():
    return product(
        axis("model.expansion", (1, 2)),
        axis("model.projection", ("linear", "relu6")),
        axis("seed", range(2)),
    )

def get_claims():
    return digits.get_claims()[:1]
"""
"""The default experiment at a size that compiles in seconds: a network of one kind of block."""


TRANSFER = """
from configs import transfer
from mnv2_jax import arch, presets
from mnv2_jax.ablation.grid import axis, product

presets.PRESETS["small"] = presets.Preset(
    8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 2, 1),), 32, 10, arch.BlockSpec(divisor=1)
)

def get_config():
    config = transfer.get_config()
    config.model.preset = "small"
    config.model.expansion = 2.0
    config.transfer.first = "block_02"
    config.data.train = "train[:400]"
    config.data.validation = "validation[:100]"
    config.data.test = "test[:200]"
    for recipe, epochs in (
        (config.pretraining, 4), (config.scratch, 3), (config.extraction, 20), (config, 20)
    ):
        recipe.train.epochs = epochs
    return config

def get_grid():
    return product(
        axis("transfer.phase", ("scratch", "extraction", "finetuning")), axis("seed", range(2))
    )

def get_claims():
    return transfer.get_claims()[:2]
"""
"""The default transfer at such a size: eight runs of four cohorts. On few images an epoch is one
step; there are enough epochs for a process to be killed within them."""


def rows_of(workdir: Path, table: str = "results.csv") -> list[dict[str, str]]:
    """The rows of results.csv, or of a side table."""
    with (workdir / table).open() as file:
        return list(csv.DictReader(file))


def curves_of(workdir: Path) -> dict[str, bytes]:
    """The bytes of metrics.jsonl by run: equal where training gave the same bits."""
    paths = sorted(workdir.glob("runs/*/metrics.jsonl"))
    return {path.parent.name: path.read_bytes() for path in paths}
