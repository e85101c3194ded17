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


def test_its_title_is_the_first_line_of_the_docstring(tmp_path):
    assert read_config_file("configs/digits.py:shortcut").title == (
        "Linear against ReLU6 projections, shortcuts on and off, expansions 1 to 10, on real digits"
    )
    path = tmp_path / "mine.py"
    path.write_text("from configs.digits import get_claims, get_config, get_grid\n")
    assert read_config_file(str(path)).title == ""
