"""The question of low precision: whether ReLU6 loses less than ReLU, asked of finished runs.

Sandler et al. 2018 (arXiv 1801.04381, section 3) use ReLU6 "because of its robustness when used
with low-precision computation". Krishnamoorthi 2018 (arXiv 1806.08342, section 5) advises not to
constrain the ranges of activations. Both are claims on the drop of test accuracy that the
evaluator `precision` measures:

  python -m experiments.ablate --config=configs/digits.py:precision
  python -m experiments.evaluate --workdir=runs/digits_precision --evaluator=precision
  python -m experiments.report --workdir=runs/digits_precision
"""

from configs.design import Design, Question
from mnv2_jax.ablation.grid import axis, product, zipped
from mnv2_jax.analysis.claims import Claim, equivalent, greater

LONGER = 3
"""Epochs of the training made for wide ranges, as a multiple of the usual ones."""

_SANDLER = "section 3, ReLU6 for low precision"
_KRISHNAMOORTHI = "Krishnamoorthi 2018, arXiv 1806.08342, section 5"


def precision(design: Design) -> Question:
    """Ask whether ReLU6 or ReLU loses less at 8 and at 4 bits, kernels quantised per tensor.

    A second training config is made for wide ranges: depthwise kernels do not decay, and it takes
    three times as long.
    """
    epochs = design.config.train.epochs
    training = zipped(
        axis("train.weight_decay_mask", ("kernels", "not_depthwise")),
        axis("train.epochs", (epochs, LONGER * epochs)),
    )
    grid = product(
        axis("model.expansion", (2, 6)),
        axis("model.activation", ("relu6", "relu")),
        training,
        design.seed_axis,
    )
    claims: list[Claim] = []
    for bits in (8, 4):
        claims += [
            greater(
                name=f"relu6_loses_less_{bits}_bits",
                source=_SANDLER,
                statement=f"At {bits} bits per tensor ReLU6 loses less accuracy than ReLU",
                axis="model.activation",
                better="relu6",
                worse="relu",
                metric=_drop(bits),
            ),
            equivalent(
                name=f"relu_loses_no_more_{bits}_bits",
                source=_KRISHNAMOORTHI,
                statement=f"At {bits} bits per tensor ReLU and ReLU6 lose the same accuracy, to "
                "within 1 point",
                axis="model.activation",
                values=("relu6", "relu"),
                margin=0.01,
                metric=_drop(bits),
            ),
        ]
    wide = greater(
        name="wide_ranges_lose_more",
        source="this workbench, ranges as the cause",
        statement="At 4 bits per tensor, training made for wide ranges loses more accuracy",
        axis="train.weight_decay_mask",
        better="kernels",
        worse="not_depthwise",
        covarying=("train.epochs",),
        metric=_drop(4),
    )
    return Question(grid, [*claims, wide])


def _drop(bits: int) -> str:
    """Return the column of the drop with kernels per tensor and activations in so many bits."""
    return f"test_precision/w{bits}a{bits}_tensor_drop"
