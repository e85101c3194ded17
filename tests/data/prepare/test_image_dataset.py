"""A folder of images as a data set: the same bytes, whatever happens on the way."""

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import ExifTags, Image

from mnv2_jax.data import decode
from mnv2_jax.data.prepare import image_dataset, image_folder, image_shards
from mnv2_jax.data.stored.records import find
from tests.data.images import encoded, fill, records, tree

CLASSES = ("ant", "bee")
TWELVE = [f"{kind}/{number}.png" for kind in CLASSES for number in range(6)]


def planned(root, data_dir):
    return image_shards.plan(image_folder.scan(root), "set", data_dir)


def prepare(root, data_dir, on_corrupt="fail", workers=1, progress=lambda done: None):
    plan = planned(root, data_dir)
    image_dataset.write(plan, on_corrupt, workers, progress)
    return plan.target


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(image_shards, "_SHARD_IMAGES", 8)
    monkeypatch.setattr(image_shards, "_LEAST_IMAGES", 4)


@pytest.fixture
def forty(tmp_path):
    """A folder of 40 images in two classes, which small shards make five of."""
    fill(tmp_path / "in", *(f"train/{kind}/{n}.png" for kind in CLASSES for n in range(20)))
    return tmp_path / "in"


def test_records_are_the_files_byte_for_byte(tmp_path):
    paths = [f"{split}/{path}" for split in ("train", "validation", "test") for path in TWELVE]
    kinds = ("a.JPG", "b.jpeg", "c.gif", "d.WebP", "e.bmp", "f.tif", "g.TIFF", "h.jpe", "i.JFIF")
    paths += [f"train/ant/{name}" for name in kinds]
    fill(tmp_path / "in", *paths)
    target = prepare(tmp_path / "in", tmp_path / "out")
    assert target == tmp_path / "out" / "set" / "1.0.0"
    found = {}
    for split in ("train", "validation", "test"):
        for record in records(target, split):
            path = record["file"].decode()
            assert path.split("/")[:2] == [split, CLASSES[record["label"]]]
            assert path not in found
            found[path] = record["image"]
    assert found == tree(tmp_path / "in")


def test_tfds_finds_it_and_decodes_it(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    prepare(tmp_path / "in", tmp_path / "out")
    source = tfds.data_source("set", split="train", data_dir=tmp_path / "out", download=False)
    record = source[0]
    number = TWELVE.index(record["file"].decode().removeprefix("train/"))
    assert record["image"].tolist() == np.full((2, 2, 3), (number, 0, 7)).tolist()
    builder = tfds.builder_from_directory(tmp_path / "out" / "set" / "1.0.0")
    assert builder.info.supervised_keys == ("image", "label")
    assert builder.info.splits["train"].num_examples == 12


def test_records_are_ordered_by_the_hash_of_their_path(tmp_path, small_shards, forty):
    target = prepare(forty, tmp_path / "out")
    files = [record["file"].decode() for record in records(target)]
    assert files == sorted(files, key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    assert len(list(target.glob("*.array_record-*"))) == 5
    assert [r["file"].decode() for r in records(target, "train[10:25]")] == files[10:25]
    labels = [record["label"] for record in records(target, "train[:50%]")]
    assert 5 <= sum(labels) <= 15


def test_names_beyond_ascii_survive(tmp_path):
    names = ("Löwe", "Ωmega", "ант", "蜂", "two words")
    fill(tmp_path / "in", *(f"train/{name}/bild ä.png" for name in names))
    target = prepare(tmp_path / "in", tmp_path / "out")
    label = tfds.builder_from_directory(target).info.features["label"]
    assert label.names == sorted(names)
    for record in records(target):
        assert record["file"].decode() == f"train/{label.names[record['label']]}/bild ä.png"


def test_links_are_followed(tmp_path):
    fill(tmp_path / "far", "one.png")
    (tmp_path / "in" / "train").mkdir(parents=True)
    (tmp_path / "in" / "train" / "ant").symlink_to(tmp_path / "far")
    fill(tmp_path / "in", "train/bee/0.png")
    (tmp_path / "in" / "train" / "bee" / "1.png").symlink_to(tmp_path / "far" / "one.png")
    target = prepare(tmp_path / "in", tmp_path / "out")
    files = {record["file"] for record in records(target)}
    assert files == {b"train/ant/one.png", b"train/bee/0.png", b"train/bee/1.png"}


def spoil(root):
    """Makes eight files bad, in different ways, and gives their paths."""
    good = encoded(3, "jpeg", side=64)
    bad = {
        "train/ant/cut.jpg": good[:-50],
        "train/ant/empty.png": b"",
        "train/bee/text.jpg": b"A bee.",
        "train/bee/half.png": encoded(4)[:40],
        "train/bee/noise.webp": bytes(range(256)),
        "test/bee/cut.gif": encoded(5, "gif")[:20],
    }
    for path, data in bad.items():
        (root / path).parent.mkdir(exist_ok=True, parents=True)
        (root / path).write_bytes(data)
    (root / "test/bee/link.png").symlink_to("nowhere")
    (root / "test/ant/circle.png").symlink_to("circle.png")
    return {*bad, "test/bee/link.png", "test/ant/circle.png"}


def test_bad_files_are_all_told_at_once_and_good_shards_kept(tmp_path, small_shards, forty):
    fill(forty, "test/ant/1.png", "test/bee/2.png")
    (forty / "train/ant/3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^1 of 42 images cannot be decoded: train/ant/3.png"):
        prepare(forty, tmp_path / "out")
    kept = tree(tmp_path / "out" / "set" / "1.0.0.incomplete" / "1.0.0")
    assert len(kept) == 6
    assert not (tmp_path / "out" / "set" / "1.0.0").exists()
    bad = spoil(forty)
    with pytest.raises(ValueError, match=r"^9 of 50 images") as error:
        prepare(forty, tmp_path / "out")
    told = str(error.value)
    assert "\n" not in told
    assert sum(path in told for path in bad | {"train/ant/3.png"}) == 5
    assert told.endswith(
        "and 4 more; --on_corrupt=skip leaves them out, or repair them and run it again: what is "
        "done is kept"
    )


def test_bad_files_are_left_out_and_listed(tmp_path, small_shards, forty):
    fill(forty, "test/ant/1.png", "test/bee/2.png")
    good = tree(forty)
    bad = spoil(forty)
    target = prepare(forty, tmp_path / "out", on_corrupt="skip")
    found: dict[str, bytes] = {}
    for split in ("train", "test"):
        found |= {record["file"].decode(): record["image"] for record in records(target, split)}
    assert found == good
    listed = json.loads((target / "skipped.json").read_text())
    assert {one["path"] for one in listed} == bad
    assert {"path": "train/ant/empty.png", "reason": "it is empty"} in listed
    reasons = {one["path"]: one["reason"] for one in listed}
    assert reasons["test/bee/link.png"] == "it cannot be read: No such file or directory"
    assert reasons["test/ant/circle.png"] == (
        "it cannot be read: Too many levels of symbolic links"
    )
    assert image_dataset.skipped(planned(forty, tmp_path / "out"))[0].path in bad


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    os.mkfifo(tmp_path / "in" / "train" / "ant" / "pipe.png")
    (tmp_path / "in" / "train" / "ant" / "null.png").symlink_to("/dev/null")

    def too_late(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        prepare(tmp_path / "in", tmp_path / "out", on_corrupt="skip")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    bad = image_dataset.skipped(planned(tmp_path / "in", tmp_path / "out"))
    assert sorted(bad) == [
        (f"train/ant/{name}.png", "it is no regular file") for name in ("null", "pipe")
    ]


def test_images_of_every_kind_are_kept_as_they_are(tmp_path):
    folder = tmp_path / "in" / "train" / "odd"
    folder.mkdir(parents=True)
    Image.new("L", (4, 4), 9).save(folder / "grey.jpg")
    Image.new("CMYK", (4, 4)).save(folder / "cmyk.jpg")
    Image.fromarray(np.full((3, 3), 40_000, np.uint16)).save(folder / "sixteen.png")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    target = prepare(tmp_path / "in", tmp_path / "out")
    found = {f"{record['file'].decode()}": record["image"] for record in records(target)}
    assert found == tree(tmp_path / "in")
    assert len(found) == 5


@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_good_left_is_refused(tmp_path, split):
    fill(tmp_path / "in", "train/ant/1.png", "train/bee/1.png", "test/bee/1.png")
    (tmp_path / "in" / split / "bee" / "1.png").write_bytes(b"")
    message = {
        "train": "class 'bee': none of its images in train can be decoded",
        "test": "test: none of its images can be decoded",
    }[split]
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "in", tmp_path / "out", on_corrupt="skip")


def test_a_shard_of_bad_files_alone_is_empty(tmp_path, small_shards, forty):
    shard = planned(forty, tmp_path / "out").shards[2]
    for file in shard.files:
        (forty / file.path).write_bytes(b"")
    target = prepare(forty, tmp_path / "out", on_corrupt="skip")
    files = [record["file"].decode() for record in records(target)]
    assert len(files) == 40 - len(shard.files)
    assert [r["file"].decode() for r in records(target, "train[3:30]")] == files[3:30]


def test_only_shards_of_changed_files_are_done_again(tmp_path, small_shards, forty):
    fill(forty, *(f"train/cow/{number}.png" for number in range(3)))
    (forty / "train/ant/3.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 43"):
        prepare(forty, tmp_path / "out")
    (forty / "train/ant/3.png").unlink()
    growing = tmp_path / "out" / "set" / "1.0.0.incomplete" / "1.0.0"
    before = {path.name: path.stat().st_ino for path in growing.iterdir()}
    progress: list[int] = []
    target = prepare(forty, tmp_path / "out", progress=progress.append)
    after = {path.name: path.stat().st_ino for path in target.glob("*.array_record*")}
    assert len(before) == len(after) == 5
    assert len(after.items() & before.items()) == 4
    assert 20 <= progress[0] < 42
    assert progress[-1] == 42
    fresh = prepare(forty, tmp_path / "fresh")
    assert tree(fresh) == tree(target)


@pytest.mark.parametrize("damage", ["data", "note", "nothing"])
def test_a_damaged_shard_is_done_again(tmp_path, small_shards, forty, damage):
    plan = planned(forty, tmp_path / "out")
    (forty / plan.shards[-1].files[0].path).write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 40"):
        prepare(forty, tmp_path / "out")
    shard = plan.shards[0]
    if damage == "data":
        os.truncate(plan.growing / shard.name, 1000)
    elif damage == "note":
        plan.note_path(shard).write_text("{")
    (plan.growing / "set-train.array_record-00000-of-00099").write_text("of an earlier plan")
    (plan.growing / f".{shard.name}.tmp").write_text("of a process that was killed")
    assert (plan.note(shard) is None) == (damage != "nothing")
    target = prepare(forty, tmp_path / "out", on_corrupt="skip")
    assert tree(target) == tree(prepare(forty, tmp_path / "fresh", on_corrupt="skip"))


def test_what_was_skipped_before_is_told_by_the_next(tmp_path, small_shards, forty):
    bad = planned(forty, tmp_path / "out").shards[0].files[0].path
    (forty / bad).write_bytes(b"")
    last = planned(forty, tmp_path / "out").shards[-1].files[-1].path

    def change(done):
        if done == 20:
            (forty / last).write_bytes(encoded(999))

    with pytest.raises(ValueError, match=rf"{last}: it changed while it was read; run it again"):
        prepare(forty, tmp_path / "out", on_corrupt="skip", progress=change)
    with pytest.raises(ValueError, match="1 of 40 images cannot be decoded"):
        prepare(forty, tmp_path / "out")


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, small_shards, forty, workers):
    fill(forty, "test/ant/1.png")
    spoil(forty)
    one = prepare(forty, tmp_path / "one", on_corrupt="skip")
    progress: list[int] = []
    many = prepare(forty, tmp_path / "many", "skip", workers, progress.append)
    assert tree(many) == tree(one)
    assert progress[0] == 0
    assert progress[-1] == 49
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_told(tmp_path, small_shards, forty):
    def kill(done):
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(OSError, match="a worker process has died"):
        prepare(forty, tmp_path / "out", workers=2, progress=kill)
    assert len(records(prepare(forty, tmp_path / "out"))) == 40


def test_a_full_disk_is_told(tmp_path, small_shards, forty):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"tmp: cannot be written \(.*File too large"):
            prepare(forty, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert len(records(prepare(forty, tmp_path / "out"))) == 40


def test_a_prepared_set_is_known_by_its_files(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    target = prepare(tmp_path / "in", tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    assert planned(tmp_path / "in", tmp_path / "out").prepared()
    prepare(tmp_path / "in", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "1.0.0"]
    (tmp_path / "in" / "train" / "ant" / "0.png").write_bytes(encoded(77))
    with pytest.raises(
        ValueError, match=r"^--name=set: .*1.0.0 is there already, .* another --name"
    ):
        prepare(tmp_path / "in", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_what_it_holds_is_known_by_its_bytes(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))

    def fingerprint(data_dir):
        prepare(tmp_path / "in", tmp_path / data_dir)
        return find("set", tmp_path / data_dir).fingerprint

    first = fingerprint("first")
    for path in (tmp_path / "in").rglob("*.png"):
        os.utime(path, (1, 1))  # As of a copy.
    assert fingerprint("copy") == first
    path = tmp_path / "in" / "train" / TWELVE[3]
    data = path.read_bytes()
    path.write_bytes((tmp_path / "in" / "train" / TWELVE[4]).read_bytes())
    changed = fingerprint("changed")
    assert changed != first
    path.write_bytes(data)
    (tmp_path / "in" / "train" / "bee").rename(tmp_path / "in" / "train" / "fly")
    assert fingerprint("renamed") not in (first, changed)


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_rule_that_turns_images_is_part_of_what_holds_such(tmp_path, monkeypatch, orientation):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (2, 3)).save(tmp_path / "in" / "train" / "ant" / "photo.jpg", exif=exif)
    note = prepare(tmp_path / "in", tmp_path / "out") / "source.json"
    written = json.loads(note.read_text())

    def depends():
        before = find("set", tmp_path / "out").fingerprint
        with monkeypatch.context() as patch:
            patch.setattr(decode, "TURNING", "another rule")
            return find("set", tmp_path / "out").fingerprint != before

    assert depends() == (orientation == 6)
    assert written.pop("turned") == int(orientation == 6)
    note.write_text(json.dumps(written))  # As when it was not looked for.
    assert depends()


def test_a_damaged_one_is_prepared_again_out_of_its_folder(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    target = prepare(tmp_path / "in", tmp_path / "out")
    (target / "features.json").write_text("{")
    with pytest.raises(OSError, match=rf"--images={tmp_path}/in --name=set --data_dir="):
        find("set", tmp_path / "out")


def test_a_new_class_is_another_set(tmp_path):
    # All labels behind it move, though no other file has changed.
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    first = planned(tmp_path / "in", tmp_path / "out")
    fill(tmp_path / "in", "train/aardvark/0.png")
    second = planned(tmp_path / "in", tmp_path / "out")
    assert first.shards[0].key != second.shards[0].key


def test_it_takes_no_more_disk_than_was_said(tmp_path, small_shards, forty):
    need = image_shards.bytes_needed(planned(forty, tmp_path / "out"))
    target = prepare(forty, tmp_path / "out")
    taken = sum(len(data) for data in tree(target).values())
    assert need / 4 < taken < need


def test_neither_jax_nor_tensorflow_is_imported(tmp_path):
    fill(tmp_path / "in", "train/ant/0.png")
    code = f"""
import sys
from pathlib import Path
from experiments import prepare
from mnv2_jax.data import decode
from mnv2_jax.data.prepare import image_dataset, image_folder, image_shards
folder = image_folder.scan(Path({str(tmp_path / "in")!r}))
plan = image_shards.plan(folder, "set", Path({str(tmp_path / "out")!r}))
image_dataset.write(plan, "fail", 1, lambda done: None)
assert "tensorflow_datasets" in sys.modules
assert not {{"jax", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
