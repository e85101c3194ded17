"""Checking a block from the command line."""

import pytest

from tests import commands

pytestmark = pytest.mark.slow

FAULTY = """
import flax.linen as nn
from mnv2_jax.nn.blocks.base import Block

class Faulty(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        return nn.Conv(self.spec.out_channels, (3, 3))(x), carry

class Broken(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        return mystery, carry
"""


def check_block(*blocks):
    return commands.run_side_by_side([("check_block", block) for block in blocks])


def test_a_sound_block_and_an_unknown_one():
    (status, out, err), unknown = check_block("standard", "lego")
    assert (status, err) == (0, "")
    assert out.splitlines()[-2:] == [
        "Knobs it reads: kernel_size, shortcut_weight, shortcut, activation",
        "Knobs without effect on it: expansion, projection, projection_placement, spatial_conv, "
        "squeeze_excite, projection_slope, projection_bias",
    ]
    assert unknown[:2] == (2, "")
    message = "block='lego': expected FILE.py:CLASS or one of inverted_residual"
    assert unknown[2].startswith(f"python -m experiments.check_block: {message}")
    assert len(unknown[2].splitlines()) == 1


def test_every_fault_is_printed(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FAULTY)
    faulty, broken = check_block(f"{path}:Faulty", f"{path}:Broken")
    assert (faulty[0], faulty[2]) == (broken[0], broken[2]) == (1, "")
    out = faulty[1]
    assert "shapes      FAILED: stride 2, 8x8 pixels: the output has shape (4, 8, 8, 6)" in out
    assert "bfloat16    FAILED: inference: bfloat16 in gave float32 out" in out
    assert "names       FAILED: params/Conv_0/bias is named by Flax" in out
    assert out.splitlines()[-1] == "3 of 9 checks failed"
    assert "shapes      FAILED: NameError: name 'mystery' is not defined" in broken[1]
