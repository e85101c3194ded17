"""Linear against ReLU6 projections, shortcuts on and off, expansions 1 to 10, on real digits.

Command:  python -m experiments.ablate --config=configs/digits.py
          python -m experiments.ablate --config=configs/digits.py:QUESTION
Hardware: two CPU cores
Time:     90 to 170 s, compilation included
Expect:   linear projections ahead by 1.3 points of top-1, shortcuts by 4.7; see docs/results/

QUESTION is one of configs/questions.py, with 8 seeds. The longest is factorial: its 480 runs took
28 minutes on two busy cores.

Source: Sandler et al. 2018, arXiv 1801.04381, sections 3.2, 3.3 and 6.4, Figure 6.
"""

from ml_collections import ConfigDict

from configs import questions
from configs.design import Design, Question
from mnv2_jax.ablation.grid import Grid, auto, axis, product
from mnv2_jax.analysis.claims import Claim, equivalent


def get_config(question: str = "") -> ConfigDict:
    """Return one run; fields that a grid varies have the paper's value. All questions share it."""
    config = ConfigDict()
    config.seed = 0
    config.metrics = "accuracy,loss"
    config.evaluate_test = True

    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.train = "train"
    config.data.validation = "validation"
    config.data.test = "test"
    config.data.split = "fixed"
    config.data.resolution = 8
    config.data.channels = 0
    config.data.crop_fraction = 1.0
    config.data.scaling = "symmetric"
    config.data.mode = "auto"
    config.data.order = "own"

    # None: in so few epochs, shifting by a single pixel costs accuracy; flips change digits.
    config.augment = ConfigDict()
    config.augment.crop_area = 0.0
    config.augment.shift = 0
    config.augment.flip = False
    config.augment.rotation = 0.0
    config.augment.brightness = 0.0
    config.augment.contrast = 0.0
    config.augment.saturation = 0.0
    config.augment.hue = 0.0
    config.augment.cutout = 0
    config.augment.mixup = 0.0
    config.augment.randaugment_layers = 0
    config.augment.randaugment_magnitude = 0

    config.model = ConfigDict()
    config.model.preset = "digits"
    config.model.block = "inverted_residual"
    config.model.expansion = 6.0
    config.model.width = 1.0
    config.model.depth = 1.0
    config.model.kernel_size = 3
    config.model.projection = "linear"
    config.model.projection_placement = "before"
    config.model.projection_slope = 0.0
    config.model.projection_blocks = "all"
    config.model.projection_bias = 0.0
    config.model.shortcut = "bottleneck"
    config.model.shortcut_weight = 1.0
    config.model.shortcut_blocks = "all"
    config.model.activation = "relu6"
    config.model.spatial_conv = "depthwise"
    config.model.squeeze_excite = False
    config.model.conventions = "default"

    # Chosen by validation accuracy: configs/digits_recipe.py.
    config.train = ConfigDict()
    config.train.epochs = 15
    config.train.batch_size = 64
    config.train.evaluation_batch_size = 256
    config.train.grad_accum_steps = 1
    config.train.compute_dtype = "float32"
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.1
    config.train.momentum = 0.9
    config.train.nesterov = True
    config.train.b2 = 0.0
    config.train.epsilon = 0.0
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.0
    config.train.decay_rate = 0.0
    config.train.decay_epochs = 0.0
    config.train.weight_decay = 0.02
    config.train.weight_decay_mask = "kernels"
    config.train.label_smoothing = 0.0
    config.train.clip = 0.0
    config.train.ema = 0.0

    config.parallel = "auto"
    return config


def get_grid(question: str = "") -> Grid:
    """Return the question's grid, or expansion x projection x shortcut x seed, 144 runs or more."""
    if question:
        return _question(question).grid
    return product(
        axis("model.expansion", (1, 2, 4, 6, 8, 10)),
        axis("model.projection", ("linear", "relu6")),
        axis("model.shortcut", ("bottleneck", "none")),
        axis("seed", auto(minimum=6, step=2, budget=12)),
    )


def get_claims(question: str = "") -> list[Claim]:
    """Return the question's claims, or the paper's. They were written before the runs."""
    if question:
        return _question(question).claims
    return [
        questions.LINEAR,
        questions.SHORTCUT,
        equivalent(
            name="expansion",
            source="section 4",
            statement="Expansions 6 to 10 are nearly identical, to within 1 point",
            axis="model.expansion",
            values=(6, 8, 10),
            # The curves in Figure 6 lie 0.5 to 1.5 points apart.
            margin=0.01,
            where={"model.projection": "linear", "model.shortcut": "bottleneck"},
        ),
    ]


def _question(question: str) -> Question:
    return questions.ask(question, Design(get_config(), seeds=8))
