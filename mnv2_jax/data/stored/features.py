"""Image and label among the features of a TFDS data set, and in a record."""

from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax import checksums

_TFDS = "tensorflow_datasets.core.features."
"""The package of TFDS's own classes of features."""

_FILE = ("file", "file_name")
"""The names of features that name an image's file: ours, ImageNet's."""


class Features(NamedTuple):
    """Names of a record's parts: image, label and, if there is one, its file."""

    image: str
    label: str
    file: str | None

    def parse(self, data: bytes) -> tuple[bytes, int, str]:
        """Return the image as it is stored, its label and its file (or nothing) out of a record.

        Args:
          data: a serialized `tf.train.Example`.

        Raises:
          ValueError: it is none, or has no image or no label.
        """
        # TFDS's copy of the format, which needs no TensorFlow; protobuf comes with TFDS.
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
    """Refuse a data set whose description TFDS is not to read.

    TFDS imports the module of any class that is named there, which runs its code; and it waits for
    what is no file, such as a pipe.

    Args:
      place: the folder of the data set.

    Raises:
      ValueError: it names a class that is not TFDS's own, or its `features.json` is damaged.
      OSError: something in the folder is no file, or `features.json` cannot be read.
    """
    for path in place.iterdir():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(f"{path.name}: expected a regular file")
    try:
        waiting = [checksums.read_json(place / "features.json")]
    except FileNotFoundError:  # TFDS says so.
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            # Two spellings of protobuf's JSON and, together with "content", that of older TFDS.
            keys = [
                "pythonClassName",
                "python_class_name",
                *(["type"] if "content" in value else []),
            ]
            for name in (value.get(key) for key in keys):
                if isinstance(name, str) and not name.startswith(_TFDS):
                    raise ValueError(
                        f"features.json: the class {name!r}; expected one of TFDS's own, {_TFDS}*"
                    )


def find(info: Any) -> Features:
    """Return the features that are image and label: those declared so, or the only ones.

    Args:
      info: TFDS's `DatasetInfo`.

    Raises:
      ValueError: that cannot be told; the message says what there is.
    """
    from tensorflow_datasets import features

    known = dict(info.features) if isinstance(info.features, features.FeaturesDict) else {}
    images = [
        name
        for name, feature in known.items()
        # Floating-point images are no pixels but bytes, four of them in the place of a colour.
        if isinstance(feature, features.Image) and feature.np_dtype != "float32"
    ]
    labels = [
        name
        for name, feature in known.items()
        if isinstance(feature, features.ClassLabel) and feature.num_classes
    ]
    file = next((name for name in _FILE if isinstance(known.get(name), features.Text)), None)
    match info.supervised_keys:
        case (image, label) if image in images and label in labels:
            return Features(image, label, file)
    if len(images) == len(labels) == 1:
        return Features(images[0], labels[0], file)
    told = ", ".join(
        f"{name} ({type(feature).__name__})" for name, feature in sorted(known.items())
    )
    raise ValueError(
        f"expected one image of whole numbers and one class label in a record; it has {told}"
    )
