import pytest

from mnv2_jax.api.planning import read_config_file


@pytest.mark.parametrize(
    ("config", "name", "data"),
    [
        ("folder.py:photos/", "folder_photos", "photos/"),
        ("folder.py:./photos,shortcut", "folder_photos_shortcut", "./photos"),
        ("folder.py:/data/my photos, é:2/,shortcut", "folder_my_photos_é_2_shortcut", None),
        ("folder.py:../", "folder", "../"),
        ("transfer.py:folder,a, b/", "transfer_folder_a_b", "a, b/"),
        ("transfer.py:folder,/somewhere/else/pets/", "transfer_folder_pets", None),
    ],
)
def test_an_experiment_on_a_folder_is_called_after_that_folder(config, name, data):
    found = read_config_file(f"configs/{config}")
    assert found.name == name
    assert found.config.data.name == data or data is None
