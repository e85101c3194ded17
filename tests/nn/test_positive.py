"""Positive fractions of a network whose expansion is computed by hand."""

import dataclasses

import numpy as np
import pytest

from mnv2_jax import arch, presets
from mnv2_jax.nn import network
from mnv2_jax.nn.positive import positive_fractions

EPSILON = 1e-3


@pytest.fixture(scope="module")
def by_hand():
    """A network of one block, whose stem copies a grey image and whose expansion is chosen."""
    spec = arch.NetworkSpec(
        resolution=3,
        in_channels=1,
        stem_channels=1,
        stem_stride=1,
        blocks=(arch.BlockSpec(expansion=4, out_channels=1, divisor=1),),
        head_channels=0,
        classes=2,
    )
    variables = network.initialise(spec)
    params = variables["params"]
    stem = np.zeros_like(params["stem"]["kernel"])
    stem[1, 1] = 1
    params["stem"]["kernel"] = stem
    params["block_01"]["expand"]["kernel"] = np.array([[1, -1, 2, -2]], np.float32)
    params["block_01"]["expand_norm"]["bias"] = np.array([-0.5, 0.5, -2, 3], np.float32)
    return spec, variables


def test_running_moments_by_hand(by_hand):
    image = np.array([[0.25, 0.75, 1.25], [2, -1, 0.75], [0.25, 0.25, 1.25]], np.float32)
    spec, variables = by_hand
    found = positive_fractions(spec, variables, image[None, :, :, None])
    assert [*found] == ["block_01"]
    # Pixels through ReLU6: p - 0.5, 0.5 - p, 2p - 2 and 3 - 2p, which of them are above 0.
    expected = {0.25: 2 / 4, 0.75: 2 / 4, 1.25: 3 / 4, 2: 2 / 4, -1: 2 / 4}
    by_pixel = [[expected[pixel] for pixel in row] for row in image.tolist()]
    np.testing.assert_array_equal(found["block_01"], [by_pixel])


def test_batch_moments_by_hand(by_hand):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 4, (2, 3, 3, 1)).astype(np.float32)
    spec, variables = by_hand
    found = positive_fractions(spec, variables, images, batch_moments=True)["block_01"]

    def normalised(values):
        axes = (0, 1, 2)
        return (values - values.mean(axes)) / np.sqrt(values.var(axes) + EPSILON)

    stem = np.clip(normalised(images.astype(float)), 0, 6)
    expanded = normalised(stem * np.array([1, -1, 2, -2])) + np.array([-0.5, 0.5, -2, 3])
    np.testing.assert_array_equal(found, (expanded > 0).mean(-1).astype(np.float32))


def test_blocks_in_order_and_without_an_expansion(tiny):
    spec = presets.build(tiny)
    variables = network.initialise(spec)
    images = np.zeros((1, *spec.input_shape), np.float32)
    expanding = [
        name
        for name, block in zip(spec.parts[1:], spec.blocks, strict=False)
        if block.expansion != 1
    ]
    assert [*positive_fractions(spec, variables, images)] == expanding
    blocks = tuple(dataclasses.replace(block, expansion=1) for block in spec.blocks)
    plain = dataclasses.replace(spec, blocks=blocks)
    with pytest.raises(ValueError, match="no block has an expansion"):
        positive_fractions(plain, network.initialise(plain), images)
