"""Every test sees two CPU devices, as a laptop with two cores would show them."""

from collections.abc import Iterator

import jax

jax.config.update("jax_num_cpu_devices", 2)

import hypothesis
import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.data.sources import Dataset, Split

# Compilation and a busy machine make single examples slow without anything being wrong.
hypothesis.settings.register_profile(
    "project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny() -> Iterator[str]:
    """A preset that compiles in seconds: one block of each stride."""

    def stages(t: float) -> tuple[presets.Stage, ...]:
        return (presets.Stage(t, 4, 2, 1), presets.Stage(t, 6, 1, 2))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            presets.PRESETS,
            "tiny",
            presets.Preset(8, 1, 4, 2, stages, 8, 10, arch.BlockSpec(divisor=1)),
        )
        yield "tiny"


@pytest.fixture(scope="session")
def dots() -> Dataset:
    """Images that can be learned: the class is where the bright patch lies."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = (np.arange(count) % 10).astype(np.int32)
        images = generator.integers(0, 60, (count, 8, 8, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += 180
        return Split(images, labels)

    return Dataset("dots", 10, split(64), split(30), split(50))
