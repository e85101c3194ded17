"""Classify images with a trained network, or export it.

Usage: python -m experiments.predict --checkpoint=PATH [--FLAG=VALUE ...] [IMAGE ...]

  python -m experiments.predict --checkpoint=runs/transfer photos/a.jpg photos/b.png
  python -m experiments.predict --checkpoint=network.safetensors --batch_size=256 photos/*.jpg
  python -m experiments.predict --checkpoint=network.safetensors --top=5 photos/*.jpg
  python -m experiments.predict --checkpoint=network.safetensors --export=network.stablehlo

For each IMAGE the most probable class is printed, or with --top=N the N most probable. Images are
decoded and cropped as in evaluation: JPEG, PNG, GIF, WebP, BMP or TIFF, of any size. The exported
file holds StableHLO with the weights; jax.export.deserialize reads it without this package, in jax
versions of the next six months. With --export and IMAGEs both are done, the file first. An IMAGE
that is no file is refused before anything is done; one that cannot be decoded ends the command
after those before it.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments import command_line
from mnv2_jax import arch, atomic
from mnv2_jax.api import TrainedNetwork, load
from mnv2_jax.nn import trained
from mnv2_jax.terminal import say
from mnv2_jax.train import prediction

flags.DEFINE_string(
    "checkpoint",
    None,
    f"A {trained.FILE}, the folder of its run, or an experiment's, whose best network by "
    "validation accuracy is taken; local, gs:// or s3://.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "How many images are held at a time.")
_TOP = flags.DEFINE_integer("top", 1, "How many of an image's most probable classes are printed.")
_EXPORT = flags.DEFINE_string("export", None, "Write the network as StableHLO to this file.")

_COLOURS = {1: "grey", 3: "RGB"}
"""The kinds of images, by number of channels."""

_NAMED = 3
"""The most wrong images that one error names."""


def main(*images: str) -> int:
    """Export the network, then print a line per image.

    Raises:
      ValueError: a flag or the network is wrong, or an IMAGE is no file, before anything is
        printed; or an image cannot be decoded, after those before it are printed.
      OSError: a file cannot be read or written.
    """
    checkpoint = command_line.required("checkpoint", f"a {trained.FILE}, or the folder of a run")
    arch.check_whole("--batch_size", _BATCH_SIZE.value)
    arch.check_whole("--top", _TOP.value)
    if not images and _EXPORT.value is None:
        raise ValueError("IMAGE: it is missing; expected one or more, or --export=FILE")
    if _EXPORT.value is not None:
        _check_target(Path(_EXPORT.value))
    paths = [Path(image) for image in images]
    _check_images(paths)
    network = _network(checkpoint)
    if _EXPORT.value is not None:
        _export(Path(_EXPORT.value), network)
    _predict(paths, network, _BATCH_SIZE.value, _TOP.value)
    return 0


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"--export={path}: it is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise ValueError(f"--export={path}: there is no folder {path.parent}; expected one")


def _check_images(paths: list[Path]) -> None:
    folders = [path for path in paths if path.is_dir()]
    missing = [path for path in paths if not path.is_dir() and not path.is_file()]
    wrong = []
    if missing:
        wrong.append(f"{_some(missing)}: no such file{'s' if len(missing) > 1 else ''}")
    if folders:
        are = "they are folders" if len(folders) > 1 else "it is a folder"
        wrong.append(f"{_some(folders)}: {are}")
    if wrong:
        example = f", such as {folders[0] / '*'}" if folders else ""
        raise ValueError(f"{'; '.join(wrong)}; expected images{example}")


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return f"{', '.join(map(str, paths[:_NAMED]))}{more}"


def _network(where: str) -> TrainedNetwork:
    try:
        network = load(where)
    except ValueError as error:
        raise ValueError(f"--checkpoint={error}") from None
    if network.best_of:
        # To stderr: a program may read the predictions.
        say(f"The best network of {network.best_of}: {network.path}", sys.stderr)
    return network


def _export(path: Path, network: TrainedNetwork) -> None:
    atomic.write_bytes(path, network.export())
    spec, names = network.spec, network.class_names
    shape = ", ".join(map(str, spec.input_shape))
    pixels = f"{spec.resolution} x {spec.resolution} pixels"
    side = f"{network.trained.crop_fraction:g} of the shorter side"
    most = f"above 0: {names[1]}, else {names[0]}" if spec.classes == 1 else "the largest is chosen"
    say(
        f"{path}: written, StableHLO for {', '.join(prediction.PLATFORMS)}; "
        f"jax.export.deserialize(FILE'S BYTES).call takes uint8 [batch, {shape}], 0 to 255, and "
        f"gives float32 logits [batch, {spec.classes}]\n"
        f"images: {_COLOURS[spec.in_channels]}, the central square, {side}, resized to {pixels}; "
        f"the program scales their values\n"
        f"logits: {most}; classes in their order: {json.dumps(names, ensure_ascii=False)}\n"
        f"jax {jax.__version__} wrote it: jax versions of the next six months read it, later ones "
        f"may refuse; keep the network to export it again"
    )


def _predict(paths: list[Path], network: TrainedNetwork, batch_size: int, top: int) -> None:
    """Print a line per image, batch by batch; before a bad image is raised, those before it."""

    def print_lines(shown: list[Path], views: list[np.ndarray]) -> None:
        probabilities = network.predict(np.stack(views), batch_size)
        for path, row in zip(shown, probabilities, strict=False):
            say(f"{path}: {_most_probable(row, network.class_names, top)}")

    for start in range(0, len(paths), batch_size):
        chosen = paths[start : start + batch_size]
        views: list[np.ndarray] = []
        try:
            for path in chosen:
                views.append(network.view(path))
        except (ValueError, OSError):
            if views:
                print_lines(chosen, views)
            raise
        print_lines(chosen, views)


def _most_probable(row: np.ndarray, names: tuple[str, ...], top: int) -> str:
    """Return the `top` most probable classes, or all of fewer; equal ones by label."""
    chosen = np.argsort(-row, kind="stable")[:top]
    return ", ".join(f"{names[label]} {100 * row[label]:.1f} %" for label in chosen)


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="IMAGE", several=True, optional=True)
