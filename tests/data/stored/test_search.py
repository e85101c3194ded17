import re

import pytest

from mnv2_jax.data import folders
from mnv2_jax.data.stored import search


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def folder():
    return folders.data_folder()


def put(folder, *places):
    for place in places:
        (folder / place).mkdir(parents=True)
        (folder / place / "dataset_info.json").touch()


def error(name, folder):
    with pytest.raises(ValueError, match=re.escape(f"config.data.name={name!r}: ")) as caught:
        search.version_folder(name, folder)
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("cats", "cats/1.10.0"),
        ("cats:1.9.2", "cats/1.9.2"),
        ("cats:1.9.*", "cats/1.9.3"),
        ("small/32x32", "small/32x32/2.0.0"),
        ("small/32x32:1.0.0", "small/32x32/1.0.0"),
        ("Größe", "Größe/1.0.0"),
    ],
)
def test_the_newest_version_that_was_asked_for(folder, name, place):
    put(folder, "cats/1.9.2", "cats/1.10.0", "cats/1.9.3", "Größe/1.0.0")
    put(folder, "small/32x32/1.0.0", "small/32x32/2.0.0", "small/8x8/1.0.0")
    (folder / "cats/1.11.0.incomplete").mkdir()
    (folder / "cats/2.0.0").mkdir()
    assert search.version_folder(name, folder) == folder / place


def test_the_way_to_a_data_set_that_tfds_makes(folder):
    assert error("cifar10", folder) == (
        f"there is no such data set in {folder}; to prepare it: "
        "python -m experiments.prepare --dataset=cifar10; "
        "of a folder of images the name ends in /: 'cifar10/'"
    )


def test_the_way_to_a_folder_of_images(folder):
    assert error("my-cats", folder) == (
        f"there is no such data set in {folder}; of a folder of images the name ends in /: "
        "'my-cats/'"
    )


def test_the_command_names_the_folder_where_it_is_another(tmp_path):
    command = f"python -m experiments.prepare --dataset=cifar10 '--data_dir={tmp_path}/my data'"
    assert f"; to prepare it: {command}; " in error("cifar10", tmp_path / "my data")


def test_a_name_close_to_one_that_is_there(folder):
    put(folder, "kittens/1.0.0", "small/32x32/1.0.0")
    assert "; did you mean 'kittens'?; " in error("kitens", folder)
    assert "; did you mean 'small/32x32'?; " in error("small/32x23", folder)
    assert "did you mean" not in error("dogs", folder)


def test_available_data_sets_are_named(folder):
    put(folder, "kittens/1.0.0", "small/32x32/1.0.0")
    there = f"there is no such data set in {folder}, which has kittens, small/32x32; of a folder"
    assert error("dogs", folder).startswith(there)


def test_a_version_that_is_not_there(folder):
    put(folder, "cats/1.0.0", "cats/2.0.0")
    expected = f"expected a version that is in {folder}/cats: 1.0.0, 2.0.0"
    assert error("cats:3.0.0", folder) == expected


def test_a_data_set_of_several_configs(folder):
    put(folder, "small/8x8/1.0.0", "small/32x32/1.0.0")
    assert error("small", folder) == "expected one of its configs: small/32x32, small/8x8"


@pytest.mark.parametrize(
    "name", ["", "..", "../cats", "a/b/c", "/cats", "cats:", "cats:new", "a b"]
)
def test_invalid_names(folder, name):
    assert error(name, folder).startswith("expected a name such as 'cifar10' or ")
