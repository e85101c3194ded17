"""How the recipes of transfer.py's phases were chosen, on digits.

Command:  python -m experiments.finetune --config=configs/transfer_recipe.py
Hardware: two CPU cores
Time:     183 s for 288 of its 306 runs on two busy cores, compilation included
Expect:   84.2 % mean validation accuracy after fine-tuning the last six blocks at learning rate
          0.01 and weight decay 0.02, 92.0 % from scratch at 0.1 and 0.02; at a learning rate of
          0.1, networks in inference mode are left at chance

A recipe is judged by the mean validation accuracy over both projections; seeds are others than
those of transfer.py.
"""

from ml_collections import ConfigDict

from configs import transfer
from mnv2_jax.ablation.grid import Grid, axis, chain, product
from mnv2_jax.analysis.claims import Claim, greater


def get_config() -> ConfigDict:
    """The run that is to be trained well."""
    return transfer.get_config("digits")


def get_grid() -> Grid:
    """Phase by phase, what the phase before was chosen to be held fixed."""
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
        axis("transfer.phase", ("finetuning",)),
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
    return product(
        recipes, axis("model.projection", ("linear", "relu6")), axis("seed", range(100, 103))
    )


def get_claims() -> list[Claim]:
    """What smaller trials on the validation split had shown, written down after them."""
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
