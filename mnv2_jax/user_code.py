"""Objects that a config names: entries of a registry, or objects in files of the user's own."""

import functools
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


def find(
    field: str,
    value: str,
    registry: Mapping[str, T],
    is_one: Callable[[Any], bool],
    expected: str,
    example: str = "NAME",
) -> T:
    """Return the entry of a registry, or the object that `FILE.py:NAME` names.

    Args:
      field: the beginning of errors, such as "block".
      value: a key of `registry`, or `FILE.py:NAME`, relative to the current folder.
      registry: objects by name.
      is_one: whether an object of the file is of the kind.
      expected: the kind in words, such as "a subclass of mnv2_jax.nn.blocks.base.Block".
      example: placeholder of the name in messages, such as "CLASS".

    Raises:
      ValueError: there is no such entry, file or object; one line that begins with `field`.
    """
    path, colon, name = value.rpartition(":")
    if not colon:
        if value in registry:
            return registry[value]
        known = ", ".join(registry)
        raise ValueError(f"{field}={value!r}: expected FILE.py:{example} or one of {known}")
    if not (Path(path).is_file() and path.endswith(".py")):
        raise ValueError(f"{field}={value!r}: no such Python file; expected FILE.py:{example}")
    try:
        module = _imported(Path(path).resolve())
    except Exception as error:  # A file of the user's own may raise anything.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{field}={value!r}: the file cannot be imported ({reason})") from error
    item = getattr(module, name, None)
    if item is None or not is_one(item):
        public = {key: other for key, other in vars(module).items() if key[0] != "_"}
        names = ", ".join(key for key, other in public.items() if is_one(other))
        if item is None:
            raise ValueError(
                f"{field}={value!r}: the file has no such {name}; expected {names or expected}"
            )
        instead = f"; expected {names}" if names else ""
        raise ValueError(f"{field}={value!r}: the file's {name} is not {expected}{instead}")
    return item  # type: ignore[no-any-return]


def digest(value: str) -> str:
    """Return a hash of the file in `FILE.py:NAME`; "" for a registered name or a lost file."""
    path, colon, _ = value.rpartition(":")
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if colon else ""
    except OSError:
        return ""


def fault(error: Exception, source: Any) -> str:
    """Return an error in one line, with the line of the file of `source` that it came from."""
    text = " ".join(str(error).split()) or "no message"
    try:
        file = inspect.getfile(source)
    except TypeError:  # A builtin, or no class or function.
        return f"{type(error).__name__}: {text}"
    trace = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in trace if frame.filename == file]
    place = f" ({Path(file).name}, line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{place}"


@functools.cache
def _imported(path: Path) -> ModuleType:
    """Import a file once, so that its classes stay the same objects."""
    spec = importlib.util.spec_from_file_location(f"user file {path}", path)
    assert spec is not None  # The file ends in .py.
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, such as Flax modules, look up their annotations in sys.modules.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
