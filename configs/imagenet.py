"""Linear against ReLU6 projections, shortcuts on and off, on ImageNet: the paper's Figure 6.

Command:  python -m experiments.ablate --config=configs/imagenet.py
          python -m experiments.ablate --config=configs/imagenet.py:RECIPE
          python -m experiments.train --config=configs/imagenet.py:RECIPE
Hardware: several accelerators, and cores to decode for them
Time:     not measured yet
Expect:   not measured yet; published with these recipes: 72.0 % top-1 (paper and slim), 71.9 %
          (torchvision_v1), 72.2 % (torchvision_v2)

Data:     put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into a folder FOLDER, then
          python -m experiments.prepare --dataset=imagenet2012 --manual_dir=FOLDER
          A data set that TFDS has prepared before, also as TFRECORD, is read as it is.

RECIPE is one of paper, slim, torchvision_v1 and torchvision_v2; see `mnv2_jax.train.recipes`. What
differs from the published ones: the paper states neither augmentation nor epochs, and gets those of
slim; slim distorts colours in an order that it draws; torchvision_v2 also has TrivialAugment,
CutMix, random erasing, repeated augmentation and training at 176 pixels, in whose place stand
RandAugment and MixUp. The last hundredth of the training images is for validation; ImageNet's own
validation images, by which results are published, are the test.

All seeds see images in the same order (`config.data.order`), so that they are decoded once.

Source: Sandler et al. 2018, arXiv 1801.04381, section 6.4, Figure 6.
"""

from ml_collections import ConfigDict

from configs import digits
from mnv2_jax.ablation.grid import Grid, axis, chain, product
from mnv2_jax.analysis.claims import Claim, greater
from mnv2_jax.train.recipes import RECIPES

_EPOCHS = {
    # 7 million steps of 96 images come to 525 epochs in Figure 6; slim says 412 to 420.
    "paper": 420,
    "slim": 420,
    "torchvision_v1": 300,
    "torchvision_v2": 600,
}


def get_config(recipe: str = "paper") -> ConfigDict:
    """One run: the paper's network, and a published recipe."""
    _check(recipe)
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


def get_grid(recipe: str = "paper") -> Grid:
    """The three curves of Figure 6 and its ReLU6 projection: 4 variants x 3 seeds."""
    _check(recipe)
    return product(
        chain(
            axis("model.shortcut", ("bottleneck", "expansion", "none")),
            axis("model.projection", ("relu6",)),
        ),
        axis("seed", range(3)),
    )


def get_claims(recipe: str = "paper") -> list[Claim]:
    """What the paper says, and the comparison that decides it. Written before the runs."""
    _check(recipe)
    linear, shortcut, _ = digits.get_claims()
    return [
        linear,
        shortcut,
        greater(
            name="shortcut_between_expansions",
            source="section 6.4, Figure 6b",
            statement="Shortcuts between bottlenecks beat those between expansions",
            axis="shortcut",
            better="bottleneck",
            worse="expansion",
        ),
    ]


def _check(recipe: str) -> None:
    if recipe not in _EPOCHS:
        raise ValueError(
            f"--config: {recipe!r} after the colon: expected one of {', '.join(_EPOCHS)}"
        )
