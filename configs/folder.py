"""Linear against ReLU6 projections on images of your own.

Command:  python -m experiments.ablate --config=configs/folder.py:DIR/
          python -m experiments.ablate --config=configs/folder.py:DIR/,QUESTION
Hardware: two CPU cores for a few thousand images, an accelerator for more
Time:     not measured; it grows with the number of images; there are 12 runs of 30 epochs
Expect:   depends on the images

Data:     DIR/ holds CLASS/*.jpg, which are split 80 : 10 : 10 into train, validation and test; or
          train/CLASS/*.jpg, validation/CLASS/*.jpg and test/CLASS/*.jpg. Without the slash, the
          name is that of a data set prepared by TFDS.

QUESTION is one of configs/questions.py, with 6 seeds, at expansions 1, 3 and 6.

Without validation images, take some of the training images:
          --config.data.train='train[:90%]' --config.data.validation='train[90%:]'

Larger images: --config.data.resolution=224 --config.model.preset=mobilenet_v2. To crop them at
random, as in ImageNet recipes: --config.augment.crop_area=0.08 --config.data.crop_fraction=0.875.

Source: Sandler et al. 2018, arXiv 1801.04381, section 6.4, Figure 6a.
"""

from ml_collections import ConfigDict

from configs import cifar10, questions
from configs.design import Design, Question
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim


def get_config(folder: str) -> ConfigDict:
    """Return one run on a folder of images; a comma and a question may follow its path."""
    config = cifar10.get_config()

    config.data.name, _ = questions.split(folder)
    config.data.train = "train"
    config.data.validation = "validation"
    config.data.test = "test"

    config.train.epochs = 30
    config.train.batch_size = 32
    return config


def get_grid(folder: str) -> Grid:
    """Return the question's grid, or projection x 6 seeds, at expansion 6 with shortcuts."""
    return _question(folder).grid


def get_claims(folder: str) -> list[Claim]:
    """Return the question's claims, or that linear projections beat ReLU6."""
    return _question(folder).claims


def _question(folder: str) -> Question:
    _, question = questions.split(folder)
    design = Design(get_config(folder), seeds=6, expansions=(1, 3, 6))
    return questions.ask(question or "linear_bottleneck", design)
