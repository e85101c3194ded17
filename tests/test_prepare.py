"""`experiments.prepare`, from the command line."""

import importlib.util
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from tensorflow_datasets.core.download import resource

from mnv2_jax import atomic, terminal
from tests.commands import run
from tests.data.images import fill, records, tree


@pytest.fixture(scope="module", autouse=True)
def libraries_are_imported():
    # Importing writes a cache of fonts, once: not in a folder that a test looks at.
    run("prepare", "--help")


def prepare(*flags):
    """Run the command: exit status, stdout, and stderr, which is one line at most."""
    status, out, err = run("prepare", *flags)
    assert err.count("\n") <= 1, err
    return status, out, err.removeprefix("python -m experiments.prepare: ").strip()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--dataset: expected a data set of TensorFlow Datasets, such as cifar10"),
        ("--dataset=cifar10 --data_dir=file", "--data_dir=file: it is a file; expected a folder"),
        ("--dataset=cifar_10", "--dataset=cifar_10: TFDS has no such data set; did you mean cifar"),
        ("--dataset=beans --data_dir=held", "--data_dir=held --dataset=beans: process "),
    ],
)
def test_wrong_flags_get_one_line_and_write_nothing(tmp_path, monkeypatch, flags, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    flags = [flag.replace("--data_dir=", f"--data_dir={tmp_path}/") for flag in flags.split()]
    with atomic.claimed(tmp_path / "held" / "beans", "held"):
        before = sorted(path for path in tmp_path.rglob("*"))
        status, _, err = prepare(*flags)
        assert sorted(path for path in tmp_path.rglob("*")) == before
    assert status == 2
    assert err.replace(f"{tmp_path}/", "").startswith(message)


def test_growth_is_printed_without_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.05)
    scandir = os.scandir

    def found(path):
        if Path(path).name == "renamed":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", found)
    (tmp_path / "renamed").mkdir()  # By TFDS, after it was listed and before it is looked into.
    (tmp_path / "old").write_bytes(bytes(5000))
    with terminal.show_growth([tmp_path, tmp_path / "none"]):
        (tmp_path / "new").write_bytes(bytes(2000))
        time.sleep(0.2)
    assert "at work for 0 s: 2 kB written\n" in capsys.readouterr().out


def downloaded(data_dir, name, url_infos, contents):
    """Write files where TFDS keeps its downloads, and mark their checksums as right."""
    for url, info in url_infos.items():
        path = data_dir / "downloads" / name / resource.get_dl_fname(url, info.checksum)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents(Path(url).stem))
        path.with_name(f"{path.name}.INFO").write_text("{}")


def food(data_dir):
    """Write Food-101, unpacked and with few images: unpacking takes TensorFlow."""
    import tensorflow_datasets as tfds

    downloaded(data_dir, "food101", tfds.builder_cls("food101").url_infos, lambda name: b"")
    (archive,) = data_dir.glob("downloads/food101/*.gz")
    unpacked = data_dir / "downloads" / "extracted" / f"TAR_GZ.{archive.name}" / "food-101"
    (unpacked / "meta").mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        names = {kind: [f"{kind}/{number}{n}" for n in "123"] for kind in ("ramen", "waffles")}
        (unpacked / "meta" / f"{split}.json").write_text(json.dumps(names))
        fill(unpacked / "images", *(f"{name}.jpg" for kind in names.values() for name in kind))
    return unpacked / "images"


def test_a_builder_of_tfds_that_needs_no_tensorflow(tmp_path):
    if shutil.disk_usage(tmp_path).free < 16e9:
        pytest.skip("Food-101 is refused: the disk is too full for all of it")
    images = food(tmp_path)
    # Left by a killed process.
    left = tmp_path / "food101" / "incomplete.ABCDEF_2.0.0"
    left.mkdir(parents=True)
    status, out, err = prepare("--dataset=food101", f"--data_dir={tmp_path}")
    assert (status, err) == (0, "")
    target = tmp_path / "food101" / "2.0.0"
    lines = out.splitlines()
    assert lines[0].startswith("Disk: about 15 GB are needed; ")
    assert lines[1] == "TFDS's own builder downloads what it needs, and makes records of it"
    assert lines[2] == f"{target}: done; images: train 6, validation 6"
    assert not left.exists()
    found = records(target) + records(target, "validation")
    assert {record["image"] for record in found} == set(tree(images).values())
    assert len({record["label"] for record in found}) == 2
    status, out, err = prepare("--dataset=food101", f"--data_dir={tmp_path}")
    assert (status, out, err) == (0, f"{target} is prepared already\n", "")


def test_a_builder_that_needs_tensorflow_says_how_to_install_it(tmp_path):
    import tensorflow_datasets as tfds

    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed")
    downloaded(tmp_path, "cifar10", tfds.builder_cls("cifar10").url_infos, lambda name: b"tar")
    status, _, err = prepare("--dataset=cifar10", f"--data_dir={tmp_path}")
    assert (status, err) == (
        2,
        "--dataset=cifar10: its builder needs TensorFlow, just to prepare it: "
        "pip install -e '.[prepare]'",
    )
    assert [path.name for path in (tmp_path / "cifar10").iterdir()] == [".lock"]


def test_a_wrong_checksum_of_a_download_is_an_error(tmp_path):
    (tmp_path / "by_hand").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "by_hand" / f"{split}.zip").write_bytes(b"no zip")
    flags = ("--dataset=beans", f"--data_dir={tmp_path}", f"--manual_dir={tmp_path}/by_hand")
    status, _, err = prepare(*flags)
    assert status == 2
    assert err.startswith("--dataset=beans: Artifact ")
    assert "by_hand/train.zip, has wrong checksum" in err
