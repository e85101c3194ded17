"""Prepare a data set of TensorFlow Datasets once; training then reads it by random access.

  python -m experiments.prepare --dataset=cifar10
  python -m experiments.prepare --dataset=imagenet_resized/32x32 --data_dir=data
  python -m experiments.prepare --dataset=imagenet2012 --manual_dir=downloads

A folder of images needs no preparation: --config=configs/folder.py:DIR/ reads it.
"""

import contextlib
import shutil
import sys
from pathlib import Path

from absl import flags

from experiments import command_line
from mnv2_jax.data import folders, tfds_builders
from mnv2_jax.terminal import Console, outlive, show_growth, size

flags.DEFINE_string(
    "dataset", None, "A data set of TensorFlow Datasets, such as cifar10, or NAME/CONFIG."
)
_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", None, "The folder of files that --dataset needs and you downloaded by hand."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)


def main() -> int:
    """Prepare the data set that the flags name.

    Raises:
      ValueError: a flag is wrong, or the data set cannot be prepared as the message says.
      OSError: the data set cannot be downloaded or written.
    """
    outlive("stdout")
    dataset = command_line.required("dataset", "a data set of TensorFlow Datasets, such as cifar10")
    data_dir = Path(_DATA_DIR.value or folders.data_folder())
    if data_dir.is_file():
        raise ValueError(f"--data_dir={data_dir}: it is a file; expected a folder")
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    manual_dir = None if _MANUAL_DIR.value is None else Path(_MANUAL_DIR.value)
    builder = tfds_builders.find(dataset, data_dir, manual_dir)
    if tfds_builders.prepared(builder):
        console.print(f"{builder.data_path} is prepared already")
        return 0
    _check_disk(console, data_dir, tfds_builders.bytes_needed(builder, manual_dir))
    console.print("TFDS's own builder downloads what it needs, and makes records of it")
    bars = console.is_terminal
    growing = (data_dir / "downloads", data_dir / builder.name)
    with contextlib.nullcontext() if bars else show_growth(growing):
        tfds_builders.prepare(builder, data_dir, manual_dir, bars=bars)
    splits = builder.info.splits.items()
    counts = ", ".join(f"{name} {split.num_examples:,}" for name, split in splits)
    console.print(f"{builder.data_path}: done; images: {counts}")
    return 0


def _check_disk(console: Console, data_dir: Path, need: int | None) -> None:
    folders = (data_dir.absolute(), *data_dir.absolute().parents)
    free = shutil.disk_usage(next(path for path in folders if path.exists())).free
    if need is None:
        console.print(f"Disk: TFDS does not tell how much is needed; {size(free)} are free")
        return
    console.print(f"Disk: about {size(need)} are needed; {size(free)} are free")
    if need > free:
        raise ValueError(
            f"--data_dir={data_dir}: about {size(need)} are needed, {size(free)} are free; "
            f"expected a folder on a disk with more, or more to be freed"
        )


if __name__ == "__main__":
    command_line.run(main, __doc__)
