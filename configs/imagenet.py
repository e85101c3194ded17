"""Linear against ReLU6 projections, shortcuts on and off, on ImageNet: the paper's Figure 6.

Command:  python -m experiments.ablate --config=configs/imagenet.py
          python -m experiments.ablate --config=configs/imagenet.py:RECIPE
          python -m experiments.ablate --config=configs/imagenet.py:RECIPE,QUESTION
          python -m experiments.train --config=configs/imagenet.py:RECIPE
Hardware: several accelerators, and CPU cores that decode images for them
Time:     not measured yet
Expect:   not measured yet; published with these recipes: 72.0 % top-1 (paper and slim), 71.9 %
          (torchvision_v1), 72.2 % (torchvision_v2)

Data:     put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into a folder FOLDER, then
          python -m experiments.prepare --dataset=imagenet2012 --manual_dir=FOLDER
          A data set that TFDS has prepared already, also as TFRECORD, is read as it is.

RECIPE is one of paper (the default), slim, torchvision_v1 and torchvision_v2; see
`mnv2_jax.train.recipes`. They differ from the published ones:
  - The paper states neither augmentation nor epochs; those of slim are used.
  - slim distorts colours in random order; here the order is fixed.
  - torchvision_v2 uses TrivialAugment, CutMix, random erasing, repeated augmentation and training
    at 176 pixels; here RandAugment and MixUp replace them.
The last hundredth of the training images is for validation. The test split is ImageNet's validation
split, on which results are published.

QUESTION is one of configs/questions.py, with 3 seeds, at expansions 1, 3, 6 and 10.

All seeds see images in the same order (`config.data.order`), so that each is decoded once.

Source: Sandler et al. 2018, arXiv 1801.04381, section 6.4, Figure 6.
"""

from ml_collections import ConfigDict

from configs import digits, questions
from configs.design import Design, Question
from mnv2_jax.ablation.grid import Grid, axis, chain, product
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.train.recipes import RECIPES

_EPOCHS = {
    # Figure 6 has 7 million steps of 96 images, which are 525 epochs; slim says 412 to 420.
    "paper": 420,
    "slim": 420,
    "torchvision_v1": 300,
    "torchvision_v2": 600,
}


def get_config(argument: str = "") -> ConfigDict:
    """Return one run: the paper's network, and a published recipe.

    Args:
      argument: a recipe, a question, or both with a comma between them.
    """
    recipe, _ = _parse(argument)
    config = digits.get_config()

    config.data.name = "imagenet2012"
    config.data.train = "train[:99%]"
    config.data.validation = "train[99%:]"
    config.data.test = "validation"
    config.data.resolution = 224
    config.data.crop_fraction = 0.875
    config.data.order = "shared"

    config.augment.crop_area = 0.08
    config.augment.flip = True
    if recipe in ("paper", "slim"):
        # inception_preprocessing.py: brightness by 32 of 255, contrast and saturation by half.
        config.augment.brightness = 0.125
        config.augment.contrast = 0.5
        config.augment.saturation = 0.5
        config.augment.hue = 0.2
    else:
        config.data.scaling = "imagenet"
    if recipe == "torchvision_v2":
        config.augment.randaugment_layers = 2
        config.augment.randaugment_magnitude = 9
        config.augment.mixup = 0.2

    config.model.preset = "mobilenet_v2"
    config.model.conventions = "torchvision" if recipe.startswith("torchvision") else "slim"

    config.train.update(RECIPES[recipe])
    config.train.epochs = _EPOCHS[recipe]
    config.train.evaluation_batch_size = 512
    return config


def get_grid(argument: str = "") -> Grid:
    """Return the question's grid, or that of Figure 6: 4 variants x 3 seeds."""
    _, question = _parse(argument)
    if question:
        return _question(argument).grid
    return product(
        chain(
            axis("model.shortcut", ("bottleneck", "expansion", "none")),
            axis("model.projection", ("relu6",)),
        ),
        axis("seed", range(3)),
    )


def get_claims(argument: str = "") -> list[Claim]:
    """Return the question's claims, or those of Figure 6."""
    _, question = _parse(argument)
    if question:
        return _question(argument).claims
    return [questions.LINEAR, questions.SHORTCUT, questions.BETWEEN_BOTTLENECKS]


def _question(argument: str) -> Question:
    _, question = _parse(argument)
    # Few seeds and expansions, since a run takes days.
    design = Design(get_config(argument), seeds=3, expansions=(1, 3, 6, 10), widths=(0.35, 1.0))
    return questions.ask(question, design)


def _parse(argument: str) -> tuple[str, str]:
    """Return the recipe, and the question or ""."""
    recipe, question = questions.split(argument)
    if recipe and recipe not in _EPOCHS:
        raise ValueError(
            f"config: {argument!r} after the colon: expected a recipe ({', '.join(_EPOCHS)}), "
            f"a question ({', '.join(questions.QUESTIONS)}), or RECIPE,QUESTION"
        )
    return recipe or "paper", question
