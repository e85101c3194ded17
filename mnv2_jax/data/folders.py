"""The places of data sets: prepared ones by name in a folder, folders of images by their path."""

import os
import re
import shlex
from pathlib import Path, PurePath

from mnv2_jax import cache


def data_folder() -> Path:
    """Return the folder that prepared data sets live in by default."""
    return cache.folder() / "datasets"


def is_path(name: str) -> bool:
    """Return whether the name of a data set is the path of a folder of images.

    It is one if it ends in `/`, or begins with `/`, `.` or `~`: `photos/`, `../photos`.
    """
    return name.endswith("/") or name.startswith(("/", ".", "~"))


def path(name: str) -> Path:
    """Return the folder of images that a name is the path of."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path's raises where there is no home.


def own_name(name: str) -> str:
    """Return the name of a data set, of a folder of images without the folders that it lies in.

    Ids of runs and their tables hold it: they are the same wherever the folder lies.
    """
    return f"{PurePath(name).name}/" if is_path(name) else name


def prepare_command(name: str, folder: Path) -> str:
    """Return the command that prepares the data set `name` in `folder`, if TFDS has a builder."""
    import tensorflow_datasets as tfds  # Takes half a second to import.

    try:
        tfds.builder_cls(re.split("[/:]", name)[0])
    except ValueError:  # There is none, or there cannot be one of such a name.
        return ""
    arguments = ["python", "-m", "experiments.prepare", f"--dataset={name}"]
    if folder.absolute() != data_folder().absolute():
        arguments.append(f"--data_dir={folder}")
    return shlex.join(arguments)


def prepare_again(name: str, folder: Path, place: Path) -> str:
    """Return what to do about the data set `name` in `folder` if `place`, its own, is damaged."""
    command = prepare_command(name, folder)
    return f"remove {place} and prepare it again{f': {command}' if command else ''}"
