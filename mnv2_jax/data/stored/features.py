"""Image and label in the features of a TFDS data set, and in its records."""

from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax import checksums

_TFDS = "tensorflow_datasets.core.features."
"""Package of TFDS's own feature classes."""

_FILE = ("file", "file_name")
"""Names of features that hold the name of an image's file: this project's, ImageNet's."""


class Features(NamedTuple):
    """Names of the features that are image, label and, if there is one, name of the file."""

    image: str
    label: str
    file: str | None

    def parse(self, data: bytes) -> tuple[bytes, int, str]:
        """Return encoded image, label and file name (or "") of a serialized `tf.train.Example`.

        Raises:
          ValueError: it is no such record, or has no image or no label.
        """
        # TFDS's copy of the format needs no TensorFlow.
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            stored = tf_example_pb2.Example.FromString(data).features.feature
            image = stored[self.image].bytes_list.value[0]
            label = stored[self.label].int64_list.value[0]
        except (DecodeError, IndexError):
            raise ValueError(
                f"expected {self.image!r} and {self.label!r} in the record; found neither, or "
                "damaged"
            ) from None
        files = stored[self.file].bytes_list.value if self.file else ()
        return image, label, files[0].decode(errors="replace") if files else ""


def check_description(place: Path) -> None:
    """Refuse a data set whose description is unsafe for TFDS to read.

    TFDS imports, and so runs, the module of any class that `features.json` names, and blocks on
    pipes.

    Raises:
      ValueError: `features.json` names a class that is not TFDS's own, or is damaged.
      OSError: a path in the folder is no regular file, or `features.json` cannot be read.
    """
    for path in place.iterdir():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(f"{path.name}: expected a regular file")
    try:
        pending = [checksums.read_json(place / "features.json")]
    except FileNotFoundError:  # TFDS reports it.
        return
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            # Two spellings of protobuf's JSON and, together with "content", that of older TFDS.
            keys = ["pythonClassName", "python_class_name", *["type"] * ("content" in value)]
            for name in map(value.get, keys):
                if isinstance(name, str) and not name.startswith(_TFDS):
                    raise ValueError(
                        f"features.json: the class {name!r}; expected one of TFDS's own, {_TFDS}*"
                    )


def find(info: Any) -> Features:
    """Return the features that are image and label: the supervised keys, or the only ones.

    Args:
      info: TFDS's `DatasetInfo`.

    Raises:
      ValueError: there are none, or several; the message lists the features.
    """
    from tensorflow_datasets import features

    by_name = dict(info.features) if isinstance(info.features, features.FeaturesDict) else {}
    images = [
        name
        for name, feature in by_name.items()
        # TFDS stores a floating-point image as bytes, four to a channel: not as pixels.
        if isinstance(feature, features.Image) and feature.np_dtype != "float32"
    ]
    labels = [
        name
        for name, feature in by_name.items()
        if isinstance(feature, features.ClassLabel) and feature.num_classes
    ]
    file = next((name for name in _FILE if isinstance(by_name.get(name), features.Text)), None)
    match info.supervised_keys:
        case (image, label) if image in images and label in labels:
            return Features(image, label, file)
    if len(images) == len(labels) == 1:
        return Features(images[0], labels[0], file)
    listed = ", ".join(
        f"{name} ({type(feature).__name__})" for name, feature in sorted(by_name.items())
    )
    raise ValueError(
        f"expected one image of whole numbers and one class label in a record; it has {listed}"
    )
