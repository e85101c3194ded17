"""Finds prepared data sets on disk: FOLDER/NAME/[CONFIG/]VERSION, as TFDS lays them out."""

import difflib
import re
from pathlib import Path

from mnv2_jax.data import folders

_NAME = re.compile(r"(?P<path>[\w-][\w.-]*(/[\w-][\w.+-]*)?)(:(?P<version>[\d.*]+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def version_folder(name: str, folder: Path) -> Path:
    """Return the folder of the data set `name`: of the version asked for, else of the newest.

    Args:
      name: such as "cifar10", "imagenet_resized/32x32" or "cifar10:3.0.2".
      folder: that prepared data sets live in.

    Raises:
      ValueError: it is not there, or not whole; the message says how to prepare it.
    """
    asked = f"config.data.name={name!r}"
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise ValueError(
            f"{asked}: expected a name such as 'cifar10' or 'imagenet_resized/32x32', or the path "
            f"of a folder of images, which ends in /"
        )
    place = folder / parsed["path"]
    versions = _versions(place)
    if parsed["version"]:
        wanted = re.compile(re.escape(parsed["version"]).replace(r"\*", r"\d+"))
        found = [version for version in versions if wanted.fullmatch(version)]
    else:
        found = versions
    if found:
        return place / found[-1]
    if versions:
        raise ValueError(f"{asked}: expected a version that is in {place}: {', '.join(versions)}")
    configs = [other for other in _sets(folder) if other.startswith(f"{name}/")]
    if configs:
        raise ValueError(f"{asked}: expected one of its configs: {', '.join(configs)}")
    command = folders.prepare_command(name, folder)
    if command and place.is_dir() and any(_unfinished(child) for child in place.iterdir()):
        raise ValueError(f"{asked}: its preparation in {place} has not finished; go on: {command}")
    sets = _sets(folder)
    there = f", which has {', '.join(sets)}" if sets else ""
    close = difflib.get_close_matches(name, sets, n=1)
    ways = [
        *([f"did you mean {close[0]!r}?"] if close else []),
        *([f"to prepare it: {command}"] if command else []),
        f"of a folder of images the name ends in /: '{parsed['path']}/'",
    ]
    raise ValueError(f"{asked}: there is no such data set in {folder}{there}; {'; '.join(ways)}")


def _versions(place: Path) -> list[str]:
    """Return the whole versions in a folder, oldest first."""
    found = [
        child.name
        for child in (place.iterdir() if place.is_dir() else ())
        if _VERSION.fullmatch(child.name) and not _unfinished(child)
    ]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def _unfinished(child: Path) -> bool:
    """Return whether a folder is what a preparation leaves that was stopped.

    What describes a data set is written last, and until then the folder has another name.
    """
    if _VERSION.fullmatch(child.name):
        return not (child / "dataset_info.json").is_file()
    return "incomplete" in child.name or child.name.endswith(".tmp")


def _sets(folder: Path) -> list[str]:
    """Return the names of all prepared data sets, with configs where they have some."""
    found = {
        path.parents[1].relative_to(folder).as_posix()
        for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        for path in folder.glob(pattern)
        if _VERSION.fullmatch(path.parent.name)
    }
    return sorted(found)
