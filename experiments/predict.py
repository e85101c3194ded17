"""Classify images with a trained network, or export it.

Usage: python -m experiments.predict --checkpoint=PATH [--FLAG=VALUE ...] [IMAGE ...]

  python -m experiments.predict --checkpoint=runs/transfer photos/a.jpg photos/b.png
  python -m experiments.predict --checkpoint=network.safetensors photos/
  python -m experiments.predict --checkpoint=network.safetensors --top=5 photos/*.jpg
  python -m experiments.predict --checkpoint=runs/transfer --output=photos.csv photos/
  python -m experiments.predict --checkpoint=network.safetensors --export=network.stablehlo

For each IMAGE the most probable class is printed, or with --top=N the N most probable. An IMAGE may
be a folder, whose images are all taken, those in its folders too; of images that lie in a folder
named after a class, the accuracy is told as well, and by split if they are of the data set that the
network was trained on. Images are
decoded and cropped as in evaluation: JPEG, PNG, GIF, WebP, BMP or TIFF, of any size. The exported
file holds StableHLO with the weights; jax.export.deserialize reads it without this package, in jax
versions of the next six months. With --export and IMAGEs both are done, the file first. An IMAGE
that does not exist is refused before anything is done; one that cannot be decoded ends the command
after those before it.
"""

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from experiments import command_line
from mnv2_jax import arch, atomic
from mnv2_jax.api import TrainedNetwork, load
from mnv2_jax.data import image_folder
from mnv2_jax.nn import pieces, trained
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
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["text", "csv", "json"],
    "What is printed or written. Default: by the ending of --output, else text.",
)
_OUTPUT = flags.DEFINE_string("output", None, "Write the predictions to this file.")
_EXPORT = flags.DEFINE_string("export", None, "Write the network as StableHLO to this file.")

_PIECES = flags.DEFINE_string(
    "pieces",
    pieces.WHOLE,
    "Compute blocks piece by piece, in less memory: channels:N, channels:t (as many groups as the "
    "expansion) or patches:N (N x N); in the exported file too.",
)

_COLOURS = {1: "grey", 3: "RGB"}
"""The kinds of images, by number of channels."""

_SPLITS = ("test", "validation", "train", "other")

_NAMED = 3
"""The most wrong images that one error names."""


def main(*images: str) -> int:
    """Export the network, then print a line per image.

    Raises:
      ValueError: a flag or the network is wrong, or an IMAGE does not exist, before anything is
        printed; or an image cannot be decoded, after those before it are printed.
      OSError: a file cannot be read or written.
    """
    checkpoint = command_line.required("checkpoint", f"a {trained.FILE}, or the folder of a run")
    arch.check_whole("--batch_size", _BATCH_SIZE.value)
    arch.check_whole("--top", _TOP.value)
    pieces.parse(_PIECES.value, "--pieces")
    if not images and _EXPORT.value is None:
        raise ValueError("IMAGE: it is missing; expected one or more, or --export=FILE")
    for flag, target in (("export", _EXPORT.value), ("output", _OUTPUT.value)):
        if target is not None:
            _check_target(flag, Path(target))
    style = _style()
    paths = _images([Path(image) for image in images])
    network = _network(checkpoint)
    if _EXPORT.value is not None:
        _export(Path(_EXPORT.value), network)
    if paths:
        _show(_predictions(paths, network, _BATCH_SIZE.value, _TOP.value), style)
    return 0


def _check_target(flag: str, path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"--{flag}={path}: it is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise ValueError(f"--{flag}={path}: there is no folder {path.parent}; expected one")


def _style() -> str:
    """Return the format of predictions."""
    if _FORMAT.value is not None:
        return str(_FORMAT.value)
    ending = Path(_OUTPUT.value or "").suffix
    return ending[1:] if ending in (".csv", ".json") else "text"


def _images(named: list[Path]) -> list[Path]:
    """Return the images to classify: files as they are named, and all images in folders.

    Raises:
      ValueError: a path does not exist, or a folder has no images.
    """
    missing = [path for path in named if not path.exists()]
    if missing:
        are = "no such files" if len(missing) > 1 else "no such file"
        raise ValueError(f"{_some(missing)}: {are}; expected images or folders of images")
    found: list[Path] = []
    for path in named:
        inside = image_folder.images_below(path) if path.is_dir() else [path]
        if not inside:
            endings = ", ".join(image_folder.EXTENSIONS)
            raise ValueError(f"{path}: no images are in it; expected files ending in {endings}")
        found += inside
    return found


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
    atomic.write_bytes(path, network.export(_PIECES.value))
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


class _Prediction(NamedTuple):
    """The most probable classes of an image, its own class if its folder has that name, its split.

    The split is that of the data set that the network was trained on, if the image is in it.
    """

    image: Path
    own: str
    split: str
    classes: list[tuple[str, float]]

    @property
    def text(self) -> str:
        likely = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.classes)
        return f"{self.image}: {likely}"

    @property
    def is_right(self) -> bool:
        return self.own == self.classes[0][0]


def _predictions(
    paths: list[Path], network: TrainedNetwork, batch_size: int, top: int
) -> Iterator[_Prediction]:
    """Classify images batch by batch; before a bad image is raised, those before it are yielded."""
    splits = network.splits()

    def classified(shown: list[Path], views: list[np.ndarray]) -> Iterator[_Prediction]:
        probabilities = network.predict(np.stack(views), batch_size, _PIECES.value)
        for path, row in zip(shown, probabilities, strict=False):
            split = splits.get(path.absolute(), "")
            yield _prediction(path, split, row, network.class_names, top)

    for start in range(0, len(paths), batch_size):
        chosen = paths[start : start + batch_size]
        views: list[np.ndarray] = []
        try:
            for path in chosen:
                views.append(network.view(path))
        except (ValueError, OSError):
            if views:
                yield from classified(chosen, views)
            raise
        yield from classified(chosen, views)


def _prediction(
    path: Path, split: str, row: np.ndarray, names: tuple[str, ...], top: int
) -> _Prediction:
    """Return the `top` most probable classes, or all of fewer; equal ones by label."""
    chosen = np.argsort(-row, kind="stable")[:top]
    folder = unicodedata.normalize("NFC", path.absolute().parent.name)
    own = folder if folder in names else ""
    return _Prediction(path, own, split, [(names[label], float(row[label])) for label in chosen])


def _show(predictions: Iterator[_Prediction], style: str) -> None:
    """Print predictions as they come, or write them when all are there."""
    if style == "text" and _OUTPUT.value is None:
        shown = []
        for one in predictions:
            say(one.text)
            shown.append(one)
        for line in _accuracy(shown):
            say(line)
        return
    found = list(predictions)
    text = {"text": _as_text, "csv": _as_csv, "json": _as_json}[style](found)
    if _OUTPUT.value is None:
        say(text.removesuffix("\n"))
    else:
        atomic.write_text(Path(_OUTPUT.value), text)
        say(f"{_OUTPUT.value}: predictions for {len(found):,} images")
    if style != "text":
        for line in _accuracy(found):  # To stderr: a program may read the predictions.
            say(line, sys.stderr)


def _accuracy(found: Sequence[_Prediction]) -> list[str]:
    """Return lines on the accuracy, in all and by class, if images have classes of their own."""
    known = [one for one in found if one.own]
    if not known:
        return []
    rights: dict[str, list[bool]] = {}
    for one in known:
        rights.setdefault(one.own, []).append(one.is_right)
    others = len(found) - len(known)
    rest = f"; {others:,} more are in folders not named after a class" if others else ""
    by_class = ", ".join(
        f"{name} {sum(all_of)} of {len(all_of)}" for name, all_of in rights.items()
    )
    right = sum(one.is_right for one in known)
    share = f"{100 * right / len(known):.1f} % ({right:,} of {len(known):,} images{rest})"
    lines = [f"Accuracy: {share}", f"By class: {by_class}"]
    splits: dict[str, list[bool]] = {}
    for one in known:
        splits.setdefault(one.split or "other", []).append(one.is_right)
    if set(splits) == {"other"}:
        return lines
    by_split = ", ".join(
        f"{split} {100 * sum(of) / len(of):.1f} % ({sum(of):,} of {len(of):,})"
        for split, of in ((split, splits[split]) for split in _SPLITS if split in splits)
    )
    return [*lines, f"By split of the network's own data set: {by_split}"]


def _as_text(found: Sequence[_Prediction]) -> str:
    return "".join(f"{line}\n" for line in (*(one.text for one in found), *_accuracy(found)))


def _as_csv(found: Sequence[_Prediction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, len(found[0].classes) + 1)
    heads = [f"{name}_{rank}" for rank in ranks for name in ("predicted", "probability")]
    if len(ranks) == 1:
        heads = ["predicted", "probability"]
    writer.writerow(["image", "class", "split", *heads])
    for one in found:
        cells = [cell for name, share in one.classes for cell in (name, f"{share:.6f}")]
        writer.writerow([one.image, one.own, one.split, *cells])
    return text.getvalue()


def _as_json(found: Sequence[_Prediction]) -> str:
    known = [one.is_right for one in found if one.own]
    rows = [
        {
            "image": str(one.image),
            "class": one.own or None,
            "split": one.split or None,
            "predicted": [
                {"class": name, "probability": round(share, 6)} for name, share in one.classes
            ],
        }
        for one in found
    ]
    accuracy = sum(known) / len(known) if known else None
    content = {"accuracy": accuracy, "images_of_known_class": len(known), "images": rows}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="IMAGE", several=True, optional=True)
