"""The blocks a network is made of. A new variant is one module here and one line in `BLOCKS`."""

import functools
import importlib.util
import sys
from pathlib import Path

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


def block_class(kind: str) -> type[Block]:
    """The class of a block by its name in `BLOCKS`, or from a file of one's own.

    Args:
      kind: a name, or `FILE.py:CLASS`, the file seen from the current folder.

    Raises:
      ValueError: there is no such block, or the file does not define one.
    """
    path, colon, name = kind.rpartition(":")
    if colon:
        return _from_file(Path(path).resolve(), name, kind)
    if kind not in BLOCKS:
        raise ValueError(f"block={kind!r}: expected FILE.py:CLASS or one of {', '.join(BLOCKS)}")
    return BLOCKS[kind]


@functools.cache
def _from_file(path: Path, name: str, kind: str) -> type[Block]:
    """Imports the class once, so that it stays the same class however often it is asked for."""
    spec = importlib.util.spec_from_file_location(f"block file {path}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"block={kind!r}: no such Python file; expected FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, which Flax modules are, look up their annotations there.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"block={kind!r}: the file cannot be imported ({reason})") from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Block)):
        expected = "expected a subclass of mnv2_jax.nn.blocks.base.Block"
        raise ValueError(f"block={kind!r}: the file has no block of that name; {expected}")
    return found
