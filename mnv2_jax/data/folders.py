"""Names and paths of data sets: prepared ones by name, folders of images by path."""

import os
import re
import shlex
from pathlib import Path, PurePath

from mnv2_jax import cache


def data_folder() -> Path:
    """Return the default folder of prepared data sets."""
    return cache.folder() / "datasets"


def is_path(name: str) -> bool:
    """Return whether the name of a data set is the path of a folder of images.

    Paths end in `/`, or begin with `/`, `.` or `~`: `photos/`, `../photos`.
    """
    return name.endswith("/") or name.startswith(("/", ".", "~"))


def path(name: str) -> Path:
    """Return the folder of images of a name that is a path."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser raises without a home.


def own_name(name: str) -> str:
    """Return the name of a data set; of a path, its last folder.

    Ids of runs and tables hold this name, so that they do not depend on where the folder lies.
    """
    return f"{PurePath(name).name}/" if is_path(name) else name


def prepare_command(name: str, folder: Path) -> str:
    """Return the command that prepares a data set in `folder`; "" if TFDS has no such builder."""
    import tensorflow_datasets as tfds  # Takes half a second to import.

    try:
        tfds.builder_cls(re.split("[/:]", name)[0])
    except ValueError:  # No such builder, or no valid name.
        return ""
    arguments = ["python", "-m", "experiments.prepare", f"--dataset={name}"]
    if folder.absolute() != data_folder().absolute():
        arguments.append(f"--data_dir={folder}")
    return shlex.join(arguments)


def prepare_again(name: str, folder: Path, place: Path) -> str:
    """Return advice for the data set `name` in `folder` whose own folder, `place`, is damaged."""
    command = prepare_command(name, folder)
    return f"remove {place} and prepare it again{f': {command}' if command else ''}"
