"""Config files: their functions are called here; an error in one becomes a line that names it."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

_CHECKOUT = Path(__file__).resolve().parents[1]
_OURS = tuple(_CHECKOUT / name for name in ("mnv2_jax", "experiments", "configs"))


def load(path: Path) -> ModuleType:
    """Import a config file.

    Raises:
      ValueError: there is no such file, or importing it raises an error.
    """
    if not path.is_file():
        raise ValueError(f"config={path}: no such file; expected one like configs/digits.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"config={path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    if str(_CHECKOUT) not in sys.path:  # Config files elsewhere import configs.digits.
        sys.path.append(str(_CHECKOUT))
    with _errors_named(path, "it"):
        spec.loader.exec_module(module)
    return module


def call(
    path: Path,
    function: str,
    arguments: tuple[str, ...],
    expected: str,
    is_right: Callable[[Any], bool],
) -> Any:
    """Call a function of a config file.

    Args:
      path: the file.
      function: its name.
      arguments: of the function.
      expected: the kind of its result, in words.
      is_right: whether a value is of that kind.

    Raises:
      ValueError: the file has no such function, or the function raises an error or returns
        something else.
    """
    module = load(path)
    if not hasattr(module, function):
        raise ValueError(
            f"config={path}: it has no function {function}; expected one, as in configs/digits.py"
        )
    with _errors_named(path, f"{function}()"):
        value = getattr(module, function)(*arguments)
    if not is_right(value):
        raise ValueError(f"config={path}: {function}() returns {value!r:.60}; expected {expected}")
    return value


def config(value: str) -> ConfigDict:
    """Return the config of `--config=VALUE`: a file, and after a colon an argument.

    Raises:
      ValueError: see `call`; the argument is missing, or there is one too many.
    """
    name, colon, argument = value.partition(":")
    path = Path(name)
    get_config = getattr(load(path), "get_config", None)
    takes = list(inspect.signature(get_config).parameters.values()) if get_config else []
    if get_config and colon and not takes:
        raise ValueError(f"config={value}: {path} takes no argument after the colon")
    if not colon and takes and takes[0].default is inspect.Parameter.empty:
        raise ValueError(f"config={value}: expected {path}:{takes[0].name.upper()}")
    arguments = (argument,) if colon else ()
    result: ConfigDict = call(
        path, "get_config", arguments, "a ConfigDict", lambda value: isinstance(value, ConfigDict)
    )
    return result


@contextlib.contextmanager
def _errors_named(path: Path, what: str) -> Iterator[None]:
    """Turn an error in a config file into a ValueError that names file, function and line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, ValueError) and _is_for_people(frames[-1]):
            raise
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
        text = str(error)
        if isinstance(error, SyntaxError) and Path(error.filename or "") == path.resolve():
            lines, text = [error.lineno], error.msg
        raises = f"{type(error).__name__}: {text}" if text else type(error).__name__
        line = f" (line {lines[-1]})" if lines else ""
        raise ValueError(f"config={path}: {what} raises {raises}{line}") from None


def _is_for_people(frame: traceback.FrameSummary) -> bool:
    """Return whether this project raised the error itself, unlike a call such as int("six")."""
    ours = any(Path(frame.filename).is_relative_to(folder) for folder in _OURS)
    return ours and (frame.line or "").startswith("raise")
