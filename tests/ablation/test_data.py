"""Training on data sets as users have them: of TFDS, in TFRECORD, in folders, with faults."""

import dataclasses
import functools
import json
import re
import shutil

import pytest

from configs import folder
from mnv2_jax import api, presets, terminal
from mnv2_jax.ablation import cohort, finished, grid, sweep
from mnv2_jax.data import sources
from mnv2_jax.data.stored import prepared
from tests import samples
from tests.data import made

COLOURED = dataclasses.replace(samples.TINY, in_channels=3)


@pytest.fixture(scope="module", autouse=True)
def coloured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "coloured", COLOURED)
        yield


def config_of(name, **data):
    config = folder.get_config(name)
    config.model.preset = "coloured"
    config.data.update(
        {"resolution": 8, "validation": "train[80%:]", "train": "train[:80%]", **data}
    )
    config.augment.update({"shift": 0, "flip": False})
    config.train.update(
        {"epochs": 12, "batch_size": 16, "evaluation_batch_size": 32, "warmup_epochs": 0.0}
    )
    return config


class Lines(sweep.Progress):
    """Keeps the lines of a sweep."""

    def __init__(self):
        self.lines = []

    def said(self, line):
        self.lines.append(line)


def train(workdir, data_dir, config, *, skip_corrupt=False, seeds=(0,)):
    load = functools.partial(sources.load, folder=data_dir, skip_corrupt=skip_corrupt)
    cohorts = cohort.plan(grid.expand(config, grid.axis("seed", seeds)), load)
    progress = Lines()
    sweep.Sweep(workdir, cohorts, "test", progress).run()
    return sweep.write_table(workdir, cohorts), progress.lines


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    made.tfrecord(data_dir, counts={"train": (130, 70), "test": (50,)})
    return data_dir


def test_a_hand_made_tfrecord_set_is_trained_on(patches, tmp_path):
    (row,), told = train(tmp_path, patches, config_of("patches"))
    assert told[0].startswith("images resident: 200 images take")
    # Of ten classes.
    assert row["test_accuracy"] > 0.6
    recorded = json.loads((tmp_path / "runs" / row["run_id"] / "environment.json").read_text())
    assert recorded["data"] == prepared.find("patches", patches).fingerprint


def test_checkpoints_of_other_images_are_passed_over(patches, tmp_path, compiled_once):
    config = config_of("patches")
    config.train.epochs = 2
    load = functools.partial(sources.load, folder=patches)
    (before,) = cohort.plan(grid.expand(config, grid.axis("seed", (0,))), load)
    after = dataclasses.replace(
        before, dataset=dataclasses.replace(before.dataset, fingerprint="prepared anew")
    )
    saving = sweep.Saving(keep=True)
    told = []
    for trained in (before, before, after):
        progress = Lines()
        sweep.Sweep(tmp_path, [trained], "test", progress, saving=saving).run()
        shutil.rmtree(tmp_path / "runs")  # As if it had been killed before it was recorded.
        told.append(" ".join(progress.lines))
    _, again, other = told
    assert "resuming from step 20 of 20" in again
    assert "it is of another run: its data differs" in other
    assert "resuming from" not in other


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_a_damaged_record_stops_training_even_where_images_may_be_left_out(tmp_path, mode):
    made.tfrecord(tmp_path, counts={"train": (100,), "test": (10,)})
    (path,) = tmp_path.glob("patches/*/patches-train.*")
    whole = path.read_bytes()
    # An image's header: by its pixels alone, it would be another one.
    path.write_bytes(whole.replace(b"IHDR", b"IHDR"[:3] + b"S", 1))
    config = config_of("patches", mode=mode)
    with pytest.raises(OSError, match="record 0 of the file is damaged: it does not match its"):
        train(tmp_path / "work", tmp_path, config, skip_corrupt=True)


@pytest.mark.slow
def test_streamed_seeds_train_in_packs_of_their_own(patches, tmp_path):
    config, shared = (
        config_of("patches", mode="streaming", order=order) for order in ("own", "shared")
    )
    config.train.epochs = shared.train.epochs = 2
    rows, told = train(tmp_path, patches, config, seeds=(0, 1))
    assert told[0] == "images streaming: as asked for"
    assert [row["lanes"] for row in rows] == [1, 1]
    together, _ = train(tmp_path / "shared", patches, shared, seeds=(0, 1))
    assert [row["lanes"] for row in together] == [2, 2]
    # The first seed's order is the shared one.
    assert together[0]["test_loss"] == pytest.approx(rows[0]["test_loss"], rel=1e-4)
    assert together[1]["test_loss"] != pytest.approx(rows[1]["test_loss"], rel=1e-4)


def test_a_stock_data_set_is_trained_on(tmp_path):
    made.stock(tmp_path / "data", images_per_split=200)
    config = config_of("food101", test="validation", crop_fraction=0.9)
    config.augment.crop_area = 0.6
    (row,), told = train(tmp_path / "work", tmp_path / "data", config)
    assert told[0] == "images streaming: augmentation begins from the images as they are stored"
    assert row["test_accuracy"] > 0.3


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """A data set of which a training and a test image are cut off."""
    data_dir = tmp_path_factory.mktemp("data")
    put = {"train": made.images(80, 10, 8, 0), "test": made.images(20, 10, 8, 1)}
    for split, number in (("train", 7), ("test", 3)):
        image, label = put[split][number]
        put[split][number] = image[:60], label
    counts = {"train": (80,), "test": (20,)}
    made.write_tfrecord(data_dir / "flawed" / "1.0.0", "flawed", put, counts, 10)
    return data_dir


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_an_image_that_cannot_be_decoded_is_left_out_if_one_says_so(flawed, tmp_path, mode):
    config = config_of("flawed", mode=mode)
    config.train.epochs = 1
    (row,), told = train(tmp_path, flawed, config, skip_corrupt=True)
    assert row["status"] == "done"
    left_out = [line for line in told if line.startswith("left out: ")]
    assert [line.partition(": ")[2].partition(":")[0] for line in left_out] == [
        "flawed/train, record 7",
        "flawed/test, record 3",
    ]
    (environment,) = tmp_path.glob("runs/*/environment.json")
    found = json.loads(environment.read_text())["images_left_out"]
    assert sorted(found) == sorted(line.removeprefix("left out: ") for line in left_out)
    # Of 19 test images, not of 20.
    hits = 19 * row["test_accuracy"]
    assert hits == pytest.approx(round(hits), abs=1e-4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images in splits, one of which is cut off."""
    root = tmp_path_factory.mktemp("images") / "photos"
    for seed, (split, count) in enumerate({"train": 80, "validation": 20, "test": 20}.items()):
        for number, (image, label) in enumerate(made.images(count, 10, 8, seed)):
            path = root / split / f"class {label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image[:60] if (split, number) == ("test", 3) else image)
    return root


def of_folder(root, **data):
    return config_of(f"{root}/", train="train", validation="validation", **data)


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_a_folder_of_images_is_trained_on(photos, tmp_path, mode):
    rows, told = train(tmp_path / "work", None, of_folder(photos, mode=mode), skip_corrupt=True)
    left_out = "test/class 3/3.png: it is damaged or cut off"
    assert [line for line in told if "left out" in line and left_out in line]
    assert rows[0]["test_accuracy"] > 0.3
    hits = 19 * rows[0]["test_accuracy"]
    assert hits == pytest.approx(round(hits), abs=1e-4)
    (path,) = tmp_path.glob("work/runs/*/environment.json")
    recorded = json.loads(path.read_text())
    assert recorded["images_left_out"][0].startswith(left_out)
    shutil.copytree(photos, tmp_path / "elsewhere" / "photos")
    of_copy = of_folder(tmp_path / "elsewhere" / "photos", mode=mode)
    load = functools.partial(sources.load, skip_corrupt=True)
    (copied,) = cohort.plan(grid.expand(of_copy, grid.axis("seed", (0,))), load)
    assert (copied.runs[0].id, copied.dataset.fingerprint) == (path.parent.name, recorded["data"])
    finished.check_same(tmp_path / "work", [copied])
    (tmp_path / "elsewhere/photos/train/class 5/5.png").unlink()
    (changed,) = cohort.plan(grid.expand(of_copy, grid.axis("seed", (0,))), load)
    with pytest.raises(ValueError, match=r"1 runs there .* were trained on other images, when '.*"):
        finished.check_same(tmp_path / "work", [changed])


def test_a_folder_that_changes_while_it_is_trained_on_is_refused(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    config = of_folder(tmp_path / "photos", mode="streaming")

    def load(selection):
        found = sources.load(selection, skip_corrupt=True)
        (tmp_path / "photos/train/class 5/5.png").write_bytes(b"another")
        return found

    cohorts = cohort.plan([config], load)
    with pytest.raises(OSError, match=r"photos/train/class 5/5.png: it has changed; expected imag"):
        sweep.Sweep(tmp_path / "work", cohorts, "test", sweep.Progress()).run()


def test_a_folder_may_change_between_two_runs_of_an_experiment(
    photos, tmp_path, without_charts, monkeypatch, capsys
):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/test/class 3/3.png").unlink()
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    config = of_folder(tmp_path / "photos", mode="streaming")
    config.train.epochs = 1
    experiment = api.Experiment(config)
    progress = Lines()
    first = experiment.run(tmp_path / "first", progress=progress)
    assert re.search(r"/photos/: \d+ of 119 images checked, .*/s, \d+ s left$", progress.lines[0])
    (tmp_path / "photos/train/class 5/5.png").unlink()
    second = experiment.run(tmp_path / "second", progress=False)
    assert [*first.runs] == [*second.runs]
    assert capsys.readouterr().out == ""
