"""Where data sets live on disk, and the command that prepares one there."""

import re
import shlex
import unicodedata
from pathlib import Path
from typing import Any

from mnv2_jax import cache, checksums

SOURCE_NOTE = "source.json"
"""In a data set that was made of a folder of images: what it was made of."""


def data_folder() -> Path:
    """The folder that prepared data sets live in by default."""
    return cache.folder() / "datasets"


def prepare_command(name: str, folder: Path) -> str:
    """The command line that prepares the data set `name` in `folder`.

    Out of the folder of images that it was made of, wholly or in part; else by TFDS's own builder
    where it has one of that name; else out of some folder of images.
    """
    import tensorflow_datasets as tfds  # Takes half a second to import.

    arguments = ["python", "-m", "experiments.prepare"]
    bare = re.split("[/:]", name)[0]
    sources = [source(place.parent) for place in sorted(folder.glob(f"{bare}/*/{SOURCE_NOTE}"))]
    images = sources[-1].get("folder") if sources else None
    try:
        if not images:
            tfds.builder_cls(bare)
            arguments.append(f"--dataset={name}")
    except ValueError:  # There is none, or there cannot be one of such a name.
        images = "DIR"
    if images:
        arguments += [f"--images={images}", f"--name={plain_name(bare)}"]
    if folder.absolute() != data_folder().absolute():
        arguments.append(f"--data_dir={folder}")
    return shlex.join(arguments)


def source(place: Path) -> dict[str, Any]:
    """What the note in `place` says that it was made of; nothing where there is none to be read."""
    try:
        return checksums.read_json(place / SOURCE_NOTE)
    except (OSError, checksums.DamagedError):
        return {}


def plain_name(name: str) -> str:
    """A name that TFDS takes for a data set, near to `name`; that itself, if TFDS takes it."""
    if re.fullmatch("[a-z][a-z0-9_]*", name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    return plain if plain[:1].isalpha() else f"images_{plain}".rstrip("_")


def prepare_again(name: str, folder: Path, place: Path) -> str:
    """What to do about the data set `name` in `folder` if `place`, where it lies, is damaged."""
    return f"remove {place} and prepare it again: {prepare_command(name, folder)}"
