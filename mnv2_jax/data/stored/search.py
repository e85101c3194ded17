"""Search for prepared data sets on disk, in TFDS's layout: FOLDER/NAME/[CONFIG/]VERSION."""

import difflib
import re
from pathlib import Path

from mnv2_jax.data import folders

_NAME = re.compile(r"(?P<path>[\w-][\w.-]*(/[\w-][\w.+-]*)?)(:(?P<version>[\d.*]+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def version_folder(name: str, folder: Path) -> Path:
    """Return the folder of a data set, in the version of its name or in the newest.

    Args:
      name: such as "cifar10", "imagenet_resized/32x32" or "cifar10:3.0.2".
      folder: folder of prepared data sets.

    Raises:
      ValueError: it is missing; the message says how to prepare it.
    """
    field = f"config.data.name={name!r}"
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise ValueError(
            f"{field}: expected a name such as 'cifar10' or 'imagenet_resized/32x32', or the path "
            f"of a folder of images, which ends in /"
        )
    place = folder / parsed["path"]
    versions = _versions(place)
    if parsed["version"]:
        pattern = re.compile(re.escape(parsed["version"]).replace(r"\*", r"\d+"))
        matching = [version for version in versions if pattern.fullmatch(version)]
    else:
        matching = versions
    if matching:
        return place / matching[-1]
    if versions:
        raise ValueError(f"{field}: expected a version that is in {place}: {', '.join(versions)}")
    sets = _sets(folder)
    configs = [other for other in sets if other.startswith(f"{name}/")]
    if configs:
        raise ValueError(f"{field}: expected one of its configs: {', '.join(configs)}")
    command = folders.prepare_command(name, folder)
    available = f", which has {', '.join(sets)}" if sets else ""
    close = difflib.get_close_matches(name, sets, n=1)
    ways = [
        *([f"did you mean {close[0]!r}?"] if close else []),
        *([f"to prepare it: {command}"] if command else []),
        f"of a folder of images the name ends in /: '{parsed['path']}/'",
    ]
    message = f"there is no such data set in {folder}{available}; {'; '.join(ways)}"
    raise ValueError(f"{field}: {message}")


def _versions(place: Path) -> list[str]:
    """Return the complete versions in a folder, oldest first."""
    versions = [
        child.name
        for child in (place.iterdir() if place.is_dir() else ())
        # TFDS writes this file last.
        if _VERSION.fullmatch(child.name) and (child / "dataset_info.json").is_file()
    ]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def _sets(folder: Path) -> list[str]:
    """Return the names of all prepared data sets, with their configs if they have any."""
    names = {
        path.parents[1].relative_to(folder).as_posix()
        for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        for path in folder.glob(pattern)
        if _VERSION.fullmatch(path.parent.name)
    }
    return sorted(names)
