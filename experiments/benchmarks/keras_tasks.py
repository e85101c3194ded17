"""What Keras is asked to do, in a process of its own; see `experiments.benchmarks.workers`."""

from collections.abc import Callable

import keras
import numpy as np

from experiments.benchmarks.settings import Sgd


def training(resolution: int, batch: int, steps: int, sgd: Sgd) -> Callable[[], None]:
    """Steps of training of `keras.applications.MobileNetV2` on random images in memory.

    Args:
      resolution: of the images, in pixels.
      batch: images per step.
      steps: per call.
      sgd: the optimizer.
    """
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        (resolution, resolution, 3), weights=None, classifier_activation=None
    )
    model.compile(
        keras.optimizers.SGD(sgd.learning_rate, sgd.momentum, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (batch, resolution, resolution, 3)).astype(np.float32)
    labels = generator.integers(0, 1000, batch, np.int32)

    def run() -> None:
        for _ in range(steps):
            model.train_on_batch(images, labels)

    run()  # Compiles it.
    return run
