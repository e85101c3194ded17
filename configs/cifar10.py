"""Linear against ReLU6 projections, shortcuts on and off, expansions 1 to 10, on CIFAR-10.

Command:  python -m experiments.ablate --config=configs/cifar10.py
          python -m experiments.ablate --config=configs/cifar10.py:smoke
Hardware: one accelerator; for smoke, two CPU cores
Time:     not measured yet on an accelerator; smoke takes 200 to 310 s, compilation included
Expect:   not measured yet; of smoke, linear projections 52 % top-1, ReLU6 46 %

Data:     python -m experiments.prepare --dataset=cifar10
          or, of a folder with train/CLASS/*.png and test/CLASS/*.png,
          python -m experiments.prepare --images=DIR --name=cifar10

The last tenth of the training images is for validation. The network is `small_32px`: 4 pixels of
padding, then a crop, and flips, as He et al. 2016 (arXiv 1512.03385, section 4.2) augment CIFAR-10.

Source: Sandler et al. 2018, arXiv 1801.04381, sections 3.2, 3.3 and 6.4, Figure 6.
"""

from ml_collections import ConfigDict

from configs import digits
from mnv2_jax.ablation.grid import Grid, axis, product
from mnv2_jax.analysis.claims import Claim


def get_config(scale: str = "full") -> ConfigDict:
    """One run: the fields that a grid varies hold the paper's choice.

    Args:
      scale: "full", or "smoke" for a fifth of the images and few epochs.
    """
    _check(scale)
    config = digits.get_config()

    config.data.name = "cifar10"
    config.data.train = "train[:90%]" if scale == "full" else "train[:20%]"
    config.data.validation = "train[90%:]"
    config.data.test = "test"
    config.data.resolution = 32

    config.augment.shift = 4
    config.augment.flip = True

    config.model.preset = "small_32px"

    config.train.epochs = 100 if scale == "full" else 8
    config.train.batch_size = 128 if scale == "full" else 64
    config.train.evaluation_batch_size = 500
    config.train.weight_decay = 5e-4
    config.train.warmup_epochs = 1.0
    return config


def get_grid(scale: str = "full") -> Grid:
    """144 runs: expansion x projection x shortcut x seed; smoke: projection x 2 seeds."""
    _check(scale)
    projections = axis("model.projection", ("linear", "relu6"))
    if scale == "smoke":
        return product(projections, axis("seed", range(2)))
    return product(
        axis("model.expansion", (1, 2, 4, 6, 8, 10)),
        projections,
        axis("model.shortcut", ("bottleneck", "none")),
        axis("seed", range(6)),
    )


def get_claims(scale: str = "full") -> list[Claim]:
    """Those of digits.py on projections and shortcuts. Written before the runs."""
    _check(scale)
    linear, shortcut, _ = digits.get_claims()
    return [linear] if scale == "smoke" else [linear, shortcut]


def _check(scale: str) -> None:
    if scale not in ("full", "smoke"):
        raise ValueError(f"--config: {scale!r} after the colon: expected full or smoke")
