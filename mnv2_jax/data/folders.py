"""Where data sets live on disk, and the command that prepares one there."""

import os
import re
import shlex
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for this project: `$XDG_CACHE_HOME/mnv2_jax`, else under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mnv2_jax"


def data_folder() -> Path:
    """The folder that prepared data sets live in by default."""
    return cache_folder() / "datasets"


def prepare_command(name: str, folder: Path) -> str:
    """The command line that prepares the data set `name` in `folder`.

    By TFDS's own builder where it has one of that name, else out of a folder of images.
    """
    import tensorflow_datasets as tfds  # Takes half a second to import.

    arguments = ["python", "-m", "experiments.prepare"]
    bare = re.split("[/:]", name)[0]
    try:
        tfds.builder_cls(bare)
        arguments.append(f"--dataset={name}")
    except ValueError:  # There is none, or there cannot be one of such a name.
        arguments += ["--images=DIR", f"--name={bare}"]
    if folder.absolute() != data_folder().absolute():
        arguments.append(f"--data_dir={folder}")
    return shlex.join(arguments)


def prepare_again(name: str, folder: Path, place: Path) -> str:
    """What to do about the data set `name` in `folder` if `place`, where it lies, is damaged."""
    return f"remove {place} and prepare it again: {prepare_command(name, folder)}"
