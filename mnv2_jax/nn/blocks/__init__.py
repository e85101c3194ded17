"""The blocks a network is made of. A new variant is one module here and one line in `BLOCKS`."""

import functools
import importlib.util
import inspect
import sys
import traceback
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


def fault(error: Exception, block: type[Block]) -> str:
    """An error out of a block in one line, with the line of the block's file that it came from."""
    text = " ".join(str(error).split()) or "no message"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == inspect.getfile(block)
    ]
    place = f" ({Path(inspect.getfile(block)).name}, line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{place}"


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
    blocks = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Block) and value is not Block
    }
    if name not in blocks:
        expected = ", ".join(blocks) or "a subclass of mnv2_jax.nn.blocks.base.Block"
        raise ValueError(f"block={kind!r}: the file has no block {name}; expected {expected}")
    return blocks[name]
