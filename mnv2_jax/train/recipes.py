"""Published training recipes for ImageNet, as values of `config.train`.

Each has the batch size that its learning rate is for, and epochs where its source states them.
Augmentation is not included.
"""

from typing import Any

_EVERY_FIELD = {
    "grad_accum_steps": 1,
    "compute_dtype": "float32",
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "b2": 0.0,
    "epsilon": 0.0,
    "schedule": "cosine",
    "warmup_epochs": 0.0,
    "decay_rate": 0.0,
    "decay_epochs": 0.0,
    "weight_decay_mask": "kernels",
    "clip": 0.0,
    "ema": 0.0,
    "label_smoothing": 0.0,
}

_RMSPROP: dict[str, Any] = {
    "optimizer": "rmsprop",
    "momentum": 0.9,
    "b2": 0.9,
    "schedule": "exponential",
    "decay_rate": 0.98,
    "learning_rate": 0.045,
    "weight_decay": 4e-5,
    "batch_size": 96,
}

RECIPES: dict[str, dict[str, Any]] = {
    # Sandler et al. 2018, section 6.1, with the batch size of one of its 16 asynchronous workers.
    # The paper states no epsilon: TensorFlow's default.
    "paper": {**_EVERY_FIELD, **_RMSPROP, "decay_epochs": 1.0, "epsilon": 1e-10},
    # The authors' code (slim, train_image_classifier.py and mobilenet.py's README), which differs.
    "slim": {
        **_EVERY_FIELD,
        **_RMSPROP,
        "decay_epochs": 2.5,
        "epsilon": 1.0,
        "weight_decay_mask": "not_depthwise",
        "label_smoothing": 0.1,
        "ema": 0.9999,
    },
    # torchvision's MobileNet_V2_Weights.IMAGENET1K_V1: 8 times 32 images.
    "torchvision_v1": {
        **_EVERY_FIELD,
        "schedule": "exponential",
        "decay_rate": 0.98,
        "decay_epochs": 1.0,
        "weight_decay_mask": "all",
        "learning_rate": 0.045,
        "weight_decay": 4e-5,
        "batch_size": 256,
        "epochs": 300,
    },
    # IMAGENET1K_V2: 8 times 128 images. There the learning rate rises epoch by epoch, and the
    # average moves every 32 steps: this `ema` is the same decay per step.
    "torchvision_v2": {
        **_EVERY_FIELD,
        "warmup_epochs": 5.0,
        "weight_decay_mask": "not_norm",
        "learning_rate": 0.5,
        "weight_decay": 2e-5,
        "label_smoothing": 0.1,
        "ema": 0.999966,
        "batch_size": 1024,
        "epochs": 600,
    },
    # The common one since He et al. 2019, arXiv 1812.01187, sections 3.1 and 5.1.
    "sgd_cosine": {
        **_EVERY_FIELD,
        "nesterov": True,
        "warmup_epochs": 5.0,
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "batch_size": 256,
        "epochs": 120,
    },
    # Loshchilov and Hutter 2019, arXiv 1711.05101, with the values usual for vision since.
    "adamw": {
        **_EVERY_FIELD,
        "optimizer": "adamw",
        "b2": 0.999,
        "epsilon": 1e-8,
        "warmup_epochs": 5.0,
        "clip": 1.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "batch_size": 1024,
        "epochs": 300,
    },
}
"""The recipes by name, for `config.train.update(RECIPES["slim"])`."""
