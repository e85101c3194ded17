"""Transfer as a user does it: phase by phase, from a base of one's own or another's."""

import io
import itertools
import json
import re
import shutil
import signal
import time

import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from mnv2_jax import predictions, presets
from mnv2_jax.ablation import networks, phases
from mnv2_jax.ablation import workdir as workdirs
from mnv2_jax.analysis import mistakes, tables
from mnv2_jax.analysis.verdicts import read_decided
from mnv2_jax.nn import trained
from mnv2_jax.nn.network import Network
from tests import buckets, commands, small
from tests.ablation.bases import random_network
from tests.nn import layouts

pytestmark = pytest.mark.slow

PHASES = '"scratch", "extraction", "finetuning"'


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small_transfer.py"
    path.write_text(small.TRANSFER)
    return path


def finetune(config, workdir, *arguments):
    status, out, err = commands.run(
        "finetune", f"--config={config}", f"--workdir={workdir}", *arguments
    )
    assert status == 0, err
    return out


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("done") / "work"
    return workdir, finetune(config, workdir)


def runs_of(workdir):
    """Configs of runs by their phase and seed, each with its network."""
    found = {}
    for folder in workdir.glob("runs/*"):
        settings = json.loads((folder / "config.json").read_text())
        phase, seed = settings["transfer"]["phase"], settings["seed"]
        found[phase, seed] = folder.name, settings, trained.load(folder / trained.FILE)
    return found


def leaves(network):
    return traverse_util.flatten_dict(network.variables)


def same(one, other):
    return {path for path in one if path in other and np.array_equal(one[path], other[path])}


def test_every_phase_is_a_run_with_a_record_and_claims_are_decided(done):
    workdir, out = done
    found = runs_of(workdir)
    phases = ("pretraining", "scratch", "extraction", "finetuning")
    assert set(found) == set(itertools.product(phases, (0, 1)))
    for seed in (0, 1):
        assert found["extraction", seed][1]["transfer"]["start"] == found["pretraining", seed][0]
        assert found["finetuning", seed][1]["transfer"]["start"] == found["extraction", seed][0]
    rows = small.rows_of(workdir)
    assert [row["transfer.phase"] for row in rows] == [
        *["scratch"] * 2,
        *["pretraining"] * 2,
        *["extraction"] * 2,
        *["finetuning"] * 2,
    ]
    assert all(row["status"] == "done" for row in rows)
    assert "transfer.start" not in rows[0]
    claims = read_decided(workdir)
    assert [claim["name"] for claim in claims] == ["extraction", "finetuning"]
    assert "8 runs trained, 0 failed" in out
    of_five = [row for row in rows if row["transfer.phase"] != "pretraining"]
    best = max(of_five, key=lambda row: float(row["validation_accuracy"]))["run_id"]
    assert f"--checkpoint={workdir / 'runs' / best} IMAGE" in out
    report = (workdir / "report.html").read_text()
    places = ("<h1>", "Feature extraction", 'class="verdict', 'id="charts"')
    assert sorted(map(report.index, places)) == [*map(report.index, places)]


def test_predictions_are_those_of_the_accuracies(done):
    workdir, _ = done
    for row in small.rows_of(workdir):
        found = predictions.read(workdir, row["run_id"])
        assert found is not None
        right = int((found.predicted == found.labels).sum())
        assert len(found.labels) == int(row["test_images"])
        assert float(row["test_accuracy"]) == pytest.approx(right / len(found.labels), rel=1e-6)
        assert found.losses.mean() == pytest.approx(float(row["test_loss"]), rel=2e-3)
    # The report has pictures of the images that the best network mistakes.
    mistaken = mistakes.read(workdir, tables.read_results(workdir))
    assert mistaken is not None
    pictures = mistakes.read_pictures(workdir, mistaken)
    assert set(pictures) == set(mistaken.shown)
    report = (workdir / "report.html").read_text()
    assert mistaken.shown
    assert all(picture.png in report for picture in pictures.values())


def test_frozen_means_frozen(done):
    found = runs_of(done[0])
    for seed in (0, 1):
        base, extraction, finetuning = (
            leaves(found[phase, seed][2]) for phase in ("pretraining", "extraction", "finetuning")
        )
        features = {path for path in base if path[1] != "classifier"}
        # Bit for bit; the classifier is of other classes, and so another.
        assert (
            same(base, extraction)
            == features
            == {path for path in extraction if path[1] != "classifier"}
        )
        tuned = ("block_02", "head", "head_norm", "classifier")
        frozen = {path for path in base if path[0] == "batch_stats" or path[1] not in tuned}
        assert same(extraction, finetuning) == frozen
        assert {path[0] for path in frozen} == {"params", "batch_stats"}


def test_a_recipe_that_explodes_is_told_and_its_best_epoch_is_kept(config, done, tmp_path):
    workdir = tmp_path / "work"
    shutil.copytree(done[0], workdir)  # What the fine-tuned runs start from is there already.
    out = finetune(config, workdir, "--config.train.learning_rate=100")
    assert "6 finished before, 2 to train" in out
    assert "training ruined what it started from in 2 of 2 runs" in out
    rows = [row for row in small.rows_of(workdir) if row["transfer.phase"] == "finetuning"]
    assert [row["status"] for row in rows] == ["done", "done"]
    for row in rows:
        curve = (workdir / "runs" / row["run_id"] / "metrics.jsonl").read_text().splitlines()
        epochs = [json.loads(line) for line in curve]
        kept = int(row["restored_epoch"])
        # Not the last one, and never worse than any epoch by validation.
        best = max(epoch["validation_accuracy"] for epoch in epochs)
        assert float(row["validation_accuracy"]) >= best
        assert kept < len(epochs)
    lead = f"Training ruined 2 of {len(small.rows_of(workdir))} runs: "
    assert lead in out
    report = (workdir / "report.html").read_text()
    assert report.index(lead) < report.index('id="verdicts"')
    claims = {claim["name"]: claim for claim in read_decided(workdir)}
    assert claims["finetuning"]["notes"][0].startswith("Training ruined 2 of the 4 runs ")
    assert claims["finetuning"]["verdict"] != "inconclusive"
    assert not any("ruined" in note for note in claims["extraction"]["notes"])
    # What is fine is as it was.
    assert not any(row["restored_epoch"] for row in small.rows_of(done[0]))


def test_what_is_done_is_not_done_again(config, done):
    out = finetune(config, done[0])
    assert "Runs: 8, cohorts: 4; 8 finished before, 0 to train" in out


@pytest.fixture(scope="module")
def phases_only(tmp_path_factory):
    """The config without training from scratch and without claims."""
    path = tmp_path_factory.mktemp("config") / "phases.py"
    assert PHASES in small.TRANSFER
    text = small.TRANSFER.replace(PHASES, '"extraction", "finetuning"')
    path.write_text(text.replace("transfer.get_claims()[:2]", "[]"))
    return path


@buckets.needed
@pytest.mark.usefixtures("server")
def test_another_machine_goes_on_from_networks_in_a_bucket(
    phases_only, done, monkeypatch, tmp_path
):
    where = "s3://bucket/transfer"
    curves = small.curves_of(done[0])
    runs = {run: phase for (phase, _), (run, *_) in runs_of(done[0]).items() if phase != "scratch"}
    for machine in ("first", "second"):
        elsewhere = buckets.cache_without_mirrors(tmp_path / machine)
        monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
        if machine == "first":
            with workdirs.claimed(where) as here:
                for run in (run for run, phase in runs.items() if phase != "finetuning"):
                    shutil.copytree(done[0] / "runs" / run, here.path / "runs" / run)
    out = finetune(phases_only, where)
    assert "Runs: 6, cohorts: 3; 4 finished before, 2 to train" in out
    assert f"experiments.predict --checkpoint={where}/runs/" in out
    there = buckets.Folder(where)
    assert there.curves() == {run: curves[run] for run in runs}
    for run in runs:
        network = there.read(f"runs/{run}/{trained.FILE}")
        assert network == (done[0] / "runs" / run / trained.FILE).read_bytes()


def test_killed_between_and_within_phases_it_comes_to_the_same_bits(phases_only, done, tmp_path):
    workdir = tmp_path / "killed"
    arguments = (f"--config={phases_only}", f"--workdir={workdir}", "--checkpoint_seconds=0")

    def records():
        return len(list(workdir.glob("runs/[!.]*")))

    def saved():
        return any(path.name.isdecimal() for path in workdir.glob("checkpoints/*/steps/*"))

    killed_with = []
    # Within the base's training; between base and extraction; within fine-tuning.
    for enough in (saved, lambda: records() >= 2, lambda: records() >= 4 and saved()):
        process = commands.begin(tmp_path / "out", tmp_path / "err", "finetune", *arguments)
        while process.is_alive() and not enough():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        killed_with.append(records())
    assert killed_with == sorted(killed_with)
    assert killed_with[0] < 6
    assert "0 failed" in finetune(phases_only, workdir)
    curves = small.curves_of(workdir)
    assert len(curves) == 6
    assert curves.items() <= small.curves_of(done[0]).items()
    for run in curves:
        mine, whole = (folder / "runs" / run / trained.FILE for folder in (workdir, done[0]))
        assert mine.read_bytes() == whole.read_bytes()


@pytest.fixture(scope="module")
def base(tmp_path_factory, small_config):
    """The folder of a network that experiments.train has trained on all digits."""
    workdir = tmp_path_factory.mktemp("base") / "work"
    changes = ("--config.model.expansion=2", "--config.train.epochs=1")
    status, _, err = commands.run(
        "train", f"--config={small_config}", f"--workdir={workdir}", *changes
    )
    assert status == 0, err
    return workdir


def test_a_network_of_experiments_train_is_a_base(phases_only, base, tmp_path):
    out = finetune(phases_only, tmp_path / "work", f"--pretrained={base}", "--config.seed=1")
    assert "Runs: 2, cohorts: 2" in out
    found = runs_of(tmp_path / "work")
    assert {phase for phase, _ in found} == {"extraction", "finetuning"}
    given = leaves(trained.load(networks.find(base)))
    extraction = leaves(found["extraction", 1][2])
    assert same(given, extraction) == {path for path in given if path[1] != "classifier"}
    assert found["extraction", 1][1]["transfer"]["start"].startswith("file-")


def test_the_architecture_and_the_images_are_those_of_the_base(tmp_path):
    """A network for grey digits of 8 pixels, on coloured photos, for which a config has 224."""
    spec = presets.build("digits", projection="relu6")
    base = tmp_path / "base.safetensors"
    trained.save(base, random_network(spec))
    for number in range(60):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (40 * (number % 2), number, 90)).save(path)
    photos = f"--config=configs/transfer.py:folder,{tmp_path / 'pets'}/"
    flags = (f"--pretrained={base}", "--config.seed=0", "--config.train.epochs=2")
    workdir = f"--workdir={tmp_path / 'work'}"
    short = "--config.extraction.train.epochs=2"
    status, out, err = commands.run("finetune", photos, workdir, *flags, short)
    assert status == 0, err
    assert "Taken from them: config.data.resolution=8, " in out
    assert re.search(r"Fine-tuning +\d+\.\d % of \d+ +\d+\.\d % of \d+ .* \(\d+ of \d+\)", out)
    assert "Claims: 1, undecided: one seed gives no interval" in out
    network = runs_of(tmp_path / "work")["finetuning", 0][2]
    assert network.spec.input_shape == (8, 8, 1)
    assert network.spec.blocks == spec.blocks
    drawn = "--config.data.split=per_seed"
    for split, told in {"--config.data.split=fixed": False, drawn: True}.items():
        status, out, err = commands.run("finetune", photos, workdir, *flags, split, "--dry_run")
        assert status == 0, err
        assert ("the weights do not tell which images they were trained on" in out) == told
    line = refusal(photos, *flags, "--config.data.resolution=16", "--config.model.width=2")
    assert " --pretrained=" in line
    assert "config.data.resolution=8, config.model.width=1.0, not 16, 2.0; expected" in line


def refusal(*arguments):
    status, _, err = commands.run("finetune", *arguments)
    assert status == 2, err
    (line,) = err.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A MobileNetV2 of width 0.35 as weights, in torchvision's form."""
    import jax

    from mnv2_jax.nn import pretrained

    spec = presets.build("mobilenet_v2", width=0.35, resolution=32, classes=3)
    variables = jax.eval_shape(Network(spec).init, jax.random.key(0), np.zeros((1, 32, 32, 3)))
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variables)
    pretrained.save(path, spec, zeros)
    return path


BASE = "--pretrained={base} --config."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--pretrained=missing", ": --pretrained=missing: no such file or folder; expected a netw"),
        ("--pretrained=missing.h5", ": --pretrained=missing.h5: no such file"),
        ("--pretrained=README.md", ": --pretrained=README.md: "),
        ("--pretrained=tests", ": --pretrained=tests: no runs are there; "),
        ("--pretrained=", "--pretrained: it is empty; expected the folder of a run, or a file"),
        (f"{BASE}model.width=2", "with config.model.width=1.0, not 2.0; expected these fields"),
        (f"{BASE}model.projection=relu6", "with config.model.projection='linear', not 'relu6'; "),
        (f"{BASE}model.preset=digits", "with config.model.preset='small', not 'digits'; "),
        (f"{BASE}data.resolution=16", "with config.data.resolution=8, not 16; "),
        (f"{BASE}data.scaling=imagenet", "config.data.scaling='symmetric', not 'imagenet'; "),
        (f"{BASE}transfer.first=block_9", "'block_9': no such part; expected one of stem, block_"),
        ("--config.transfer.first=last_9", "config.transfer.first='last_9': no such part; "),
        ("--config.transfer.phase=tuning", "config.transfer.phase='tuning': expected one of"),
        ("--config.transfer.classes=3", "config.transfer.classes='3': it leaves one class, '3'"),
        ("--config.augment.flip=True", "config.augment.flip=True: expected False"),
    ],
)
def test_wrong_input_is_one_line(config, base, tmp_path, arguments, message):
    workdir = tmp_path / "work"
    words = arguments.format(base=base).split(" ")
    line = refusal(f"--config={config}", f"--workdir={workdir}", *words)
    assert line.startswith("python -m experiments.finetune: ")
    assert message in line
    assert not workdir.exists()


def test_what_no_memory_holds_is_refused(config, tmp_path):
    batch = "--config.train.evaluation_batch_size=65536"
    line = refusal(f"--config={config}", "--config.data.resolution=1024", batch, "--dry_run")
    assert "config.train.evaluation_batch_size=65536: the largest activation of a batch" in line
    assert "usable; expected a smaller value (in the phase " in line


LACKS = "the config lacks it; expected every field of configs/"
SEEDS = 'axis("seed", range(2))'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return config", "del config.data.scaling; return config", f"data.scaling: {LACKS}"),
        ("return config", "del config.model.conventions; return config", f"conventions: {LACKS}"),
        ("return config", "del config.transfer.start; return config", f"transfer.start: {LACKS}"),
        (
            SEEDS,
            f'{SEEDS}, axis("model.projection", ("linear", "relu6"))',
            "with config.model.projection='linear', not 'relu6'; expected these fields left out",
        ),
        (
            PHASES,
            '"scratch",',
            "--pretrained={base}: no run starts from it; expected runs of the phases ",
        ),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(base, tmp_path, old, new, message):
    path, workdir = tmp_path / "wrong.py", tmp_path / "work"
    assert old in small.TRANSFER
    path.write_text(small.TRANSFER.replace(old, new, 1))
    line = refusal(f"--config={path}", f"--pretrained={base}", f"--workdir={workdir}")
    assert message.format(base=base) in line
    assert not workdir.exists()


def test_weights_of_another_width_or_scaling_are_refused(weights, tmp_path, photos):
    folder = [f"--config=configs/transfer.py:folder,{photos}/"]
    folder += ["--config.data.resolution=32", f"--workdir={tmp_path / 'work'}"]
    folder += ["--config.train.batch_size=4"]
    folder += [f"--pretrained={weights}"]
    line = refusal(*folder)
    assert "config.data.scaling='weights': " in line
    assert "does not tell it; expected one of symmetric, imagenet" in line
    line = refusal(*folder, "--config.data.scaling=symmetric")
    assert "features.0.0.weight has shape (16, 3, 3, 3), the network needs (32, 3, 3, 3)" in line
    line = refusal(*folder[:-1])
    assert "--pretrained: it is missing" in line
    assert line.endswith(f"to train a base by; expected {phases.BASES}")


def test_a_base_inside_a_keras_model_is_planned_and_its_head_named(tmp_path, photos):
    path = tmp_path / "model.keras"
    layouts.write_archive(path, {}, layouts.MLP, inner=layouts.BASE)
    status, out, err = commands.run(
        "finetune",
        f"--config=configs/transfer.py:folder,{photos}/",
        f"--pretrained={path}",
        "--config.data.resolution=32",
        "--config.model.width=0.35",
        "--config.train.batch_size=4",
        "--config.seed=0",
        "--dry_run",
    )
    assert status == 0, err
    head = "batch_normalization, dense, dense_1"
    assert f"{path} (Keras (.keras)): left out its head, {head}" in " ".join(out.split())
    assert "Runs: 2, cohorts: 2; nothing is trained" in out


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    noise = np.random.default_rng(len(str(path))).integers(0, 40, (12, 12, 3), np.uint8)
    Image.fromarray(noise + np.uint8(colour)).save(file, "png")
    path.write_bytes(file.getvalue())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images of two classes."""
    folder = tmp_path_factory.mktemp("images")
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for name, colour in (("dark", 20), ("light", 200)):
            for number in range(count):
                picture(folder / split / name / f"{number}.png", colour)
    return folder


def test_one_class_or_a_class_with_one_image_is_refused(weights, tmp_path):
    picture(tmp_path / "one" / "dark" / "0.png", 20)
    for number in range(9):
        picture(tmp_path / "one" / "light" / f"{number}.png", 200)
        picture(tmp_path / "alone" / "light" / f"{number}.png", 200)
    for folder, message in (
        ("one", "images of class 'dark': 1; expected 3 or more"),
        ("alone", "it has one class, 'light'; expected two or more to tell apart"),
    ):
        line = refusal(
            f"--config=configs/transfer.py:folder,{tmp_path}/{folder}/",
            f"--pretrained={weights}",
            "--config.data.scaling=symmetric",
        )
        assert f"config.data.name='{tmp_path}/{folder}/': " in line
        assert message in line
