"""Linear against ReLU6 projections, shortcuts on and off, expansions 1 to 10, on CIFAR-10.

Command:  python -m experiments.ablate --config=configs/cifar10.py
          python -m experiments.ablate --config=configs/cifar10.py:smoke
          python -m experiments.ablate --config=configs/cifar10.py:QUESTION
          python -m experiments.ablate --config=configs/cifar10.py:smoke,QUESTION
Hardware: one accelerator; for smoke, two CPU cores
Time:     not measured yet on an accelerator; smoke takes 200 to 310 s, compilation included, and
          smoke,factorial, of 96 runs, 84 minutes on two busy cores
Expect:   not measured yet; of smoke,factorial, linear projections ahead by 6.9 points of top-1,
          shortcuts by 5.6; see docs/results/

Data:     python -m experiments.prepare --dataset=cifar10
          or, of a folder with train/CLASS/*.png and test/CLASS/*.png, --config.data.name=DIR/

smoke trains on a fifth of the images, for 8 epochs. QUESTION is one of configs/questions.py, with 8
seeds; smoke asks it at expansions 1, 3 and 6.

The last tenth of the training images is for validation. The network is `small_32px`. Images are
shifted by up to 4 pixels and flipped, as in He et al. 2016 (arXiv 1512.03385, section 4.2).

Source: Sandler et al. 2018, arXiv 1801.04381, sections 3.2, 3.3 and 6.4, Figure 6.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import digits, questions
from configs.design import Design, Question
from mnv2_jax.ablation.grid import Grid, axis, product
from mnv2_jax.analysis.claims import Claim


def get_config(argument: str = "") -> ConfigDict:
    """Return one run; fields that a grid varies have the paper's value.

    Args:
      argument: "smoke", a question, or both with a comma between them.
    """
    smoke, _ = _parse(argument)
    config = digits.get_config()

    config.data.name = "cifar10"
    config.data.train = "train[:20%]" if smoke else "train[:90%]"
    config.data.validation = "train[90%:]"
    config.data.test = "test"
    config.data.resolution = 32

    config.augment.shift = 4
    config.augment.flip = True

    config.model.preset = "small_32px"

    config.train.epochs = 8 if smoke else 100
    config.train.batch_size = 64 if smoke else 128
    config.train.evaluation_batch_size = 500
    config.train.weight_decay = 5e-4
    config.train.warmup_epochs = 1.0
    return config


def get_grid(argument: str = "") -> Grid:
    """Return the question's grid, or expansion x projection x shortcut x seed; smoke: 4 runs."""
    smoke, question = _parse(argument)
    if question:
        return _question(argument).grid
    projections = axis("model.projection", ("linear", "relu6"))
    if smoke:
        return product(projections, axis("seed", range(2)))
    return product(
        axis("model.expansion", (1, 2, 4, 6, 8, 10)),
        projections,
        axis("model.shortcut", ("bottleneck", "none")),
        axis("seed", range(6)),
    )


def get_claims(argument: str = "") -> list[Claim]:
    """Return the question's claims, or the paper's on projections and shortcuts."""
    smoke, question = _parse(argument)
    if question:
        return _question(argument).claims
    return [questions.LINEAR] if smoke else [questions.LINEAR, questions.SHORTCUT]


def _question(argument: str) -> Question:
    smoke, question = _parse(argument)
    design = Design(get_config(argument), seeds=8)
    if smoke:
        design = dataclasses.replace(design, expansions=(1, 3, 6), shortcuts=("bottleneck", "none"))
    return questions.ask(question, design)


def _parse(argument: str) -> tuple[bool, str]:
    """Return whether the scale is smoke, and the question or ""."""
    scale, question = questions.split(argument)
    if scale not in ("", "smoke"):
        raise ValueError(
            f"config: {argument!r} after the colon: expected smoke, a question "
            f"({', '.join(questions.QUESTIONS)}), or smoke,QUESTION"
        )
    return scale == "smoke", question
