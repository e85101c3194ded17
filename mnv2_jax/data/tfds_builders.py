"""Preparation of data sets by TFDS's own builders, as array_record.

Some builders need TensorFlow to prepare a data set; reading it does not.
"""

import contextlib
import difflib
import io
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnv2_jax import atomic

Builder = Any
"""A `tfds.core.DatasetBuilder`: TFDS is untyped."""

_INSTALL = "pip install -e '.[prepare]'"


def find(name: str, data_dir: Path, manual_dir: Path | None) -> Builder:
    """Find a builder.

    Args:
      name: NAME, or NAME/CONFIG.
      data_dir: folder of prepared data sets.
      manual_dir: folder of files that were downloaded by hand, if any.

    Raises:
      ValueError: there is no such builder, its data set has no images with labels, or it needs a
        manual folder.
    """
    import tensorflow_datasets as tfds

    match = re.fullmatch(r"(\w+)(?:/([\w+.-]+))?", name)
    if not match:
        raise ValueError(f"--dataset={name}: expected NAME or NAME/CONFIG, such as cifar10")
    builder_name, config = match.groups()
    names = tfds.list_builders(with_community_datasets=False)
    if builder_name not in names:
        close = difflib.get_close_matches(builder_name, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "its catalogue lists what it has"
        raise ValueError(f"--dataset={name}: TFDS has no such data set; {hint}")
    builder_class = tfds.builder_cls(builder_name)
    configs = sorted(builder_class.builder_configs)
    if config and config not in configs:
        raise ValueError(
            f"--dataset={name}: no such config; {builder_name} has {', '.join(configs) or 'none'}"
        )
    with _explained(name):
        builder = builder_class(data_dir=data_dir, config=config, file_format="array_record")
        features = set(builder.info.features or ())
    if not {"image", "label"} <= features:
        raise ValueError(
            f"--dataset={name}: it holds {', '.join(sorted(features))}; expected image and label"
        )
    if manual_dir is not None and not manual_dir.is_dir():
        raise ValueError(f"--manual_dir={manual_dir}: no such folder")
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and manual_dir is None and not prepared(builder):
        raise ValueError(
            f"--dataset={name}: it is to be downloaded by hand ({' '.join(instructions.split())}); "
            f"expected --manual_dir=DIR, the folder with the files"
        )
    return builder


def prepared(builder: Builder) -> bool:
    """Return whether the data set is prepared already."""
    return bool(builder.data_path.exists())


def bytes_needed(builder: Builder, manual_dir: Path | None) -> int | None:
    """Estimate the disk space for downloads, unpacked files and records: as much for each.

    TFDS knows the sizes of downloads only. Files downloaded by hand are on disk already, and mostly
    not unpacked: they count once, for the records.

    Returns:
      Bytes; None if TFDS does not know them, or only those of all configs together.
    """
    if manual_dir is not None:
        return sum(path.stat().st_size for path in manual_dir.rglob("*") if path.is_file())
    urls = builder.url_infos
    if not urls or builder.BUILDER_CONFIGS:
        return None
    return 3 * sum(info.size for info in urls.values())


def prepare(builder: Builder, data_dir: Path, manual_dir: Path | None, *, bars: bool) -> None:
    """Download and prepare a data set. Earlier downloads are used.

    Args:
      builder: result of `find`.
      data_dir: folder of prepared data sets; downloads go to `downloads` in it.
      manual_dir: as for `find`.
      bars: show TFDS's progress bars.

    Raises:
      ValueError: TensorFlow or another package is missing, or another process prepares the same.
      OSError: it cannot be downloaded or written, or files are not what TFDS expects.
    """
    import tensorflow_datasets as tfds

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It logs every retry.
    (tfds.enable_progress_bar if bars else tfds.disable_progress_bar)()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with atomic.claimed(data_dir / builder.name, f"--data_dir={data_dir} --dataset={builder.name}"):
        # Left by killed processes: the claim excludes running ones.
        for left in Path(builder.data_path).parent.glob(f"incomplete.*_{builder.version}"):
            shutil.rmtree(left)
        with _explained(builder.name), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=data_dir / "downloads", download_config=config
            )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn a builder's errors into errors that say what to do."""
    import requests
    from tensorflow_datasets.core import download
    from tensorflow_datasets.core.download import download_manager, extractor

    errors = (
        download.DownloadError,
        download_manager.NonMatchingChecksumError,
        extractor.ExtractError,
        extractor.UnsafeArchiveError,
        AssertionError,  # Files are missing from the manual folder.
        ImportError,
    )
    try:
        yield
    except requests.exceptions.RequestException as error:
        url = getattr(error.request, "url", "")
        raise OSError(
            f"--dataset={name}: {url} cannot be downloaded ({type(error).__name__}); expected a "
            f"network, or --manual_dir=DIR, a folder with the file"
        ) from error
    except errors as error:
        missing = _missing_package(error)
        if missing == "tensorflow":
            raise ValueError(
                f"--dataset={name}: its builder needs TensorFlow, just to prepare it: {_INSTALL}"
            ) from error
        if missing:
            message = f"--dataset={name}: its builder needs the package {missing}"
            raise ValueError(message) from error
        raise OSError(f"--dataset={name}: {error}") from error


def _missing_package(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__
    return None
