"""The blocks of networks. A new block is a module here and its line in `BLOCKS`."""

from mnv2_jax import user_code
from mnv2_jax.nn.blocks.base import Block
from mnv2_jax.nn.blocks.bottleneck import Bottleneck
from mnv2_jax.nn.blocks.fused import Fused
from mnv2_jax.nn.blocks.inverted_residual import InvertedResidual
from mnv2_jax.nn.blocks.sandglass import Sandglass
from mnv2_jax.nn.blocks.separable import Separable
from mnv2_jax.nn.blocks.standard import Standard

BLOCKS: dict[str, type[Block]] = {
    "inverted_residual": InvertedResidual,
    "separable": Separable,
    "standard": Standard,
    "bottleneck": Bottleneck,
    "sandglass": Sandglass,
    "fused": Fused,
}


def block_class(block: str) -> type[Block]:
    """Return the class of a block.

    Args:
      block: a name in `BLOCKS`, or `FILE.py:CLASS`, the path relative to the current folder.

    Raises:
      ValueError: the block does not exist, or the file does not define one.
    """
    return user_code.find(
        field="block",
        value=block,
        registry=BLOCKS,
        is_one=lambda value: (
            isinstance(value, type) and issubclass(value, Block) and value is not Block
        ),
        expected="a subclass of mnv2_jax.nn.blocks.base.Block",
        example="CLASS",
    )
