"""How a data set may be called, and how it is laid out."""

import pytest

from mnv2_jax.data.prepare import image_folder, image_shards


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("Café-10", "cafe_10"),
        ("10k", "images_10k"),
        ("a/b", "a_b"),
        ("", "images"),
        ("Ω", "images"),
    ],
)
def test_a_name_that_tfds_does_not_take_is_refused(tmp_path, name, suggestion):
    with pytest.raises(ValueError, match=rf"^--name={name}: expected .* such as {suggestion}$"):
        image_shards.check_names(tmp_path / "in", name, tmp_path / "out")


def test_data_among_the_images_are_refused(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in" / "deep")
    for data_dir in (tmp_path / "in", tmp_path / "in" / "new", tmp_path / "link" / "new"):
        with pytest.raises(ValueError, match=r"it lies in --images="):
            image_shards.check_names(tmp_path / "in", "set", data_dir)
    image_shards.check_names(tmp_path / "in", "set", tmp_path / "in2")


def test_large_files_make_shards_of_256_mib_at_most(tmp_path):
    def shards(count, size):
        made = (image_folder.File(f"train/a/{n}.png", 0, size, 0) for n in range(count))
        files = tuple(sorted(made, key=lambda file: file.rank))
        folder = image_folder.ImageFolder(tmp_path, ("a",), {"train": files}, ())
        plan = image_shards.plan(folder, "set", tmp_path)
        assert [file for shard in plan.shards for file in shard.files] == list(files)
        return plan.shards

    large = shards(20_000, 500_000)
    assert max(shard.bytes_needed for shard in large) < 2**28
    assert len(large) == 43
    assert len(shards(60_000, 900)) == 64
    assert len(shards(600, 900)) == 1
    assert len(shards(60, 2**30)) == 1
