"""The user's cache folder: what can be made again, and is kept so that it need not be."""

import os
from pathlib import Path


def folder() -> Path:
    """The folder for this project: `$XDG_CACHE_HOME/mnv2_jax`, else under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mnv2_jax"
