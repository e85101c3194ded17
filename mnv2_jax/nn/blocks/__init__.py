"""The blocks a network is made of. A new variant is one module here and one line in `BLOCKS`."""

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
    """Return the class of a block by its name in `BLOCKS`, or from a file of one's own.

    Args:
      block: a name, or `FILE.py:CLASS`, the file seen from the current folder.

    Raises:
      ValueError: there is no such block, or the file does not define one.
    """
    return user_code.find(
        field="block",
        value=block,
        registry=BLOCKS,
        is_one=lambda found: (
            isinstance(found, type) and issubclass(found, Block) and found is not Block
        ),
        expected="a subclass of mnv2_jax.nn.blocks.base.Block",
        example="CLASS",
    )
