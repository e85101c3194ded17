"""Config files: what their functions give; an error in one becomes a line that names it."""

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
      ValueError: there is no such file, or an error comes of importing it.
    """
    if not path.is_file():
        raise ValueError(f"config={path}: no such file; expected one like configs/digits.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"config={path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    if str(_CHECKOUT) not in sys.path:  # Of a script elsewhere; configs build on configs.digits.
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
      arguments: what it is called with.
      expected: what it is to give, in words.
      is_right: whether something is that.

    Raises:
      ValueError: the file has no such function, or the function raises an error or gives something
        else.
    """
    module = load(path)
    if not hasattr(module, function):
        raise ValueError(
            f"config={path}: it has no function {function}; expected one, as in configs/digits.py"
        )
    with _errors_named(path, f"{function}()"):
        given = getattr(module, function)(*arguments)
    if not is_right(given):
        raise ValueError(f"config={path}: {function}() returns {given!r:.60}; expected {expected}")
    return given


def config(value: str) -> ConfigDict:
    """Return the config of `--config=VALUE`: a file, and an argument that may follow a colon.

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
    given = call(
        path, "get_config", arguments, "a ConfigDict", lambda found: isinstance(found, ConfigDict)
    )
    assert isinstance(given, ConfigDict)
    return given


@contextlib.contextmanager
def _errors_named(path: Path, what: str) -> Iterator[None]:
    """Make an error out of a config file a ValueError that names file, function and line."""
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
    """Return whether the code raises there itself, rather than in a call such as int("six")."""
    ours = any(Path(frame.filename).is_relative_to(folder) for folder in _OURS)
    return ours and (frame.line or "").startswith("raise")
