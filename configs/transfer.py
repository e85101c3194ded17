"""Transfer of a trained network to other classes, of which there are few images.

Command:  python -m experiments.finetune --config=configs/transfer.py
          python -m experiments.finetune --config=configs/transfer.py:cifar10
          python -m experiments.finetune --config=configs/transfer.py:folder,DIR/ \
              --pretrained=WEIGHTS
Hardware: two CPU cores; for cifar10 and large images, an accelerator
Time:     digits: 103 s, compilation included (141 to 537 s on busy cores). A folder of 227 images,
          both phases of one seed, on busy cores: 70 to 102 s at 96 pixels, 103 to 279 s at 160,
          685 s at 224. cifar10: not measured yet
Expect:   on digits, fine-tuning ahead of feature extraction by 22 points of top-1, training from
          scratch ahead of both; see docs/results/. On six classes of photographs, with weights
          from ImageNet, fine-tuning ahead by 0 to 14 points

Data:     digits come with a package; cifar10 as in configs/cifar10.py; DIR/ as in configs/folder.py

A base is trained on five classes. The other five have ten training images each (cifar10: twenty).
Three phases learn them:
  - scratch: the whole network, from random weights;
  - extraction: a new classifier on the frozen base (feature extraction);
  - finetuning: the base's last six blocks, after extraction; with BatchNorm in inference mode, and
    with BatchNorm that keeps updating its statistics.
On a folder, the base is given by --pretrained, its last three blocks are fine-tuned, all images are
used, and there is no scratch.

The fields are those of fine-tuning; the sections extraction, scratch and pretraining override them
in these phases.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import cifar10, digits
from mnv2_jax.ablation.grid import Grid, axis, chain, product
from mnv2_jax.analysis.claims import Claim, greater

_LINEAR = {"model.projection": "linear"}
_INFERENCE = {"transfer.norm": "inference"}

# Fields in which phases differ.
_OF_PHASES = (
    "transfer.first",
    "transfer.norm",
    "augment.flip",
    "augment.shift",
    "augment.rotation",
    "train.epochs",
    "train.batch_size",
    "train.learning_rate",
    "train.weight_decay",
    "train.clip",
)

FINETUNING = greater(
    name="finetuning",
    source="Yosinski et al. 2014, arXiv 1411.1792, section 4",
    statement="Fine-tuning beats feature extraction",
    axis="transfer.phase",
    better="finetuning",
    worse="extraction",
    where={**_LINEAR, **_INFERENCE},
    covarying=_OF_PHASES,
)
EXTRACTION = greater(
    name="extraction",
    source="Donahue et al. 2014, arXiv 1310.1531, section 4",
    statement="On few images, feature extraction beats training from scratch",
    axis="transfer.phase",
    better="extraction",
    worse="scratch",
    where=_LINEAR,
    covarying=_OF_PHASES,
)
NORM = greater(
    name="norm_in_inference",
    source="Keras, guide to transfer learning and fine-tuning",
    statement="On few images, BatchNorm in inference mode beats statistics that move",
    axis="transfer.norm",
    better="inference",
    worse="trained",
    where={**_LINEAR, "transfer.phase": "finetuning"},
)
LINEAR_BASE = greater(
    name="linear_base",
    source="this workbench, after section 3.2",
    statement="A frozen base with linear bottlenecks transfers better than one with ReLU6",
    axis="model.projection",
    better="linear",
    worse="relu6",
    where={"transfer.phase": "extraction"},
)
LINEAR_BASE_TUNED = greater(
    name="linear_base_tuned",
    source="this workbench, after section 3.2",
    statement="A base with linear bottlenecks is better than one with ReLU6 after fine-tuning",
    axis="model.projection",
    better="linear",
    worse="relu6",
    where={**_INFERENCE, "transfer.phase": "finetuning"},
)


def get_config(argument: str = "digits") -> ConfigDict:
    """Return one run of fine-tuning.

    Args:
      argument: "digits", "cifar10", or "folder," and the path of a folder of images.
    """
    dataset, name = _parse(argument)
    if dataset == "folder":
        return _folder(name)
    return _digits() if dataset == "digits" else _cifar10()


def get_grid(argument: str = "digits") -> Grid:
    """Return phase x projection x seed; on a folder, two phases x 6 seeds."""
    dataset, _ = _parse(argument)
    if dataset == "folder":
        return product(axis("transfer.phase", ("extraction", "finetuning")), axis("seed", range(6)))
    finetuning = product(
        axis("transfer.phase", ("finetuning",)), axis("transfer.norm", ("inference", "trained"))
    )
    return product(
        chain(axis("transfer.phase", ("scratch", "extraction")), finetuning),
        axis("model.projection", ("linear", "relu6")),
        # On digits, other seeds than those that recipes were chosen and claims written by.
        axis("seed", range(200, 216) if dataset == "digits" else range(6)),
    )


def get_claims(argument: str = "digits") -> list[Claim]:
    """Return common claims about transfer, and the comparisons that decide them."""
    if _parse(argument)[0] == "folder":
        return [dataclasses.replace(FINETUNING, where=_INFERENCE)]
    return [EXTRACTION, FINETUNING, NORM, LINEAR_BASE, LINEAR_BASE_TUNED]


def _digits() -> ConfigDict:
    # Recipes were chosen by validation accuracy: configs/transfer_recipe.py.
    config = digits.get_config()
    config.transfer = _transfer("last_6", classes="5-9", images_per_class=10)
    config.train.update({"epochs": 30, "batch_size": 10, "learning_rate": 0.01})
    recipe = {"epochs": 30, "learning_rate": 0.1, "weight_decay": 0.02}
    config.extraction = ConfigDict({"train": recipe})
    config.scratch = ConfigDict({"train": {**recipe, "epochs": 60}})
    config.pretraining = ConfigDict(
        {
            "transfer": {"classes": "0-4"},
            "train": {**recipe, "epochs": 60, "batch_size": 64, "weight_decay": 0.002},
        }
    )
    return config


def _cifar10() -> ConfigDict:
    config = cifar10.get_config()
    config.transfer = _transfer("last_6", classes="5-9", images_per_class=20)
    config.train.update({"epochs": 60, "batch_size": 20, "learning_rate": 0.01})
    recipe = {"epochs": 60, "learning_rate": 0.1, "weight_decay": 5e-4}
    config.extraction = ConfigDict({"augment": {"flip": False, "shift": 0}, "train": recipe})
    config.scratch = ConfigDict({"train": {**recipe, "epochs": 120}})
    config.pretraining = ConfigDict(
        {
            "transfer": {"classes": "0-4"},
            "train": {**recipe, "batch_size": 128},
        }
    )
    return config


def _folder(name: str) -> ConfigDict:
    config = cifar10.get_config()
    config.data.name = name
    config.data.update({"train": "train", "validation": "validation", "test": "test"})
    # Networks of others are trained at this size, and have their own scaling.
    config.data.resolution = 224
    config.data.scaling = "weights"
    config.model.preset = "mobilenet_v2"
    config.model.conventions = "weights"
    config.augment.update({"shift": 0, "flip": True, "rotation": 10.0})
    config.transfer = _transfer("last_3", classes="", images_per_class=0)
    config.transfer.dropout = 0.2
    config.train.update({"epochs": 20, "batch_size": 16, "evaluation_batch_size": 32})
    # Chosen by transfer_recipe.py; without clip, fine-tuning ruins the pretrained weights.
    config.train.update({"learning_rate": 0.002, "weight_decay": 1e-4, "clip": 10.0})
    recipe = {"epochs": 20, "learning_rate": 0.05, "weight_decay": 1e-4, "clip": 0.0}
    # Without augmentation, the features of each image are computed once.
    config.extraction = ConfigDict({"augment": {"flip": False, "rotation": 0.0}, "train": recipe})
    return config


def _transfer(first: str, classes: str, images_per_class: int) -> ConfigDict:
    return ConfigDict(
        {
            "phase": "finetuning",
            "first": first,
            "norm": "inference",
            "dropout": 0.0,
            "classes": classes,
            "images_per_class": images_per_class,
            "start": "",
        }
    )


def _parse(argument: str) -> tuple[str, str]:
    """Return the data set, and the path of a folder or ""."""
    dataset, _, name = argument.partition(",")
    if (dataset not in ("digits", "cifar10") or name) and not (dataset == "folder" and name):
        raise ValueError(
            f"config: {argument!r} after the colon: expected digits, cifar10 or folder,DIR/"
        )
    return dataset, name
