"""The user's cache folder, for files that can be made again."""

import os
from pathlib import Path


def folder() -> Path:
    """Return `$XDG_CACHE_HOME/mnv2_jax`, by default `~/.cache/mnv2_jax`.

    Raises:
      ValueError: the user has no home.
    """
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise ValueError(
            "HOME: it is not set, and this user has no home folder; expected HOME or "
            "XDG_CACHE_HOME to name a folder to write to"
        ) from None
    return Path(root) / "mnv2_jax"
