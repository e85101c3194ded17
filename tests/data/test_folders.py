import pytest

from mnv2_jax.data import folders


@pytest.mark.parametrize(
    ("name", "path", "own"),
    [
        ("photos/", "photos", "photos/"),
        ("./photos", "photos", "photos/"),
        ("../my photos, é:x/", "../my photos, é:x", "my photos, é:x/"),
        ("/data/photos", "/data/photos", "photos/"),
        ("~/photos", "HOME/photos", "photos/"),
    ],
)
def test_a_path_is_told_from_a_name(monkeypatch, name, path, own):
    monkeypatch.setenv("HOME", "HOME")
    assert folders.is_path(name)
    assert str(folders.path(name)) == path
    assert folders.own_name(name) == own


@pytest.mark.parametrize("name", ["photos", "cifar10:3.0.2", "imagenet_resized/32x32"])
def test_names_of_prepared_data_sets_are_no_paths(name):
    assert not folders.is_path(name)
    assert folders.own_name(name) == name
