"""Networks and trainers that several modules share: each takes seconds to compile."""

from collections.abc import Iterator

import pytest

from mnv2_jax import arch, presets
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.parallel import Lanes
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram


@pytest.fixture(scope="session")
def spec(tiny: str) -> arch.NetworkSpec:
    """The network of three blocks."""
    return presets.build(tiny, expansion=2)


@pytest.fixture(scope="session")
def one_block() -> Iterator[arch.NetworkSpec]:
    """A network of one block, with a shortcut."""
    preset = presets.Preset(
        *(8, 1, 4, 2), lambda t: (presets.Stage(t, 4, 1, 1),), *(8, 10, arch.BlockSpec(divisor=1))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "one_block", preset)
        yield presets.build("one_block", expansion=2)


@pytest.fixture(scope="session")
def trainer(spec: arch.NetworkSpec, dots: Dataset) -> Trainer:
    """Trains two lanes for three epochs of four steps, on images that lie on the devices."""
    return Trainer(LaneProgram(spec, Recipe(3, 16, 20), 4), dots, Lanes(2))
