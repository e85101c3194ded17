"""Predictions and exports from the command line."""

import collections
import csv
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from flax import traverse_util

from configs import digits
from mnv2_jax import api, presets
from mnv2_jax.ablation import resolve, workdir
from mnv2_jax.data import image_folder, sources, splits
from mnv2_jax.metrics import SPLITS
from mnv2_jax.nn import trained
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import prediction
from tests import buckets, commands

pytestmark = pytest.mark.slow

COMMAND = "python -m experiments.predict"


DARK, BRIGHT = 110, 230
"""Brightness of grey images, between which the network's logit rises steadily from -4 to 4."""


@pytest.fixture(scope="module")
def network(tiny):
    """Tells dark images from bright ones, whichever way its random weights point."""
    spec = presets.build(tiny, classes=1)
    images = jnp.zeros((1, *spec.input_shape))
    variables = jax.device_get(jax.jit(Network(spec).init)(jax.random.key(0), images))
    flat = traverse_util.flatten_dict(variables, sep="/")
    # Such that few units are at a bound.
    flat |= {name: leaf - 1 for name, leaf in flat.items() if name.endswith("/mean")}

    def made():
        variables = traverse_util.unflatten_dict(flat, sep="/")
        return Trained(spec, variables, ("dark", "bright"), "symmetric", 0.5)

    dark, bright = (prediction.logits(made())(grey(spec, value)) for value in (DARK, BRIGHT))
    factor = np.float32(8 / (bright - dark).item())
    flat["params/classifier/kernel"] = flat["params/classifier/kernel"] * factor
    flat["params/classifier/bias"] = np.asarray(4 - factor * bright[0])
    return made()


def grey(spec, value):
    return np.full((1, *spec.input_shape), value, np.uint8)


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment") / "runs" / "one" / trained.FILE
    trained.save(path, network)
    (path.parent / "result.json").write_text('{"status": "done", "validation_accuracy": 1.0}')
    (path.parent / "config.json").write_text("{}")
    return path


@pytest.fixture(scope="module")
def several(tiny, tmp_path_factory):
    """The file of a network of three classes and three channels."""
    spec = presets.build(tiny, classes=3, in_channels=3)
    images = jnp.zeros((1, *spec.input_shape))
    variables = jax.device_get(jax.jit(Network(spec).init)(jax.random.key(0), images))
    # Whatever it sees, to be told by hand: shares of 3/15, 10/15 and 2/15.
    classifier = variables["params"]["classifier"]
    classifier["kernel"] = np.zeros_like(classifier["kernel"])
    classifier["bias"] = np.log(np.array([3, 10, 2], np.float32))
    path = tmp_path_factory.mktemp("several") / trained.FILE
    names = ("Bär", "cat, tabby", "dog")
    trained.save(path, Trained(spec, variables, names, "imagenet", 0.875))
    return path


@pytest.fixture
def picture(tmp_path):
    """Writes an image whose centre has one brightness and whose border the other."""

    def picture(name, value, size=(16, 16), mode="L"):
        pixels = np.full(size, DARK + BRIGHT - value, np.uint8)
        height, width = size
        pixels[height // 4 : -(height // 4), width // 4 : -(width // 4)] = value
        PIL.Image.fromarray(pixels).convert(mode).save(tmp_path / name)
        return tmp_path / name

    return picture


def predict(*arguments):
    return commands.run("predict", *arguments)


def line_of(network, path, value):
    logit = prediction.logits(network)(grey(network.spec, value)).item()
    share = 1 / (1 + np.exp(-abs(logit)))
    return f"{path}: {'bright' if logit > 0 else 'dark'} {100 * share:.1f} %"


def test_every_image_has_a_line_in_order(network, checkpoint, picture):
    values = {"a.png": DARK, "b.png": BRIGHT, "c.png": 130, "d.png": 210, "e.png": 200}
    paths = [picture(name, value) for name, value in values.items()]
    expected = [
        line_of(network, path, value) for path, value in zip(paths, values.values(), strict=True)
    ]
    assert [line.split()[1] for line in expected] == ["dark", "bright", "dark", "bright", "bright"]
    status, out, err = predict(f"--checkpoint={checkpoint}", *paths)
    assert (status, err) == (0, "")
    assert out.splitlines() == expected
    # In batches, the last one not full, by the folder of the run, or of all runs.
    batches = (*paths, "--batch_size=2")
    assert predict("--checkpoint", checkpoint.parent, *batches) == (0, out, "")
    experiment = checkpoint.parents[2]
    told = f"The best network of {experiment}: {checkpoint}\n"
    assert predict("--checkpoint", experiment, *batches) == (0, out, told)


@buckets.needed
@pytest.mark.usefixtures("server")
def test_a_network_in_a_bucket_is_one_like_others(checkpoint, picture, monkeypatch, tmp_path):
    elsewhere = buckets.cache_without_mirrors(tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
    image = picture("a.png", BRIGHT)
    expected = predict(f"--checkpoint={checkpoint}", image)
    assert expected[0] == 0
    uri = "s3://bucket/networks"
    with workdir.claimed(uri) as there:
        shutil.copytree(checkpoint.parent, there.path / "runs" / "one")
        (there.path / "runs" / "one" / "metrics.jsonl").touch()
        (there.path / "runs" / "one" / "environment.json").write_text("{}")
    for place in (f"{uri}/runs/one", f"{uri}/runs/one/{trained.FILE}"):
        assert predict(f"--checkpoint={place}", image) == expected
    told = f"The best network of {uri}: {uri}/runs/one/{trained.FILE}\n"
    assert predict(f"--checkpoint={uri}", image) == (0, expected[1], told)
    status, out, err = predict("--checkpoint=s3://bucket/nothing", image)
    assert (status, out) == (2, "")
    refused = f"{COMMAND}: --checkpoint=s3://bucket/nothing: no runs are there; expected "
    assert err.startswith(refused)


def test_the_most_probable_classes_are_in_order(network, checkpoint, several, picture):
    path = picture("a.png", BRIGHT, mode="RGB")
    whole = ["cat, tabby 66.7 %", "Bär 20.0 %", "dog 13.3 %"]
    for top, count in ((None, 1), (2, 2), (9, 3)):
        flags = [f"--top={top}"] if top else []
        status, out, err = predict(f"--checkpoint={several}", *flags, path)
        assert (status, out, err) == (0, f"{path}: {', '.join(whole[:count])}\n", "")
    # Of one logit.
    paths = [picture("bright.png", BRIGHT), picture("dark.png", DARK)]
    _, out, _ = predict(f"--checkpoint={checkpoint}", "--top=2", *paths)
    expected = zip(paths, (BRIGHT, DARK), ("dark", "bright"), strict=True)
    for line, (image, value, other) in zip(out.splitlines(), expected, strict=True):
        best, second = line.split(", ")
        assert best == line_of(network, image, value)
        name, share, _ = second.split()
        assert name == other
        assert float(share) == pytest.approx(100 - float(best.split()[-2]), abs=0.11)


def test_images_are_decoded_and_cropped_as_in_evaluation(network, checkpoint, picture):
    path = picture("wide.webp", BRIGHT, size=(32, 64), mode="RGB")
    _, out, _ = predict(f"--checkpoint={checkpoint}", path)
    assert out.split()[1] == "bright"


def test_pieces_are_exported_and_give_the_same_probabilities(
    network, checkpoint, picture, tmp_path
):
    image = picture("dark.png", DARK)
    target = tmp_path / "network.stablehlo"
    flags = (f"--checkpoint={checkpoint}", "--pieces=channels:2")
    status, out, err = predict(*flags, f"--export={target}", image)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == predict(f"--checkpoint={checkpoint}", image)[1].splitlines()[-1]
    exported = jax.export.deserialize(bytearray(target.read_bytes()))
    pixels = grey(network.spec, DARK)
    expected = prediction.logits(network)(pixels)
    np.testing.assert_allclose(exported.call(pixels), expected, rtol=1e-5, atol=1e-5)
    status, out, err = predict(f"--checkpoint={checkpoint}", "--pieces=2", image)
    assert (status, out) == (2, "")
    assert "--pieces='2': expected whole, channels:N" in err


def test_a_bad_image_is_named_after_those_before_it(network, checkpoint, picture, tmp_path):
    good = [picture(f"{number}.png", BRIGHT) for number in range(4)]
    # It has an end, and would be decoded: to grey from where its pixels end.
    damaged = picture("damaged.jpg", BRIGHT, size=(64, 64))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: -len(whole) // 20] + whole[-2:])
    lines = [line_of(network, path, BRIGHT) for path in good]
    flags = (f"--checkpoint={checkpoint}", "--batch_size=3")
    # Alone in its batch, within one, and first of all.
    for before in (3, 2, 0):
        status, out, err = predict(*flags, *good[:before], damaged, good[-1])
        assert (status, out.splitlines()) == (2, lines[:before])
        assert err.startswith(f"{COMMAND}: {damaged}: it is damaged or cut off (")
        assert len(err.splitlines()) == 1


def test_images_that_are_no_files_are_named_before_anything_is_done(picture, tmp_path):
    good = picture("good.png", BRIGHT)
    none = [tmp_path / f"none_{number}.png" for number in range(5)]
    photos = tmp_path / "photos"
    photos.mkdir()
    target = tmp_path / "network.stablehlo"
    expected = "expected images or folders of images"
    for wrong, message in (
        (none[:1], f"{none[0]}: no such file; {expected}"),
        (none[:3], f"{none[0]}, {none[1]}, {none[2]}: no such files; {expected}"),
        (none, f"{none[0]}, {none[1]}, {none[2]} and 2 more: no such files; {expected}"),
        (
            [photos],
            f"{photos}: no images are in it; expected files ending in .bmp, .gif, .jfif, .jpe, "
            f".jpeg, .jpg, .png, .tif, .tiff, .webp",
        ),
    ):
        status, out, err = predict(
            f"--checkpoint={tmp_path}/not_looked_for", f"--export={target}", good, *wrong, good
        )
        assert (status, out, err) == (2, "", f"{COMMAND}: {message}\n")
    assert not target.exists()


@pytest.fixture
def folder(picture, tmp_path):
    """Five images: two of each class, one of which is mistaken, and one of no class."""
    values = {"dark/a.png": DARK, "dark/b.png": BRIGHT, "other/c.png": DARK}
    values |= {"test/bright/d.png": BRIGHT, "test/bright/e.PNG": BRIGHT}
    for name, value in values.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(f"photos/{name}", value)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / "test" / "above").symlink_to(tmp_path / "photos")
    return tmp_path / "photos"


ACCURACY = [
    "Accuracy: 75.0 % (3 of 4 images; 1 more are in folders not named after a class)",
    "By class: dark 1 of 2, bright 2 of 2",
]


def test_a_folder_gives_the_accuracy_too(checkpoint, folder):
    status, out, err = predict(f"--checkpoint={checkpoint}", folder)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    names = ["dark/a.png", "dark/b.png", "other/c.png", "test/bright/d.png", "test/bright/e.PNG"]
    assert [line.partition(": ")[0] for line in lines[:5]] == [f"{folder}/{name}" for name in names]
    assert lines[5:] == ACCURACY
    # Files that a shell names lie in the same folders; others have no class.
    status, out, err = predict(f"--checkpoint={checkpoint}", folder / "dark" / "b.png")
    assert out.splitlines()[1:] == ["Accuracy: 0.0 % (0 of 1 images)", "By class: dark 0 of 1"]
    assert predict(f"--checkpoint={checkpoint}", folder / "other")[1].count("\n") == 1


def test_predictions_are_written_as_csv_and_json(checkpoint, folder, tmp_path):
    status, printed, err = predict(f"--checkpoint={checkpoint}", "--format=csv", folder)
    assert (status, err.splitlines()) == (0, ACCURACY)
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["class"] for row in rows] == ["dark", "dark", "", "bright", "bright"]
    assert [row["predicted"] for row in rows] == ["dark", "bright", "dark", "bright", "bright"]
    assert {row["split"] for row in rows} == {""}
    assert all(0.5 < float(row["probability"]) <= 1 for row in rows)
    target = tmp_path / "found.csv"
    status, out, err = predict(f"--checkpoint={checkpoint}", f"--output={target}", folder)
    assert (status, out) == (0, f"{target}: predictions for 5 images\n")
    assert target.read_text() == printed
    target = tmp_path / "found.json"
    flags = (f"--checkpoint={checkpoint}", "--top=2", f"--output={target}")
    assert predict(*flags, folder)[0] == 0
    found = json.loads(target.read_text())
    assert (found["accuracy"], found["images_of_known_class"]) == (0.75, 4)
    assert found["images"][2]["class"] is None
    for row, image in zip(rows, found["images"], strict=True):
        assert image["image"] == row["image"]
        first, second = image["predicted"]
        assert first["class"] == row["predicted"]
        assert first["probability"] + second["probability"] == pytest.approx(1, abs=2e-6)


def test_the_split_of_images_that_were_trained_on_is_told(checkpoint, picture, tmp_path):
    for number in range(40):
        name = f"photos/{('dark', 'bright')[number % 2]}/{number:02}.png"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(name, (DARK, BRIGHT)[number % 2])
    folder = tmp_path / "photos"
    run = tmp_path / "run"
    shutil.copytree(checkpoint.parent, run)
    config = {"data": {"name": f"{folder}/"}, "model": {}}
    (run / "config.json").write_text(json.dumps(config))
    splits = image_folder.scan(folder).splits
    status, out, err = predict(f"--checkpoint={run}", "--format=csv", folder)
    assert status == 0, err
    found = collections.Counter(row["split"] for row in csv.DictReader(io.StringIO(out)))
    assert found == {split: len(files) for split, files in splits.items()}
    told = [f"{split} 100.0 % ({found[split]} of {found[split]})" for split in splits]
    assert err.splitlines()[-1] == (
        f"By split of the network's own data set: {', '.join(reversed(told))}"
    )
    (tmp_path / "dark").mkdir()
    shutil.copy(folder / "dark" / "00.png", tmp_path / "dark")
    status, out, err = predict(f"--checkpoint={run}", tmp_path / "dark")
    assert (status, "By split" in out) == (0, False)


def test_the_split_of_images_is_that_which_the_seed_drew(checkpoint, picture, tmp_path):
    for number in range(40):
        name = f"photos/{('dark', 'bright')[number % 2]}/{number:02}.png"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(name, (DARK, BRIGHT)[number % 2])
    run = tmp_path / "run"
    shutil.copytree(checkpoint.parent, run)
    config = digits.get_config()
    config.data.update({"name": f"{tmp_path}/photos/", "split": "per_seed", "train": "train[:9]"})
    config.seed = 5
    dataset = splits.redrawn(sources.load(resolve.data_selection(config)), 5)
    (run / "config.json").write_text(config.to_json())
    (run / "environment.json").write_text(json.dumps({"data": dataset.fingerprint}))
    found = api.load(run).splits()
    for split in SPLITS:
        records = getattr(dataset, split).records
        own = {tmp_path / "photos" / records[n].where for n in range(len(records))}
        assert {path for path, where in found.items() if where == split} == own
    (tmp_path / "photos" / "dark" / "00.png").unlink()
    assert api.load(run).splits() == {}


def test_nothing_is_written_where_an_image_is_damaged(checkpoint, folder, tmp_path):
    (folder / "dark" / "z.png").write_bytes(b"no image")
    target = tmp_path / "found.csv"
    status, out, err = predict(f"--checkpoint={checkpoint}", f"--output={target}", folder)
    assert (status, out) == (2, "")
    assert f"{folder}/dark/z.png: " in err
    assert not target.exists()


def test_an_export_computes_the_same(network, checkpoint, picture, tmp_path):
    target = tmp_path / "network.stablehlo"
    status, out, err = predict(f"--checkpoint={checkpoint}", f"--export={target}")
    assert (status, err) == (0, "")
    assert out == (
        f"{target}: written, StableHLO for cpu, cuda, tpu; jax.export.deserialize(FILE'S BYTES)"
        ".call takes uint8 [batch, 8, 8, 1], 0 to 255, and gives float32 logits [batch, 1]\n"
        "images: grey, the central square, 0.5 of the shorter side, resized to 8 x 8 pixels; "
        "the program scales their values\n"
        'logits: above 0: bright, else dark; classes in their order: ["dark", "bright"]\n'
        f"jax {jax.__version__} wrote it: jax versions of the next six months read it, later ones "
        "may refuse; keep the network to export it again\n"
    )
    exported = jax.export.deserialize(bytearray(target.read_bytes()))
    images = np.concatenate([grey(network.spec, value) for value in (DARK, 150, BRIGHT)])
    expected = prediction.logits(network)(images)
    found = exported.call(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert [logit > 0 for logit in (found[0], found[-1])] == [False, True]
    # Beside images, and over a file that is there.
    path = picture("a.png", BRIGHT)
    target.write_bytes(b"old")
    status, again, err = predict(f"--checkpoint={checkpoint}", f"--export={target}", path)
    assert (status, err) == (0, "")
    assert again == f"{out}{line_of(network, path, BRIGHT)}\n"
    assert len(target.read_bytes()) > 1000


def test_settings_of_elsewhere_change_nothing(network, checkpoint, picture, tmp_path, monkeypatch):
    path, plain, other = picture("one.png", BRIGHT), tmp_path / "plain", tmp_path / "other"
    processes = [commands.start("predict", f"--checkpoint={checkpoint}", f"--export={plain}")]
    settings = {
        "JAX_ENABLE_X64": "1",
        "JAX_DISABLE_JIT": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_TRANSFER_GUARD": "disallow",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    arguments = (f"--checkpoint={checkpoint}", f"--export={other}", path)
    processes.append(commands.start("predict", *arguments))
    _, (out, err) = [process.communicate(timeout=commands.SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], err
    told = [line.partition(":")[0] for line in err.splitlines()]
    assert sorted(told) == sorted(f"{name}={value}" for name, value in settings.items())
    assert out.endswith(f"\n{line_of(network, path, BRIGHT)}\n")
    assert other.read_bytes() == plain.read_bytes()


def test_an_export_of_several_classes_tells_their_order(several, tmp_path):
    target = tmp_path / "network.stablehlo"
    status, out, err = predict(f"--checkpoint={several}", f"--export={target}")
    assert (status, err) == (0, "")
    written, images, logits, _ = out.splitlines()
    assert "takes uint8 [batch, 8, 8, 3], 0 to 255" in written
    assert written.endswith("float32 logits [batch, 3]")
    assert images == (
        "images: RGB, the central square, 0.875 of the shorter side, resized to 8 x 8 pixels; "
        "the program scales their values"
    )
    assert logits == (
        'logits: the largest is chosen; classes in their order: ["Bär", "cat, tabby", "dog"]'
    )


def test_wrong_input_gives_one_line_and_status_2(checkpoint, picture, tmp_path):
    image = picture("a.png", BRIGHT)
    given = f"--checkpoint={checkpoint}"
    other = tmp_path / "other.safetensors"
    other.write_bytes(checkpoint.read_bytes()[:-1])
    for arguments, message in (
        ([image], "--checkpoint: expected a network.safetensors, or the folder of a run"),
        ([given], "IMAGE: it is missing; expected one or more, or --export=FILE"),
        (["--checkpoint=none", image], "--checkpoint=none: no such file or folder; expected a n"),
        ([f"--checkpoint={tmp_path}", image], f"--checkpoint={tmp_path}: no runs are there; "),
        ([f"--checkpoint={other}", image], f"--checkpoint={other}: not a whole safetensors file"),
        ([given, "--batch_size=0", image], "--batch_size=0: expected a whole number, 1 or more"),
        ([given, "--batch_size=many", image], "flag --batch_size=many: "),
        ([given, "--top=0", image], "--top=0: expected a whole number, 1 or more"),
        ([given, "--top=-1", image], "--top=-1: expected a whole number, 1 or more"),
        ([given, "--top=all", image], "flag --top=all: "),
        ([given, "--export=no/a", image], "--export=no/a: there is no folder no; expected one"),
        ([given, f"--export={tmp_path}"], f"--export={tmp_path}: it is a folder; expected a file"),
    ):
        status, out, err = predict(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"{COMMAND}: {message}"), err
        assert len(err.splitlines()) == 1
