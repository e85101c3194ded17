import json
import os
import pickle
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data import decode
from mnv2_jax.data.stored import prepared
from tests.data import made

COUNTS = {"train": (3, 0, 5, 2), "test": (4,)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    return folder, made.stock(folder, images_per_split=20)


@pytest.fixture(scope="module")
def handmade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handmade")
    return folder, made.tfrecord(folder, counts=COUNTS)


@pytest.fixture(params=["stock", "handmade"])
def copied(request, tmp_path):
    """A data set of each format, to be spoilt: its folder, its name and its training files."""
    folder, _ = request.getfixturevalue(request.param)
    name = {"stock": "food101", "handmade": "patches"}[request.param]
    shutil.copytree(folder / name, tmp_path / "data" / name)
    paths = sorted((tmp_path / "data" / name).glob(f"*/{name}-train.*"))
    return tmp_path / "data", name, [path for path in paths if path.stat().st_size]


def stored(found, split="train"):
    return [(record.image, record.label) for record in found.records(split, "data.train")]


def test_a_data_set_of_tfds(stock):
    folder, put = stock
    found = prepared.find("food101", folder)
    assert found.file_format == "array_record"
    assert found.folder == folder / "food101" / "2.0.0"
    names = found.class_names
    assert (len(names), names[0], names[100]) == (101, "apple_pie", "waffles")
    assert found.channels == 3
    assert set(put) == {"train", "validation"}
    for split, expected in put.items():
        assert sorted(stored(found, split)) == sorted(expected)


def test_a_data_set_in_tfrecord(handmade):
    folder, put = handmade
    found = prepared.find("patches:1.0.0", folder)
    assert found.file_format == "tfrecord"
    assert found.class_names == tuple("0123456789")
    for split, expected in put.items():
        assert stored(found, split) == expected


def test_both_formats_are_read_as_tfds_reads_them(stock, handmade):
    # TFDS's own reader of array_record, and its own parser of records for TFRECORD.
    found = prepared.find("food101", stock[0])
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder = tfds.builder_from_directory(found.folder)
    source = builder.as_data_source("train[5:]", decoders=decoders)
    expected = [(record["image"], record["label"]) for record in source]
    assert stored(found, "train[5:]") == expected
    image, label = handmade[1]["train"][0]
    features = tfds.builder_from_directory(handmade[0] / "patches" / "1.0.0").info.features
    parsed = features.deserialize_example_np(made.example(image, label), decoders=decoders)
    assert (parsed["image"], parsed["label"]) == (image, label)


def test_a_record_says_where_it_is_in_the_whole_split(handmade):
    found = prepared.find("patches", handmade[0])
    part = found.records("train[70%:]+test[1:]", "data.train")
    assert [record.where for record in part] == [
        *(f"patches/train, record {number}" for number in (7, 8, 9)),
        *(f"patches/test, record {number}" for number in (1, 2, 3)),
    ]


@st.composite
def parts(draw):
    """A split, the unit of a slice of it, and where that begins and ends."""
    split = draw(st.sampled_from(sorted(COUNTS)))
    unit = draw(st.sampled_from(["", "%"]))
    most = 100 if unit else sum(COUNTS[split])
    bound = st.none() | st.integers(-most, most)
    return split, unit, draw(bound), draw(bound)


@given(st.lists(parts(), min_size=1, max_size=3))
def test_parts_of_splits_are_those_of_the_full_listing(handmade, chosen):
    folder, put = handmade
    texts, slices = [], []
    for split, unit, first, last in chosen:
        count = len(put[split])
        written = ["" if bound is None else f"{bound}{unit}" for bound in (first, last)]
        texts.append(f"{split}[{':'.join(written)}]" if any(written) else split)
        if unit:
            first, last = (bound and round(bound * count / 100) for bound in (first, last))
        slices.append((split, *slice(first, last).indices(count)[:2]))
    found = prepared.find("patches", folder)
    if any(first > last for _, first, last in slices) or all(
        first == last for _, first, last in slices
    ):
        with pytest.raises(ValueError, match=r"ends before it begins|there are no records"):
            stored(found, "+".join(texts))
    else:
        assert stored(found, "+".join(texts)) == [
            pair for split, first, last in slices for pair in put[split][first:last]
        ]


def test_numbers_beyond_the_end_are_refused(handmade):
    part = prepared.find("patches", handmade[0]).records("train[:4]", "data.train")
    for index in (-1, 4):
        with pytest.raises(IndexError, match=f"record {index} of 4"):
            part[index]


@pytest.mark.parametrize(("kind", "name"), [("stock", "food101"), ("handmade", "patches")])
def test_records_are_read_by_many_threads_and_where_they_are_sent(request, kind, name):
    folder, _ = request.getfixturevalue(kind)
    part = prepared.find(name, folder).records("train", "data.train")
    expected = list(part)
    sent = pickle.dumps(part)
    assert len(sent) < 10_000
    arrived = pickle.loads(sent)
    numbers = list(range(len(part))) * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(arrived.__getitem__, numbers)) == expected * 20


def test_more_files_are_open_than_the_system_begins_with(tmp_path):
    put = made.tfrecord(tmp_path, counts={"train": (1,) * 12})
    part = prepared.find("patches", tmp_path).records("train", "data.train")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    free = [handle for handle in range(soft) if handle not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[6], hard))
    try:
        assert [record.image for record in part] == [image for image, _ in put["train"]]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refused(folder, name, error=OSError, **arguments):
    with pytest.raises(error) as caught:
        stored(prepared.find(name, folder), **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def again(folder, name):
    (place,) = (folder / name).iterdir()
    command = f": python -m experiments.prepare --dataset=food101 --data_dir={folder}"
    return f"; remove {place} and prepare it again{command if name == 'food101' else ''}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 100), "the file is cut off"),
        (lambda path: path.write_text("not at all" * 10_000), "the file is "),
        (Path.unlink, "the file is missing; remove"),
    ],
)
def test_a_file_that_is_damaged(copied, change, reason):
    folder, name, paths = copied
    change(paths[-1])
    message = refused(folder, name)
    assert message.startswith(f"{paths[-1]}: {reason}")
    assert message.endswith(again(folder, name))
    if len(paths) > 1:  # Files that are not needed are not opened.
        assert len(stored(prepared.find(name, folder), "train[:3]")) == 3


def test_a_file_that_would_be_waited_for(copied):
    folder, name, paths = copied
    paths[-1].unlink()
    os.mkfifo(paths[-1])
    assert refused(folder, name) == (
        f"{paths[-1].parent}: it cannot be read as a data set (OSError: {paths[-1].name}: expected "
        f"a regular file){again(folder, name)}"
    )


def test_a_file_with_other_records_than_are_expected(copied):
    folder, name, paths = copied
    description = paths[0].parent / "dataset_info.json"
    info = json.loads(description.read_text())
    (train,) = (split for split in info["splits"] if split["name"] == "train")
    count = int(train["shardLengths"][0])
    train["shardLengths"][0] = str(count + 1)
    description.write_text(json.dumps(info))
    assert refused(folder, name).startswith(
        f"{paths[0]}: the file holds {count} records; expected {count + 1}"
    )


def test_a_file_that_is_damaged_after_it_was_opened(copied):
    folder, name, paths = copied
    part = prepared.find(name, folder).records("train", "data.train")
    os.truncate(paths[-1], 64)
    with pytest.raises(OSError, match="prepare it again") as caught:
        part[len(part) - 1]
    assert str(caught.value).startswith(f"{paths[-1]}: ")


def test_damaged_bytes_of_an_array_record(stock, tmp_path):
    shutil.copytree(stock[0] / "food101", tmp_path / "data" / "food101")
    (path,) = (tmp_path / "data" / "food101").glob("*/food101-train.*")
    whole = path.read_bytes()
    image = stored(prepared.find("food101", stock[0]))[7][0]
    at = whole.find(image[-40:])
    assert at >= 0
    path.write_bytes(whole[:at] + b"damaged" + whole[at + 7 :])
    part = prepared.find("food101", tmp_path / "data").records("train", "data.train")
    assert part[6].image
    with pytest.raises(OSError, match=r"food101-train.*: record 7 of the file is damaged; remove "):
        part[7]


@pytest.mark.parametrize(("label", "hint"), [(10, ""), (-1, "; the split has no labels")])
def test_a_label_out_of_range(tmp_path, label, hint):
    put = {"train": made.images(6, 10, 8, 0)}
    put["train"][4] = (put["train"][4][0], label)
    made.write_tfrecord(tmp_path / "patches" / "1.0.0", "patches", put, {"train": (3, 3)}, 10)
    part = prepared.find("patches", tmp_path).records("train[2:]", "data.train")
    assert part[1].label == 3
    message = f"patches/train, record 4: its label is {label}, expected 0 to 9{hint}$"
    with pytest.raises(ValueError, match=message):
        part[2]


def test_a_record_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "example", lambda image, label: image)
    made.tfrecord(tmp_path, counts={"train": (1,)})
    with pytest.raises(ValueError, match="patches/train, record 0: expected 'image' and 'label'"):
        prepared.find("patches", tmp_path).records("train", "data.train")[0]


def describe(tmp_path, features, **edits):
    """A data set without records: what describes it is all that is looked at."""
    place = tmp_path / "patches" / "1.0.0"
    place.mkdir(parents=True)
    (place / "patches-train.tfrecord-00000-of-00001").touch()
    made.describe(place, "patches", {"train": (0,)}, features)
    description = place / "dataset_info.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | edits))
    return place


def image(shape=(8, 8, 1), **options):
    return tfds.features.Image(shape=shape, **options)


LABEL = tfds.features.ClassLabel(names=["cat", "dog"])


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((8, 9, 1), 1), ((None, 7, 3), 3), ((8, 8, 4), 3), ((None, None, None), 3)],
)
def test_channels_are_those_of_the_image(tmp_path, shape, channels):
    describe(tmp_path, {"image": image(shape), "label": LABEL})
    found = prepared.find("patches", tmp_path)
    assert (found.channels, found.class_names) == (channels, ("cat", "dog"))


@pytest.mark.parametrize(
    ("feature", "photographs"),
    [
        (image((None, None, 3)), True),
        (image((None, None, 3), encoding_format="jpeg"), True),
        (image((None, None, 3), encoding_format="png"), False),
        (image((8, 8, 3)), False),  # Such as CIFAR-10.
    ],
)
def test_the_rule_that_turns_images_is_part_of_photographs(
    tmp_path, monkeypatch, feature, photographs
):
    describe(tmp_path, {"image": feature, "label": LABEL})
    before = prepared.find("patches", tmp_path).fingerprint
    monkeypatch.setattr(decode, "TURNING", "another rule")
    assert (prepared.find("patches", tmp_path).fingerprint != before) == photographs


def test_image_and_label_are_those_of_the_pair_that_is_said(tmp_path):
    mask = {"image": image(), "label": LABEL, "mask": image(), "kind": LABEL}
    describe(tmp_path, mask)
    assert prepared.find("patches", tmp_path).features[:2] == ("image", "label")


def test_image_and_label_are_the_only_ones_where_none_are_said(tmp_path):
    describe(tmp_path, {"picture": image(), "kind": LABEL, "mask": tfds.features.Text()})
    assert prepared.find("patches", tmp_path).features == ("picture", "kind", None)


@pytest.mark.parametrize("key", ["file", "file_name"])
def test_a_record_is_called_by_its_file_where_that_is_stored(tmp_path, monkeypatch, key):
    plain = made.example

    def example(picture, label):
        record = made.tf_example_pb2.Example.FromString(plain(picture, label))
        record.features.feature[key].bytes_list.value.append("train/Größe/1.jpg".encode())
        return record.SerializeToString()

    monkeypatch.setattr(made, "example", example)
    monkeypatch.setattr(
        made, "FEATURES", {"image": made.FEATURES["image"], key: tfds.features.Text()}
    )
    made.tfrecord(tmp_path, counts={"train": (1,)})
    part = prepared.find("patches", tmp_path).records("train", "data.train")
    assert part[0].where == "train/Größe/1.jpg"


@pytest.mark.parametrize(
    ("features", "listed"),
    [
        ({"image": image(), "text": tfds.features.Text()}, "image (Image), text (Text)"),
        ({"a": image(), "b": image(), "kind": LABEL}, "a (Image), b (Image), kind (ClassLabel)"),
        (
            {"image": image((8, 8, 1), dtype=np.float32), "label": LABEL},
            "image (Image), label (ClassLabel)",
        ),
    ],
)
def test_a_data_set_without_images_and_labels(tmp_path, features, listed):
    describe(tmp_path, features)
    assert refused(tmp_path, "patches", ValueError) == (
        "config.data.name='patches': expected one image of whole numbers and one class label in a "
        f"record; it has {listed}"
    )


def test_another_format(tmp_path):
    place = describe(tmp_path, {"image": image(), "label": LABEL}, fileFormat="parquet")
    assert refused(tmp_path, "patches", ValueError) == (
        f"config.data.name='patches': {place} is in the format parquet; expected array_record or "
        f"tfrecord{again(tmp_path, 'patches')}"
    )


@pytest.mark.parametrize("text", ['{"name": ', "[" * 100_000])
@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_a_description_that_is_damaged(copied, file, text):
    folder, name, paths = copied
    (paths[0].parent / file).write_text(text)
    message = refused(folder, name)
    assert message.startswith(f"{paths[0].parent}: it cannot be read as a data set (")
    assert message.endswith(again(folder, name))


@pytest.mark.parametrize("file", ["features.json", "label.labels.txt"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_description_that_is_no_file_is_not_waited_for(tmp_path, file, make):
    place = describe(tmp_path, {"image": image(), "label": LABEL})
    (place / file).unlink()
    make(place / file)
    assert refused(tmp_path, "patches").startswith(
        f"{place}: it cannot be read as a data set (OSError: {file}: expected a regular file)"
    )


def test_a_class_with_an_absurd_name(tmp_path):
    place = describe(tmp_path, {"image": image(), "label": LABEL})
    (place / "label.labels.txt").write_text("cat\n" + "d" * 10_000_000 + "\n")
    assert refused(tmp_path, "patches", ValueError) == (
        "config.data.name='patches': the name of a class has 10,000,000 characters; expected at "
        "most 1,000"
    )


@pytest.mark.parametrize(
    "named",
    [
        {"pythonClassName": "own_module.X"},
        {"python_class_name": "own_module.X"},
        {"featuresDict": {"features": {"a": {"pythonClassName": "own_module.X"}}}},
        {"type": "own_module.X", "content": {}},
    ],
)
def test_a_description_that_names_a_module_does_not_have_it_imported(
    copied, named, tmp_path, monkeypatch
):
    folder, name, paths = copied
    (tmp_path / "own_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    (paths[0].parent / "features.json").write_text(json.dumps(named))
    message = refused(folder, name)
    assert "the class 'own_module.X'; expected one of TFDS's own" in message
    assert not (tmp_path / "ran").exists()


def test_errors_of_splits_name_the_field_and_the_way_out(stock, handmade):
    found = prepared.find("patches", handmade[0])
    there = "there are train (10 records), test (4 records)"
    for split, problem in {
        "validation": f"there is no split 'validation'; {there}; to carve it: "
        "--config.data.train='train[:90%]' --config.data.validation='train[90%:]'",
        "train[:0]": f"there are no records in it; {there}",
        "train[": "expected a split such as 'train', 'train[:90%]', 'train[500:]' or "
        "'train+validation'",
    }.items():
        with pytest.raises(ValueError, match="config") as caught:
            found.records(split, "data.validation")
        assert str(caught.value) == f"config.data.validation={split!r}: {problem}"
