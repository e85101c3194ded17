"""A folder of images as a data set: records, fingerprint, and files that are bad or change."""

import hashlib
import os
import pickle
import re
import shutil
import signal

import pytest
from PIL import ExifTags, Image

from mnv2_jax import cache, terminal
from mnv2_jax.data import decode, image_checks, image_files
from tests.data.images import encoded, fill, tree

TWELVE = tuple(f"{kind}/{number}.png" for number in range(6) for kind in ("ant", "bee"))
"""Paths of two classes."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def twelve(tmp_path):
    fill(tmp_path / "in", *(f"train/{path}" for path in TWELVE))
    return tmp_path / "in"


def find(root, **options):
    return image_files.find(f"{root}/", lambda line: None, **options)


def stored(found, split="train"):
    records = found.records(split, "data.train")
    return [records[index] for index in range(len(records))]


def no_home():
    raise ValueError


def count_reads(monkeypatch):
    read = []
    original = image_checks.read

    def counted(root, file):
        read.append(file.path)
        return original(root, file)

    monkeypatch.setattr(image_checks, "read", counted)
    return read


def test_records_are_the_bytes_of_files_in_the_order_of_the_hash_of_their_path(twelve):
    found = find(twelve)
    assert (found.class_names, found.channels) == (("ant", "bee"), 3)
    paths = sorted(tree(twelve), key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    whole = stored(found)
    assert [record.where for record in whole] == paths
    assert {record.where: record.image for record in whole} == tree(twelve)
    assert [record.label for record in whole] == [int("bee" in path) for path in paths]
    assert stored(found, "train[:50%]") + stored(found, "train[50%:]") == whole
    files = found.records("train[2:]", "data.train")
    assert files.labels.tolist() == [record.label for record in whole[2:]]
    copy = pickle.loads(pickle.dumps(files))
    assert [copy[index] for index in range(len(copy))] == whole[2:]
    with pytest.raises(IndexError):
        files[10]


def test_the_splits_of_classes_alone_make_up_the_whole(tmp_path):
    fill(tmp_path / "in", *(f"ant/{number}.png" for number in range(40)))
    found = find(tmp_path / "in")
    assert [*found.splits] == ["train", "validation", "test"]
    assert {record.where for record in stored(found, "all")} == set(tree(tmp_path / "in"))
    with pytest.raises(ValueError, match=r"^config.data.test='tset': there is no split 'tset'; "):
        found.records("tset", "data.test")


def test_links_and_names_beyond_ascii(tmp_path):
    names = ("Löwe", "Ωmega", "ант", "蜂", "two words")
    fill(tmp_path / "in", *(f"train/{name}/bild ä.png" for name in names))
    fill(tmp_path / "far", "one.png")
    (tmp_path / "in" / "train" / "link").symlink_to(tmp_path / "far")
    found = find(tmp_path / "in")
    assert found.class_names == tuple(sorted([*names, "link"]))
    by_path = {record.where: record.label for record in stored(found)}
    assert by_path == {
        **{f"train/{name}/bild ä.png": found.class_names.index(name) for name in names},
        "train/link/one.png": found.class_names.index("link"),
    }


def test_files_are_found_from_another_current_folder(twelve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = image_files.find("in/", print).records("train", "data.train")
    monkeypatch.chdir("/")
    assert records[0].image


def test_the_fingerprint_is_that_of_the_content(twelve, tmp_path):
    first = find(twelve).fingerprint
    assert re.fullmatch("[0-9a-f]{12}", first)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(twelve, copy)
    for number, path in enumerate(sorted(copy.rglob("*.png"))):
        os.utime(path, (number, number))
    assert find(copy).fingerprint == first
    path = copy / "train" / TWELVE[3]
    data = path.read_bytes()
    path.write_bytes((copy / "train" / TWELVE[5]).read_bytes())
    changed = find(copy).fingerprint
    path.write_bytes(data)
    assert find(copy).fingerprint == first
    (copy / "train" / "bee").rename(copy / "train" / "fly")
    renamed = find(copy).fingerprint
    (copy / "train" / "fly").rename(copy / "train" / "bee")
    shutil.move(copy / "train", copy / "moved")
    for place in ("train", "test"):
        shutil.copytree(copy / "moved", copy / place)
    shutil.rmtree(copy / "moved")
    (copy / "train" / TWELVE[0]).unlink()
    in_two_splits = find(copy).fingerprint
    assert len({first, changed, renamed, in_two_splits}) == 4


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_rule_that_turns_images_is_part_of_what_holds_such(twelve, monkeypatch, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (2, 3)).save(twelve / "train" / "ant" / "photo.jpg", exif=exif)
    before = find(twelve).fingerprint
    monkeypatch.setattr(decode, "TURNING", "another rule")
    assert (find(twelve).fingerprint != before) == (orientation == 6)


def test_known_files_are_not_read_again(twelve, monkeypatch):
    read = count_reads(monkeypatch)
    first = find(twelve)
    assert sorted(read) == sorted(tree(twelve))
    read.clear()
    assert find(twelve) == first
    assert read == []
    path = twelve / "train" / "ant" / "0.png"
    path.write_bytes(encoded(99))
    fill(twelve, "train/bee/new.png")
    (twelve / "train" / "bee" / "1.png").unlink()
    assert find(twelve).fingerprint != first.fingerprint
    assert sorted(read) == ["train/ant/0.png", "train/bee/new.png"]


@pytest.mark.parametrize("damage", ["cut", "text", "gone", "unwritable", "no home"])
def test_a_cache_that_is_damaged_costs_time_only(twelve, monkeypatch, damage):
    first = find(twelve)
    (kept,) = (cache.folder() / "image_folders").glob("*.json")
    if damage == "cut":
        os.truncate(kept, 100)
    elif damage == "text":
        kept.write_text("[[1]]")
        kept.with_name(f"{kept.name}.sha256").unlink()
    else:
        shutil.rmtree(cache.folder())
    if damage == "unwritable":
        cache.folder().write_text("in the way")
    elif damage == "no home":
        monkeypatch.setattr(cache, "folder", no_home)
    read = count_reads(monkeypatch)
    assert find(twelve) == first
    assert len(read) == 12


def test_an_interrupted_check_resumes_and_prints_progress(twelve, monkeypatch):
    monkeypatch.setattr(image_checks, "_AT_ONCE", 2)
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    lines = []

    def interrupt(line):
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_files.find(f"{twelve}/", interrupt)
    assert re.fullmatch(r".*in/: 2 of 12 images checked, [\d,]+/s, \d+ s left", lines[0])
    read = count_reads(monkeypatch)
    found = find(twelve)
    assert len(read) == 10
    shutil.rmtree(cache.folder())
    assert found == find(twelve)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(encoded(99, side=9)), "it has changed"),
        (lambda path: os.utime(path, (1, 1)), "it has changed"),
        (lambda path: path.unlink(), "No such file or directory"),
    ],
)
def test_a_file_that_changes_after_the_folder_was_opened_is_refused(twelve, change, reason):
    records = find(twelve).records("train", "data.train")
    change(twelve / records[3].where)
    with pytest.raises(OSError, match=f"{reason}; expected images to stay as they were") as caught:
        [records[index] for index in range(12)]
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_while_it_is_checked_is_refused(twelve, monkeypatch):
    monkeypatch.setattr(image_checks, "read", lambda root, file: None)
    with pytest.raises(OSError, match=r"png: it changed while it was checked; run it again$"):
        find(twelve)


def spoil(root):
    """Makes eight files bad, in different ways, and gives their paths."""
    bad = {
        "train/ant/cut.jpg": encoded(3, "jpeg", side=64)[:-50],
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
    (root / "test/ant").mkdir()
    (root / "test/ant/circle.png").symlink_to("circle.png")
    return {*bad, "test/bee/link.png", "test/ant/circle.png"}


def test_one_error_names_all_bad_files(twelve):
    bad = spoil(twelve)
    for _ in range(2):  # Checked, then cached.
        with pytest.raises(ValueError, match=r"8 of 20 images cannot be decoded: ") as caught:
            find(twelve)
        message = str(caught.value)
        assert message.startswith(f"config.data.name='{twelve}/': ")
        assert message.endswith(" and 3 more; --on_corrupt=skip leaves them out")
        assert sum(path in message for path in bad) == 5
        assert "\n" not in message


def test_bad_files_that_may_be_skipped_are_records_with_a_problem(twelve):
    bad = spoil(twelve)
    fill(twelve, "test/ant/good.png")
    found = find(twelve, skip_corrupt=True)
    records = [*stored(found), *stored(found, "test")]
    assert {record.where for record in records if record.problem} == bad
    assert all((record.image == b"") == bool(record.problem) for record in records)
    problems = {record.where: record.problem for record in records}
    assert problems["train/ant/empty.png"] == "it is empty"
    assert problems["test/bee/link.png"] == "it cannot be read: No such file or directory"
    assert problems["test/ant/circle.png"] == (
        "it cannot be read: Too many levels of symbolic links"
    )
    assert "damaged or cut off" in problems["train/ant/cut.jpg"]


@pytest.mark.parametrize(("split", "kind"), [("train", "bee"), ("test", "ant")])
def test_a_class_whose_images_are_all_bad_is_refused(tmp_path, split, kind):
    fill(tmp_path / "in", "train/ant/1.png", "train/bee/1.png", "test/bee/1.png")
    (tmp_path / "in" / split / "bee" / "1.png").write_bytes(b"")
    message = rf"in/': in {split}, no image of class '{kind}' can be decoded; expected one or more"
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "in", skip_corrupt=True)


def test_a_file_that_could_not_be_read_is_checked_again(twelve):
    link = twelve / "train" / "ant" / "link.png"
    link.symlink_to("later")
    with pytest.raises(ValueError, match=r"1 of 13 images .*link.png \(it cannot be read: No such"):
        find(twelve)
    (twelve / "train" / "ant" / "later").write_bytes(encoded(5))
    os.utime(twelve / "train" / "ant" / "later", (0, 0))
    assert len(stored(find(twelve))) == 13


def test_pipes_and_devices_are_not_waited_for(twelve):
    os.mkfifo(twelve / "train" / "ant" / "pipe.png")
    (twelve / "train" / "ant" / "null.png").symlink_to("/dev/null")

    def too_late(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        found = find(twelve, skip_corrupt=True)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert [record[2:] for record in sorted(stored(found), key=lambda one: one.where)][6:8] == [
        (f"train/ant/{name}.png", "it cannot be read: it is no regular file")
        for name in ("null", "pipe")
    ]


def test_remarks_name_other_files_single_images_and_copies(tmp_path):
    fill(tmp_path / "in", *(f"train/ant/{number}.png" for number in range(3)), "train/bee/9.png")
    (tmp_path / "in" / "labels.csv").touch()
    fill(tmp_path / "in", "test/ant/a.png", "test/bee/b.png", "test/bee/c.png", "test/bee/d.png")
    for path, number in {"train/bee/9.png": 97, "test/ant/a.png": 98, "test/bee/d.png": 99}.items():
        (tmp_path / "in" / path).write_bytes(encoded(number))
    copies = {"test/bee/b.png": "train/ant/2.png", "test/bee/c.png": "train/bee/9.png"}
    for to, of in {**copies, "validation/bee/v.png": "test/bee/d.png"}.items():
        (tmp_path / "in" / to).parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(tmp_path / "in" / of, tmp_path / "in" / to)
    for _ in range(2):  # Checked, then cached.
        assert find(tmp_path / "in").remarks == (
            f"{tmp_path}/in/: classes: 2; images: train 4, validation 1, test 4",
            "Other files passed over (1): labels.csv",
            "Classes with a single image in train (1): bee",
            "test: 3 of its images are in an earlier split too, such as test/bee/b.png, which is "
            "train/ant/2.png",
        )


def test_images_within_a_split_may_be_equal(tmp_path):
    fill(tmp_path / "in", "train/ant/1.png", "train/ant/2.png", "test/ant/3.png", "test/ant/4.png")
    for split, number in (("train", 1), ("test", 3)):
        for path in (tmp_path / "in" / split / "ant").iterdir():
            path.write_bytes(encoded(number))
    assert len(find(tmp_path / "in").remarks) == 1
