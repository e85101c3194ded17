"""The user's cache folder: what can be made again, and is kept so that it need not be."""

import os
from pathlib import Path


def folder() -> Path:
    """Return the folder for this project: `$XDG_CACHE_HOME/mnv2_jax`, else under ~/.cache.

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
