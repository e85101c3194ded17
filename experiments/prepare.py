"""Prepares a data set once, so that training reads it by random access.

  python -m experiments.prepare --images=photos --name=photos
  python -m experiments.prepare --dataset=cifar10
  python -m experiments.prepare --dataset=imagenet2012 --manual_dir=downloads

It takes a folder of images, `DIR/train/CLASS/*` (and validation/, test/) or `DIR/CLASS/*`, or the
name of a data set of TensorFlow Datasets.
"""

import contextlib
import shutil
import sys
import time
from pathlib import Path

from absl import flags

from experiments import command_line
from experiments.prepare_progress import show_growth, show_progress, size
from mnv2_jax import cores
from mnv2_jax.data import folders
from mnv2_jax.data.prepare import image_dataset, image_folder, image_shards, tfds_builders
from mnv2_jax.terminal import Console, outlive

_IMAGES = flags.DEFINE_string(
    "images", None, "A folder of images: DIR/train/CLASS/* (validation/, test/) or DIR/CLASS/*."
)
_NAME = flags.DEFINE_string("name", None, "What to call the folder's data set, as in data.name.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "A data set of TensorFlow Datasets, such as cifar10, or NAME/CONFIG."
)
_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", None, "Where files lie that --dataset asks to be downloaded by hand."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)
_ON_CORRUPT = flags.DEFINE_enum(
    "on_corrupt", "fail", ["fail", "skip"], "What to do if images of --images cannot be decoded."
)


def main() -> int:
    """Prepares what the flags name."""
    outlive("stdout")
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    data_dir = Path(_DATA_DIR.value or folders.data_folder())
    if (_IMAGES.value is None) == (_DATASET.value is None):
        raise ValueError(
            "expected either --images=DIR --name=NAME, for a folder, or --dataset=NAME, for a data "
            "set of TensorFlow Datasets"
        )
    if data_dir.is_file():
        raise ValueError(f"--data_dir={data_dir}: it is a file; expected a folder")
    if _IMAGES.value is not None:
        _prepare_images(console, Path(_IMAGES.value), data_dir)
    elif _DATASET.value is not None:
        _prepare_dataset(console, _DATASET.value, data_dir)
    return 0


def _prepare_images(console: Console, root: Path, data_dir: Path) -> None:
    if _MANUAL_DIR.value is not None:
        raise ValueError(f"--manual_dir={_MANUAL_DIR.value}: it goes with --dataset alone")
    if _NAME.value is None:
        raise ValueError("--name: it is missing; expected what to call the folder's data set")
    image_shards.check_names(root, _NAME.value, data_dir)
    folder = image_folder.scan(root)
    plan = image_shards.plan(folder, _NAME.value, data_dir)
    counts = ", ".join(f"{split} {len(files):,}" for split, files in folder.splits.items())
    console.print(f"{root}: classes: {len(folder.classes):,}; files: {counts}")
    if folder.ignored:
        some = image_folder.some(folder.ignored)
        console.print(f"Other files passed over ({len(folder.ignored):,}): {some}")
    if folder.singles:
        some = image_folder.some(folder.singles)
        console.print(f"Classes with a single image in train ({len(folder.singles):,}): {some}")
    if plan.prepared():
        console.print(f"{plan.target} is prepared from these files already")
    else:
        _check_disk(console, data_dir, image_shards.bytes_needed(plan), "at most")
        start = time.perf_counter()
        with show_progress(console, plan.images) as progress:
            image_dataset.write(plan, _ON_CORRUPT.value, cores.available(), progress)
        console.print(f"{plan.target}: done in {time.perf_counter() - start:.0f} s")
    for split, count, path, other in image_dataset.repeated(plan):
        console.print(
            f"{split}: {count:,} of its images are in an earlier split too, such as {path}, which "
            f"is {other}"
        )
    if skipped := image_dataset.skipped(plan):
        told = [f"{path} ({reason})" for path, reason in skipped]
        console.print(
            f"{len(skipped):,} left out: {image_folder.some(told)}; all are listed in "
            f"{plan.target / image_dataset.SKIPPED_NOTE}"
        )


def _prepare_dataset(console: Console, name: str, data_dir: Path) -> None:
    for flag in (_NAME, _ON_CORRUPT):
        if flag.present:
            raise ValueError(f"--{flag.name}={flag.value}: it goes with --images alone")
    manual_dir = None if _MANUAL_DIR.value is None else Path(_MANUAL_DIR.value)
    builder = tfds_builders.find(name, data_dir, manual_dir)
    if tfds_builders.prepared(builder):
        console.print(f"{builder.data_path} is prepared already")
        return
    need = tfds_builders.bytes_needed(builder, manual_dir)
    if need is None:
        console.print(f"Disk: TFDS does not tell how much is needed; {_free(data_dir)}")
    else:
        _check_disk(console, data_dir, need, "about")
    console.print("TFDS's own builder downloads what it needs, and makes records of it")
    bars = console.is_terminal
    growing = (data_dir / "downloads", data_dir / builder.name)
    with contextlib.nullcontext() if bars else show_growth(growing):
        tfds_builders.prepare(builder, data_dir, manual_dir, bars=bars)
    splits = builder.info.splits.items()
    counts = ", ".join(f"{name} {split.num_examples:,}" for name, split in splits)
    console.print(f"{builder.data_path}: done; images: {counts}")


def _check_disk(console: Console, data_dir: Path, need: int, how: str) -> None:
    console.print(f"Disk: {how} {size(need)} are needed; {_free(data_dir)}")
    if need > _free_bytes(data_dir):
        raise ValueError(
            f"--data_dir={data_dir}: {how} {size(need)} are needed, {_free(data_dir)}; expected a "
            f"folder on a disk with more, or more to be freed"
        )


def _free_bytes(folder: Path) -> int:
    present = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    return shutil.disk_usage(present).free


def _free(folder: Path) -> str:
    return f"{size(_free_bytes(folder))} are free"


if __name__ == "__main__":
    command_line.run(main, __doc__)
