"""`experiments.prepare`, from the command line."""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from tensorflow_datasets.core.download import resource

from experiments import prepare_progress
from mnv2_jax import atomic
from mnv2_jax.data.prepare import image_dataset, image_folder, image_shards
from mnv2_jax.terminal import Console
from tests.commands import ROOT, run
from tests.data.images import encoded, fill, records, tree


@pytest.fixture(scope="module", autouse=True)
def libraries_are_imported():
    # The process that commands are forked from makes a cache for fonts as it imports, once, and not
    # in a folder that a test looks at.
    run("prepare", "--help")


def prepare(*flags):
    """What a user sees: exit status, stdout, and stderr, which is one line at most."""
    status, out, err = run("prepare", *flags)
    assert err.count("\n") <= 1, err
    return status, out, err.removeprefix("python -m experiments.prepare: ").strip()


def test_a_folder_becomes_a_data_set_once(tmp_path):
    paths = [f"train/{kind}/{n}.png" for kind in ("ant", "Löwe") for n in range(2)]
    fill(tmp_path / "in", *paths, "test/ant/9.jpg")
    (tmp_path / "in" / "labels.csv").touch()
    flags = (f"--images={tmp_path}/in", "--name=two", f"--data_dir={tmp_path}/out")
    status, out, err = prepare(*flags)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path}/in: classes: 2; files: train 4, test 1"
    assert lines[1] == "Other files passed over (1): labels.csv"
    assert lines[2].startswith("Disk: at most ")
    assert lines[3].startswith("0 of 5 images")
    assert lines[-1].startswith(f"{tmp_path}/out/two/1.0.0: done in ")
    target = tmp_path / "out" / "two" / "1.0.0"
    assert {record["file"].decode() for record in records(target)} == set(paths)
    status, out, err = prepare(*flags)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"{target} is prepared from these files already"
    fill(tmp_path / "in", "train/ant/7.png")
    before = tree(target)
    status, _, err = prepare(*flags)
    assert status == 2
    assert err.startswith(f"--name=two: {target} is there already, prepared from other files, or ")
    assert tree(target) == before


def test_classes_with_one_image_to_train_on_are_told(tmp_path):
    fill(tmp_path / "in", "train/ant/1.png", "train/bee/1.png", "train/bee/2.png", "test/ant/2.png")
    flags = (f"--images={tmp_path}/in", "--name=one", f"--data_dir={tmp_path}/out")
    status, out, err = prepare(*flags)
    assert (status, err) == (0, "")
    assert out.splitlines()[1] == "Classes with a single image in train (1): ant"


def test_images_that_are_in_several_splits_are_told(tmp_path):
    fill(tmp_path / "in", *(f"train/{kind}/{n}.png" for kind in ("ant", "bee") for n in range(3)))
    fill(tmp_path / "in", "test/ant/a.png", "test/bee/b.png", "test/bee/c.png", "test/bee/d.png")
    (tmp_path / "in/test/ant/a.png").write_bytes(encoded(98))
    (tmp_path / "in/test/bee/d.png").write_bytes(encoded(99))
    copies = {"test/bee/b.png": "train/ant/2.png", "test/bee/c.png": "train/bee/0.png"}
    for to, of in {**copies, "validation/bee/v.png": "test/bee/d.png"}.items():
        (tmp_path / "in" / to).parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(tmp_path / "in" / of, tmp_path / "in" / to)
    (tmp_path / "in/train/ant/bad.png").write_bytes(b"")
    flags = (f"--images={tmp_path}/in", "--name=one", f"--data_dir={tmp_path}/out")
    for _ in range(2):  # As it is prepared, and where it is already.
        status, out, err = prepare(*flags, "--on_corrupt=skip")
        assert (status, err) == (0, "")
        assert out.splitlines()[-2] == (
            "test: 3 of its images are in an earlier split too, such as test/bee/b.png, which is "
            "train/ant/2.png"
        )


def test_copies_are_told_where_the_splits_are_drawn(tmp_path):
    paths = [f"ant/{number}.png" for number in range(40)]
    fill(tmp_path / "in", *paths)
    for path in paths:
        (tmp_path / "in" / path).write_bytes(encoded(0))
    flags = (f"--images={tmp_path}/in", "--name=one", f"--data_dir={tmp_path}/out")
    status, out, err = prepare(*flags)
    assert (status, err) == (0, "")
    told = [line for line in out.splitlines() if "of its images are in an earlier split" in line]
    assert [line.partition(":")[0] for line in told] == ["validation", "test"]


def test_images_within_a_split_may_be_equal(tmp_path):
    fill(tmp_path / "in", "train/ant/1.png", "train/ant/2.png", "test/ant/3.png", "test/ant/4.png")
    for split, number in (("train", 1), ("test", 3)):
        for path in (tmp_path / "in" / split / "ant").iterdir():
            path.write_bytes(encoded(number))
    status, out, err = prepare(
        f"--images={tmp_path}/in", "--name=one", f"--data_dir={tmp_path}/out"
    )
    assert (status, err) == (0, "")
    assert "earlier split" not in out


def test_bad_files_end_it_unless_they_are_to_be_skipped(tmp_path):
    fill(tmp_path / "in", "train/ant/1.png", "train/ant/2.png")
    (tmp_path / "in" / "train/ant/3.png").write_bytes(b"")
    flags = (f"--images={tmp_path}/in", "--name=one", f"--data_dir={tmp_path}/out")
    status, _, err = prepare(*flags)
    assert status == 2
    assert err.startswith("1 of 3 images cannot be decoded: train/ant/3.png (it is empty); ")
    status, out, err = prepare(*flags, "--on_corrupt=skip")
    assert (status, err) == (0, "")
    target = tmp_path / "out" / "one" / "1.0.0"
    assert out.splitlines()[-1] == (
        f"1 left out: train/ant/3.png (it is empty); all are listed in {target}/skipped.json"
    )
    assert len(records(target)) == 2


def test_the_default_place_is_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "in", "train/ant/1.png")
    status, _, err = prepare(f"--images={tmp_path}/in", "--name=one")
    assert (status, err) == (0, "")
    assert (tmp_path / "cache/mnv2_jax/datasets/one/1.0.0/dataset_info.json").exists()


EITHER = "expected either --images=DIR --name=NAME, for a folder, or --dataset=NAME"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", EITHER),
        ("--name=x", EITHER),
        ("--images=in --dataset=cifar10", EITHER),
        ("--images=in", "--name: it is missing; "),
        ("--images=in --name=X", "--name=X: expected lower-case letters, digits and _"),
        ("--images=in --name=x --data_dir=in/out", "--data_dir=in/out: it lies in --images=in"),
        ("--images=in --name=x --manual_dir=in", "--manual_dir=in: it goes with --dataset alone"),
        ("--images=none --name=x", "--images=none: no such folder"),
        (
            "--images=lone --name=x",
            "lone/ant: images of class 'ant': 1; expected 3 or more, which a hash of their paths "
            "splits into train, validation and test, or folders of these names",
        ),
        ("--images=in --name=x --on_corrupt=no", "flag --on_corrupt=no: value should be one of"),
        (
            "--images=in --name=x --data_dir=file",
            "--data_dir=file: it is a file; expected a folder",
        ),
        ("--images=in --name=x --data_dir=held", "--data_dir=held --name=x: process "),
        ("--images=huge --name=x", "--data_dir="),
        ("--dataset=cifar10 --name=x", "--name=x: it goes with --images alone"),
        ("--dataset=cifar10 --on_corrupt=fail", "--on_corrupt=fail: it goes with --images alone"),
        ("--dataset=cifar_10", "--dataset=cifar_10: TFDS has no such data set; did you mean cifar"),
    ],
)
def test_wrong_flags_get_one_line_and_write_nothing(tmp_path, monkeypatch, flags, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "in", "train/ant/1.png")
    fill(tmp_path / "lone", "ant/1.png")
    fill(tmp_path / "huge", "train/ant/1.png")
    os.truncate(tmp_path / "huge/train/ant/1.png", 2**43)  # Sparse: it takes no room.
    (tmp_path / "file").touch()
    flags = [
        f"{name}={tmp_path / value}" if name in ("--images", "--data_dir", "--manual_dir") else flag
        for flag in flags.split()
        for name, _, value in [flag.partition("=")]
    ]
    with atomic.claimed(tmp_path / "held" / "x", "held"):
        before = sorted(path for path in tmp_path.rglob("*"))
        status, _, err = prepare(*flags)
        assert sorted(path for path in tmp_path.rglob("*")) == before
    assert status == 2
    assert err.replace(f"{tmp_path}/", "").startswith(message)
    if "huge" in message:
        assert "at most 8,796 GB are needed" in err


def test_growth_is_told_without_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare_progress, "_SECONDS_BETWEEN_LINES", 0.05)
    scandir = os.scandir

    def found(path):
        if Path(path).name == "renamed":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", found)
    (tmp_path / "renamed").mkdir()  # By TFDS, after it was listed and before it is looked into.
    (tmp_path / "old").write_bytes(bytes(5000))
    with prepare_progress.show_growth([tmp_path, tmp_path / "none"]):
        (tmp_path / "new").write_bytes(bytes(2000))
        time.sleep(0.2)
    assert "at work for 0 s: 2 kB written\n" in capsys.readouterr().out


def five_shards(root):
    """As many images as make five shards."""
    for kind in ("ant", "bee"):
        (root / "train" / kind).mkdir(parents=True)
    for number in range(2600):
        path = root / "train" / ("ant", "bee")[number % 2] / f"{number}.png"
        path.write_bytes(encoded(number))


def test_killed_it_goes_on_to_the_same_bytes(tmp_path):
    five_shards(tmp_path / "in")
    command = [sys.executable, "-m", "experiments.prepare", f"--images={tmp_path}/in", "--name=set"]
    killed = [*command, f"--data_dir={tmp_path}/killed"]
    process = subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.DEVNULL)
    staging = tmp_path / "killed" / "set" / "1.0.0.incomplete"
    while not list(staging.glob("notes/*.json")) and process.poll() is None:
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    done = {path.stem: path.stat().st_mtime_ns for path in staging.glob("notes/*.json")}
    assert 1 <= len(done) < 5
    target = tmp_path / "killed" / "set" / "1.0.0"
    assert not target.exists()
    subprocess.run(killed, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for name, noted in done.items():
        assert (target / name).stat().st_mtime_ns <= noted  # Not written again.
    plan = image_shards.plan(image_folder.scan(tmp_path / "in"), "set", tmp_path / "fresh")
    image_dataset.write(plan, "fail", 1, lambda done: None)
    assert tree(target) == tree(plan.target)
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "1.0.0"]
    found = {record["file"].decode(): record["image"] for record in records(target)}
    assert found == tree(tmp_path / "in")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_again_and_again_it_ends_with_its_workers(tmp_path, stop):
    five_shards(tmp_path / "in")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.prepare", f"--images={tmp_path}/in"),
            *("--name=set", f"--data_dir={tmp_path}"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.glob("set/1.0.0.incomplete/notes/*.json")) and process.poll() is None:
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children(recursive=True)
    for _ in range(3):
        process.send_signal(stop)
        time.sleep(0.005)
    process.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert (len(workers) > 1, alive) == (True, [])
    # It may have ended before it heard; what is there is whole.
    target = tmp_path / "set" / "1.0.0"
    assert not target.exists() or (target / "dataset_info.json").exists()


def downloaded(data_dir, name, url_infos, contents):
    """Puts files where TFDS keeps what it has downloaded, and says their checksums were right."""
    for url, info in url_infos.items():
        path = data_dir / "downloads" / name / resource.get_dl_fname(url, info.checksum)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents(Path(url).stem))
        path.with_name(f"{path.name}.INFO").write_text("{}")


def food(data_dir):
    """Food-101 as it is unpacked, with few images: unpacking takes TensorFlow."""
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
    # What a process leaves that was killed.
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


def test_a_download_that_is_not_what_it_should_be_is_told(tmp_path):
    (tmp_path / "by_hand").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "by_hand" / f"{split}.zip").write_bytes(b"no zip")
    flags = ("--dataset=beans", f"--data_dir={tmp_path}", f"--manual_dir={tmp_path}/by_hand")
    status, _, err = prepare(*flags)
    assert status == 2
    assert err.startswith("--dataset=beans: Artifact ")
    assert "by_hand/train.zip, has wrong checksum" in err


def test_progress_tells_speed_and_what_is_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(prepare_progress.time, "perf_counter", lambda: clock[0])
    out = io.StringIO()
    with prepare_progress.show_progress(Console(file=out, width=100), 1000) as progress:
        for seconds, done in ((0.0, 100), (0.5, 150), (5.0, 350), (6.0, 400), (10.0, 600)):
            clock[0] = seconds
            progress(done)
    assert out.getvalue().splitlines() == [
        "100 of 1,000 images",
        "350 of 1,000 images, 50 images/s, about 13 s left",
        "600 of 1,000 images, 50 images/s, about 8 s left",
    ]


def test_a_terminal_gets_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with prepare_progress.show_progress(console, 10) as progress:
        progress(0)
        progress(10)
    assert "10 of 10 images" in out.getvalue()
    assert "━━━━" in out.getvalue()
