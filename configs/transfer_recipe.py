"""Choice of the training configs of transfer.py's phases, by validation accuracy.

Command:  python -m experiments.finetune --config=configs/transfer_recipe.py
          python -m experiments.finetune --config=configs/transfer_recipe.py:digits,clip
          python -m experiments.finetune --config=configs/transfer_recipe.py:folder,DIR/ \
              --pretrained=WEIGHTS
          and the same with folder,DIR/,adamw
Hardware: two CPU cores
Time:     on two busy cores, compilation included: 183 s for 288 of the 306 runs of digits, 133 s
          for the 36 of digits,clip, 486 s for 36 of the 48 of a folder of 227 images at 96 pixels
Expect:   mean validation accuracy on six classes of photographs, of MobileNetV2 with weights from
          ImageNet at 96 pixels: 78.8 % after feature extraction. After fine-tuning without clip,
          20.9 % at learning rate 0.005, 63.4 % at 0.002 and 85.0 % at 0.001. Five of the six runs
          at 0.005 and 0.002 are reported as ruined; with their start put back, it is 78.8 and
          79.1 %. With clip 10, 87.2 %, 87.5 % and 83.2 %; with clip 1, in extraction too, 76.6 to
          80.6 %.
          On digits, 84.2 % after fine-tuning the last six blocks at learning rate 0.01 and weight
          decay 0.02; 84.1 % with clip 10; 92.0 % from scratch at 0.1 and 0.02. At learning rate
          0.1, networks with BatchNorm in inference mode stay at chance

The score of a recipe is the mean validation accuracy, on digits over both projections. transfer.py
has other seeds. Two fifths of a folder's training images are for validation, more than the tenth of
all images that `CLASS/*` has for it; its test images are not read.
"""

from ml_collections import ConfigDict

from configs import transfer
from mnv2_jax.ablation.grid import Grid, axis, chain, product
from mnv2_jax.analysis.claims import Claim, greater

_FINETUNING = axis("transfer.phase", ("finetuning",))
_SEEDS = axis("seed", range(100, 103))
_ADAMW = {"optimizer": "adamw", "nesterov": False, "b2": 0.999, "epsilon": 1e-8}


def get_config(argument: str = "digits") -> ConfigDict:
    """Return the run whose training config is chosen; its test images are left unread.

    Args:
      argument: "digits", "digits,clip", "folder,DIR/" or "folder,DIR/,adamw", with the path of a
        folder of images.
    """
    base, variant = _parse(argument)
    config = transfer.get_config(base)
    config.evaluate_test = False
    if _of_folder(base):
        config.data.update({"train": "train[:60%]", "validation": "train[60%:]"})
    # A variant is tried in fine-tuning; the phases before it keep the usual recipe.
    if variant == "clip":
        config.pretraining.train.clip = config.extraction.train.clip = 0.0
    elif variant == "adamw":
        config.extraction.train.update({field: config.train[field] for field in _ADAMW})
        config.train.update({**_ADAMW, "clip": 0.0})
    return config


def get_grid(argument: str = "digits") -> Grid:
    """Return a grid for each phase, with earlier phases as chosen; variants only fine-tune."""
    base, variant = _parse(argument)
    if variant == "adamw":
        return product(_FINETUNING, axis("train.learning_rate", (3e-4, 1e-4, 3e-5)), _SEEDS)
    if _of_folder(base):
        rates = axis("train.learning_rate", (5e-3, 2e-3, 1e-3, 3e-4, 1e-4))
        return product(_FINETUNING, axis("train.clip", (0.0, 1.0, 10.0)), rates, _SEEDS)
    projections = axis("model.projection", ("linear", "relu6"))
    if variant == "clip":
        rates = axis("train.learning_rate", (0.01, 0.002))
        return product(_FINETUNING, axis("train.clip", (0.0, 10.0)), rates, projections, _SEEDS)
    pretraining = product(
        axis("transfer.phase", ("extraction",)),
        axis("pretraining.train.epochs", (15, 30, 60)),
        axis("pretraining.train.weight_decay", (3e-4, 2e-3, 2e-2)),
    )
    extraction = product(
        axis("transfer.phase", ("extraction",)),
        axis("extraction.train.learning_rate", (0.03, 0.3, 1.0)),
    )
    finetuning = product(
        _FINETUNING,
        axis("transfer.first", ("last_3", "last_6", "stem")),
        axis("train.weight_decay", (1e-3, 2e-2)),
        axis("train.learning_rate", (0.003, 0.01, 0.03, 0.1)),
    )
    scratch = product(
        axis("transfer.phase", ("scratch",)),
        axis("scratch.train.weight_decay", (1e-3, 2e-2)),
        axis("scratch.train.learning_rate", (0.03, 0.1, 0.3)),
    )
    recipes = chain(pretraining, extraction, finetuning, scratch)
    return product(recipes, projections, _SEEDS)


def get_claims(argument: str = "digits") -> list[Claim]:
    """Return a claim about validation accuracy. It was written after smaller trials."""
    base, variant = _parse(argument)
    if variant or _of_folder(base):
        return []
    return [
        greater(
            name="small_steps",
            source="choice of recipe",
            statement="With BatchNorm in inference mode a learning rate of 0.01 beats one of 0.1",
            axis="train.learning_rate",
            better=0.01,
            worse=0.1,
            where={"transfer.phase": "finetuning"},
            metric="validation_accuracy",
        ),
    ]


def _parse(argument: str) -> tuple[str, str]:
    """Return the argument of transfer.py, and the variant or ""."""
    base, _, variant = argument.rpartition(",")
    if (base, variant) == ("digits", "clip") or (_of_folder(base) and variant == "adamw"):
        return base, variant
    return argument, ""


def _of_folder(argument: str) -> bool:
    return argument.startswith("folder,")
