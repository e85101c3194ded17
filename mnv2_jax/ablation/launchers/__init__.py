"""Launchers decide where runs are trained: in this process, or by others.

A launcher is a subclass of `base.Launcher`, with a method `launch(job, watch) -> Outcome`, or a
function of the same arguments.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mnv2_jax import user_code
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.launchers.base import Launcher, Watch
from mnv2_jax.ablation.launchers.local import Local
from mnv2_jax.ablation.launchers.ray import Ray
from mnv2_jax.ablation.sweep import Outcome

LAUNCHERS: dict[str, type[Launcher]] = {
    "local": Local,
    "ray": Ray,
}


def find(launcher: Any) -> Launcher:
    """Return a launcher, given a name, `FILE.py:NAME`, an instance, a class or a function.

    Raises:
      ValueError: there is none; one line that begins with `launcher`.
    """
    found = launcher
    if isinstance(launcher, str):
        kind = "a subclass of Launcher, or a function of a job and a watch"
        found = user_code.find("launcher", launcher, LAUNCHERS, _is_launcher, kind)
    if isinstance(found, type) and issubclass(found, Launcher):
        return found()
    if isinstance(found, Launcher):
        return found
    if not callable(found):
        raise ValueError(
            f"launcher={launcher!r}: expected one of {', '.join(LAUNCHERS)}, FILE.py:NAME, a "
            f"Launcher, or a function of a job and a watch"
        )
    return _Function(found)


def _is_launcher(found: Any) -> bool:
    if isinstance(found, type):
        return issubclass(found, Launcher) and not inspect.isabstract(found)
    return isinstance(found, Launcher) or inspect.isfunction(found)


class _Function(Launcher):
    """A function as a launcher."""

    def __init__(self, function: Callable[[Job, Watch], Outcome]) -> None:
        self._function = function

    def launch(self, job: Job, watch: Watch) -> Outcome:
        """See `Launcher`."""
        return self._function(job, watch)
