"""Runs TFDS's own builders, into array_record. TFDS is imported where it is needed.

Some builders need TensorFlow to prepare a data set; none needs it to be read.
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
      data_dir: the folder of prepared data sets.
      manual_dir: where files lie that were downloaded by hand; None if none were.

    Raises:
      ValueError: there is no such builder, it is not of images with labels, or it needs a manual
        folder.
    """
    import tensorflow_datasets as tfds

    found = re.fullmatch(r"(\w+)(?:/([\w+.-]+))?", name)
    if not found:
        raise ValueError(f"--dataset={name}: expected NAME or NAME/CONFIG, such as cifar10")
    known = tfds.list_builders(with_community_datasets=False)
    if found[1] not in known:
        close = difflib.get_close_matches(found[1], known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "its catalogue lists what it has"
        raise ValueError(f"--dataset={name}: TFDS has no such data set; {hint}")
    make = tfds.builder_cls(found[1])
    configs = sorted(make.builder_configs)
    if found[2] and found[2] not in configs:
        raise ValueError(
            f"--dataset={name}: no such config; {found[1]} has {', '.join(configs) or 'none'}"
        )
    with _explained(name):
        builder = make(data_dir=data_dir, config=found[2], file_format="array_record")
        holds = set(builder.info.features or ())
    if not {"image", "label"} <= holds:
        raise ValueError(
            f"--dataset={name}: it holds {', '.join(sorted(holds))}; expected image and label"
        )
    if manual_dir is not None and not manual_dir.is_dir():
        raise ValueError(f"--manual_dir={manual_dir}: no such folder")
    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if by_hand and manual_dir is None and not prepared(builder):
        raise ValueError(
            f"--dataset={name}: it is to be downloaded by hand ({' '.join(by_hand.split())}); "
            f"expected --manual_dir=DIR, the folder with the files"
        )
    return builder


def prepared(builder: Builder) -> bool:
    """Return whether the data set is there already."""
    return bool(builder.data_path.exists())


def bytes_needed(builder: Builder, manual_dir: Path | None) -> int | None:
    """Bytes of disk for downloads, and as much again for each of what is unpacked and the records.

    Sizes of downloads are TFDS's own; what will be made of them it does not tell. Files downloaded
    by hand are there already, and are mostly read without being unpacked.

    Returns:
      The bytes; None where TFDS does not know, or knows of all configs together alone.
    """
    if manual_dir is not None:
        return sum(path.stat().st_size for path in manual_dir.rglob("*") if path.is_file())
    urls = builder.url_infos
    if not urls or builder.BUILDER_CONFIGS:
        return None
    return 3 * sum(info.size for info in urls.values())


def prepare(builder: Builder, data_dir: Path, manual_dir: Path | None, *, bars: bool) -> None:
    """Download and prepare a data set. What was downloaded before is not downloaded again.

    Args:
      builder: see `find`.
      data_dir: the folder of prepared data sets; downloads go to `downloads` in it.
      manual_dir: see `find`.
      bars: show TFDS's progress bars.

    Raises:
      ValueError: TensorFlow or another package is missing, files are not what TFDS expects, or
        another process is at work.
      OSError: it cannot be downloaded or written.
    """
    import tensorflow_datasets as tfds

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It tells every try to reach a host.
    (tfds.enable_progress_bar if bars else tfds.disable_progress_bar)()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with atomic.claimed(data_dir / builder.name, f"--data_dir={data_dir} --dataset={builder.name}"):
        # Of processes that were killed: nobody else is at work here.
        for left in Path(builder.data_path).parent.glob(f"incomplete.*_{builder.version}"):
            shutil.rmtree(left)
        with _explained(builder.name), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=data_dir / "downloads", download_config=config
            )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Make errors of a builder's ones that say what to do."""
    import requests
    from tensorflow_datasets.core import download
    from tensorflow_datasets.core.download import download_manager, extractor

    own = (
        download.DownloadError,
        download_manager.NonMatchingChecksumError,
        extractor.ExtractError,
        extractor.UnsafeArchiveError,
        AssertionError,  # Of files that are missing from the manual folder.
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
    except own as error:
        missing = _missing_package(error)
        if missing == "tensorflow":
            raise ValueError(
                f"--dataset={name}: its builder needs TensorFlow, just to prepare it: {_INSTALL}"
            ) from error
        if missing:
            raise ValueError(
                f"--dataset={name}: its builder needs the package {missing}"
            ) from error
        raise OSError(f"--dataset={name}: {error}") from error


def _missing_package(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__
    return None
