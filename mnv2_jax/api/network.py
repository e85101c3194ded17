"""A trained network: its predictions, its cost, its weights, its export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image

from mnv2_jax import arch, checksums
from mnv2_jax.ablation import networks, workdir
from mnv2_jax.data import crops, folders, image_files, image_folder, splits
from mnv2_jax.data.decode import BadImage, decode, verify
from mnv2_jax.metrics import SPLITS
from mnv2_jax.nn import pieces as in_pieces
from mnv2_jax.nn import trained
from mnv2_jax.nn.cost import Cost, network_cost
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import prediction, setup

Images = np.ndarray | str | Path | Sequence[str | Path]


def load(run: str | Path) -> "TrainedNetwork":
    """Load a trained network.

    Args:
      run: a network.safetensors, the folder of its run, or the folder of an experiment, whose
        network with the best validation accuracy is loaded; local, gs:// or s3://.

    Raises:
      ValueError: there is none, or it is damaged; one line that begins with the path.
    """
    setup.begin(keep_programs=False)
    where = str(run)
    files = ("config.json", "result.json", trained.FILE)
    with workdir.seen(where.removesuffix(f"/{trained.FILE}"), "", files) as here:
        try:
            file = networks.find(here.path if "://" in where else Path(run))
            network = trained.load(file)
        except ValueError as error:
            raise ValueError(here.shown(error)) from None
        is_best = file.parent.parent.parent == here.path
        best_of = here.shown(here.path) if is_best else ""
        return TrainedNetwork(network, here.shown(file), best_of)


class TrainedNetwork:
    """A trained network with its preprocessing of images.

    Attributes:
      trained: the content of the file.
      path: of the file.
      best_of: the folder of the experiment whose best network it is; "" if it was named itself.
    """

    def __init__(self, trained: Trained, path: str = "", best_of: str = "") -> None:
        self.trained = trained
        self.path = path
        self.best_of = best_of
        self._size = 0
        self._programs: dict[in_pieces.Pieces | None, prediction.Logits] = {}

    @property
    def spec(self) -> arch.NetworkSpec:
        """The network as data."""
        return self.trained.spec

    @property
    def variables(self) -> dict[str, Any]:
        """`{"params": ..., "batch_stats": ...}`, float32 arrays on the host."""
        return self.trained.variables

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of classes, by label."""
        return self.trained.class_names

    def cost(self) -> Cost:
        """Count parameters, multiply-adds and activation memory, for one image."""
        return network_cost(self.spec)

    def predict(
        self, images: Images, batch_size: int = 256, pieces: str = in_pieces.WHOLE
    ) -> np.ndarray:
        """Compute the probability of each class.

        Args:
          images: uint8 `[batch, height, width, channels]`, 0 to 255, or paths of image files; those
            of another size than the network's are cropped and resized as in evaluation.
          batch_size: how many are held in memory at a time; the last batch is padded.
          pieces: compute blocks piece by piece, in less memory: "channels:3", "channels:t" (as many
            groups as the expansion) or "patches:2"; see `mnv2_jax.nn.pieces`.

        Returns:
          float32 `[batch, classes]`, in the order of `class_names`; rows sum to 1.

        Raises:
          ValueError: an array has another type or shape, an image cannot be decoded, or `pieces`
            is none of these.
          OSError: a file cannot be read.
        """
        setup.begin(keep_programs=False)
        logits = self._logits(in_pieces.parse(pieces))
        arch.check_whole("batch_size", batch_size)
        if isinstance(images, str | Path):
            images = [images]
        count = len(images)
        if isinstance(images, np.ndarray):
            self._check(images)
        # Each batch size is compiled: a smaller batch is padded to that of an earlier call.
        earlier = self._size if self._size <= batch_size else 0
        size = self._size = max(min(batch_size, count), earlier)
        results = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, count, batch_size):
            chosen = images[start : start + batch_size]
            batch = np.zeros((size, *self.spec.input_shape), np.uint8)
            for place, image in zip(batch, chosen, strict=False):
                place[:] = self.view(image)
            probabilities = jax.device_get(prediction.probabilities(logits(batch)))
            results.append(probabilities[: len(chosen)])
        return np.concatenate(results)

    def classify(self, images: Images, batch_size: int = 256) -> list[str]:
        """Name the most probable class of each image; see `predict`."""
        return [
            self.class_names[label] for label in self.predict(images, batch_size).argmax(axis=1)
        ]

    def view(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Crop and resize an image as in evaluation: uint8 `[resolution, resolution, channels]`.

        Args:
          image: a file, or uint8 `[height, width, channels]`; one of the network's size is returned
            as it is.

        Raises:
          ValueError: the file cannot be decoded; the message begins with its path.
          OSError: it cannot be read.
        """
        if isinstance(image, np.ndarray):
            if image.shape == self.spec.input_shape:
                return image
            is_grey = image.shape[-1] == 1
            picture = PIL.Image.fromarray(image[..., 0] if is_grey else image)
        else:
            picture = self._decoded(Path(image))
        return crops.evaluation_crop(picture, self.spec.resolution, self.trained.crop_fraction)

    def splits(self) -> dict[Path, str]:
        """Return the images of its own data set, if that is a folder: by absolute path, the split.

        Of another data set, and where the folder or the config of the run is not there any more,
        none are known.
        """
        try:
            config = checksums.read_json(Path(self.path).parent / "config.json")
            name = str(config["data"]["name"])
            if not folders.is_path(name):
                return {}
            if config["data"].get("split") == "per_seed":
                return self._drawn_splits(config["seed"], config["data"])
            folder = image_folder.scan(folders.path(name))
        except (OSError, ValueError, LookupError, TypeError):
            return {}
        return {
            (folder.root / file.path).absolute(): split
            for split, files in folder.splits.items()
            for file in files
        }

    def _drawn_splits(self, seed: int, data: Mapping[str, Any]) -> dict[Path, str]:
        """Return `splits` where they were drawn; none if the folder has changed since."""
        found = image_files.find(data["name"], lambda line: None, skip_corrupt=True)
        recorded = checksums.read_json(Path(self.path).parent / "environment.json")
        if found.fingerprint != recorded["data"]:
            return {}
        parts = [found.records(data[split], f"data.{split}") for split in SPLITS]
        files = [file for part in parts for file in part.files]
        drawn = splits.drawn(seed, [part.labels for part in parts], found.class_names)
        return {
            (found.folder.root / files[place].path).absolute(): split
            for split, places in zip(SPLITS, drawn, strict=True)
            for place in places
        }

    def export(self, pieces: str = in_pieces.WHOLE) -> bytes:
        """Return the network as StableHLO; see `mnv2_jax.train.prediction.export`.

        Args:
          pieces: see `predict`.

        Raises:
          ValueError: `pieces` is wrong, or the network cannot be exported.
        """
        setup.begin(keep_programs=False)
        return prediction.export(self.trained, in_pieces.parse(pieces))

    def _logits(self, pieces: in_pieces.Pieces | None) -> prediction.Logits:
        if pieces not in self._programs:
            self._programs[pieces] = prediction.logits(self.trained, pieces)
        return self._programs[pieces]

    def _decoded(self, path: Path) -> PIL.Image.Image:
        try:
            data = path.read_bytes()
            verify(data)
            return decode(data, self.spec.in_channels)
        except BadImage as error:
            raise ValueError(f"{path}: {error}") from None

    def _check(self, images: np.ndarray) -> None:
        channels = self.spec.in_channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels:
            raise ValueError(
                f"images: {images.dtype}{list(images.shape)}; expected uint8 [batch, height, "
                f"width, {channels}], 0 to 255"
            )
