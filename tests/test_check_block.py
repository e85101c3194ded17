"""The check of a block from the command line."""

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


def check_block(*arguments):
    return commands.run("check_block", *arguments)


def test_a_sound_block():
    status, out, err = check_block("standard")
    assert (status, err) == (0, "")
    assert out.splitlines()[-2:] == [
        "Knobs it reads: kernel_size, shortcut, activation",
        "Knobs without effect on it: expansion, projection, projection_placement, spatial_conv, "
        "squeeze_excite",
    ]


def test_faults_are_told_a_line_each(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FAULTY)
    status, out, err = check_block(f"{path}:Faulty")
    assert (status, err) == (1, "")
    assert "shapes     FAILED: stride 2, 8x8 pixels: the output has shape (4, 8, 8, 6)" in out
    assert "bfloat16   FAILED: inference: bfloat16 in gave float32 out" in out
    assert "names      FAILED: params/Conv_0/bias is named by Flax" in out
    assert out.splitlines()[-1] == "3 of 9 checks failed"
    status, out, err = check_block(f"{path}:Broken")
    assert (status, err) == (1, "")
    assert "shapes     FAILED: NameError: name 'mystery' is not defined" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lego"], "block='lego': expected FILE.py:CLASS or one of inverted_residual"),
        (["none.py:Lego"], "block='none.py:Lego': no such Python file; expected FILE.py:CLASS"),
        ([], "NAME: it is missing; expected one, see --help"),
        (["standard", "fused"], "fused: unknown argument; flags begin with --"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(arguments, message):
    status, out, err = check_block(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.check_block: {message}")
    assert len(err.splitlines()) == 1
