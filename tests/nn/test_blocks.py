import jax
import jax.numpy as jnp
import pytest

from mnv2_jax import arch
from mnv2_jax.nn import conformance
from mnv2_jax.nn.blocks import BLOCKS, block_class
from mnv2_jax.nn.blocks.base import Carry
from mnv2_jax.nn.conformance import CHECKS
from mnv2_jax.nn.cost import module_cost

# Input [1, side, side, channels], the block, and its trainable parameters and multiply-adds, by
# hand: kernels, then two numbers of BatchNorm per channel of every normalised tensor.
GOLDEN = {
    # MobileNetV2 at 28 pixels, third block of 32 channels (Table 1: h w d' t (d' + k^2 + d'')).
    "inverted_residual": (
        (28, 32, arch.BlockSpec(out_channels=32, expansion=6)),
        32 * 192 + 9 * 192 + 192 * 32 + 2 * (192 + 192 + 32),
        28 * 28 * 32 * 6 * (32 + 9 + 32),
    ),
    # MobileNetV1, first block of stride 2 (its Table 1).
    "separable": (
        (112, 64, arch.BlockSpec(out_channels=128, stride=2)),
        9 * 64 + 64 * 128 + 2 * (64 + 128),
        56 * 56 * (9 * 64 + 64 * 128),
    ),
    # The same as a full convolution.
    "standard": (
        (112, 64, arch.BlockSpec(out_channels=128, stride=2)),
        9 * 64 * 128 + 2 * 128,
        56 * 56 * 9 * 64 * 128,
    ),
    # ResNet-50, a block of its first stage: 256, 64, 64, 256.
    "bottleneck": (
        (56, 256, arch.BlockSpec(out_channels=256, expansion=4)),
        256 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256),
        56 * 56 * (256 * 64 + 9 * 64 * 64 + 64 * 256),
    ),
    # MobileNeXt at 14 pixels: 384, 64, 384.
    "sandglass": (
        (14, 384, arch.BlockSpec(out_channels=384, expansion=6)),
        9 * 384 + 384 * 64 + 64 * 384 + 9 * 384 + 2 * (384 + 64 + 384 + 384),
        14 * 14 * (9 * 384 + 384 * 64 + 64 * 384 + 9 * 384),
    ),
    # EfficientNetV2-S, a block of its third stage: 48, 192, 48.
    "fused": (
        (48, 48, arch.BlockSpec(out_channels=48, expansion=4)),
        9 * 48 * 192 + 192 * 48 + 2 * (192 + 48),
        48 * 48 * (9 * 48 * 192 + 192 * 48),
    ),
}


def cost_of(block, side, channels, spec):
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return module_cost(block_class(block)(spec), x, Carry(), train=False)


def test_every_block_has_a_golden_cost():
    assert set(GOLDEN) == set(BLOCKS), "give a new block its row in GOLDEN, from its paper"


@pytest.mark.parametrize("block", GOLDEN)
def test_a_block_has_the_cost_of_its_paper(block):
    case, params, madds = GOLDEN[block]
    cost = cost_of(block, *case)
    assert (cost.params, cost.madds) == (params, madds)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_cites_its_paper(block):
    assert "arXiv" in (BLOCKS[block].__doc__ or "")


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("check", CHECKS)  # In turn for each block: checks share programs.
def test_conformance(block, check):
    assert CHECKS[check](BLOCKS[block]) is None


PROJECTION = {"expansion", "projection", "projection_slope", "projection_bias"}
# The knobs that each block reads, besides shortcut and its weight, kernel size and activation.
READS = {
    "inverted_residual": {*PROJECTION, "projection_placement", "spatial_conv"},
    "fused": {*PROJECTION, "projection_placement"},
    "bottleneck": {*PROJECTION, "projection_placement"},
    "sandglass": PROJECTION,
    "separable": set(),
    "standard": set(),
}


@pytest.mark.parametrize("block", READS)
def test_knobs_read(block):
    gated = set() if block == "standard" else {"squeeze_excite"}
    common = {"shortcut", "shortcut_weight", "kernel_size", "activation"}
    assert set(conformance.knobs_read(block)) == READS[block] | common | gated


def test_squeeze_excite_costs_two_dense_layers_of_a_quarter():
    spec = arch.BlockSpec(out_channels=16, expansion=6, squeeze_excite=True)
    bare = arch.BlockSpec(out_channels=16, expansion=6)
    with_gate, without = (cost_of("inverted_residual", 8, 16, each) for each in (spec, bare))
    assert with_gate.params - without.params == 96 * 24 + 24 + 24 * 96 + 96
    assert with_gate.madds - without.madds == 2 * 96 * 24


def test_a_standard_spatial_conv_is_a_full_convolution_of_the_expanded_channels():
    cost = cost_of("inverted_residual", 8, 4, arch.BlockSpec(spatial_conv="standard", expansion=2))
    kernels = {layer.path: layer.kernel for layer in cost.layers}
    assert kernels["standard"] == (3, 3, 8, 8)


def test_an_expansion_below_one_narrows_first():
    cost = cost_of("inverted_residual", 8, 64, arch.BlockSpec(out_channels=64, expansion=0.25))
    assert [layer.output[-1] for layer in cost.layers if layer.kernel] == [16, 16, 64]


OWN = """
from __future__ import annotations
import flax.linen as nn
from mnv2_jax.nn.blocks.base import Block

class Narrow(Block):
    ratio: float = 0.5

    @nn.compact
    def __call__(self, x, carry, *, train):
        return self.pointwise(x, self.spec.out_channels, "only", train), carry

class Stranger(nn.Module):
    pass
"""


def test_a_block_from_a_file_is_one_class(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    block = block_class(f"{path}:Narrow")
    assert block.__name__ == "Narrow"
    assert block_class(f"{path}:Narrow") is block


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "own.py:Narrow", "no such Python file; expected FILE.py:CLASS"),
        (OWN, "own.txt:Narrow", "no such Python file; expected FILE.py:CLASS"),
        (OWN, "own.py:Wide", "the file has no such Wide; expected Narrow"),
        (OWN, "own.py:Stranger", "the file's Stranger is not a subclass of mnv2_jax"),
        ("import nowhere", "own.py:Narrow", "cannot be imported .ModuleNotFoundError: No module"),
        ("def (:", "own.py:Narrow", "cannot be imported .SyntaxError: "),
    ],
)
def test_a_wrong_file_raises_one_line(tmp_path, text, name, message):
    if text is not None:
        (tmp_path / name.partition(":")[0]).write_text(text)
    with pytest.raises(ValueError, match=f"block=.*{name}': .*{message}"):
        block_class(f"{tmp_path / name}")
