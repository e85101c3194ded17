"""Claims whose interval counts test images too, and runs that diverged."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnv2_jax import checksums, predictions, schema, side_tables
from mnv2_jax.analysis import tables
from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, within_of
from mnv2_jax.analysis.means import over_seeds, over_seeds_and_images
from mnv2_jax.analysis.verdicts import decide
from mnv2_jax.predictions import LEFT_OUT, Predictions
from tests.analysis.synthetic import make_frame, stop, write_workdir

IMAGES, CLASSES = 200, 4
LABELS = np.arange(IMAGES, dtype=np.int32) % CLASSES
LINEAR = greater("linear", "", "Linear is better.", "model.projection", "linear", "relu6")
WHERE = {"model.shortcut": "none"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame((1, 6), seeds=4).assign(classes=CLASSES)


def predicted_by(row: "pd.Series[float]", **changed: object) -> Predictions:
    """Predictions of a run, harder for some images whatever the network."""
    rng = np.random.default_rng(int(row.name))  # type: ignore[call-overload]
    ease = np.random.default_rng(0).normal(size=IMAGES)
    gain = 1.5 if row["projection"] == "linear" else 0.5
    right = rng.normal(size=IMAGES) < 1 + ease + gain
    values = {
        "labels": LABELS,
        "predicted": np.where(right, LABELS, (LABELS + 1) % CLASSES).astype(np.int32),
        "losses": rng.exponential(size=IMAGES).astype(np.float32),
        "class_names": tuple("abcd"),
    }
    return Predictions(**(values | changed))  # type: ignore[arg-type]


def write(workdir: Path, frame: pd.DataFrame, made: dict[str, Predictions]) -> pd.DataFrame:
    """Write runs with predictions; return the table, whose measures are theirs."""
    frame = frame.copy()
    for index, row in frame.iterrows():
        if (found := made.get(row["run_id"])) and row["status"] == "done":
            seen = found.predicted != LEFT_OUT
            right = (found.predicted == found.labels)[seen]
            losses = [right.mean(), found.losses[seen].mean()]
            frame.loc[index, ["test_accuracy", "test_loss"]] = losses
    write_workdir(workdir, frame)
    for run, found in made.items():
        content = predictions.dumps(found)
        folder = workdir / "runs" / run
        (folder / schema.PREDICTIONS).write_bytes(content)
        sums = {schema.PREDICTIONS: checksums.sum_of(content)}
        checksums.write_json(folder / schema.RECORD[-1], {schema.SUMS: sums})
    return tables.read_results(workdir)


def of_all(frame: pd.DataFrame, **changed: object) -> dict[str, Predictions]:
    return {row["run_id"]: predicted_by(row, **changed) for _, row in frame.iterrows()}


def hits(frame: pd.DataFrame, made: dict[str, Predictions], **values: object) -> np.ndarray:
    """Return the mean hits of runs with these values, `(seeds, images)`."""
    chosen = frame[(frame[list(values)] == pd.Series(values)).all(axis=1)]
    return np.stack(
        [
            np.mean([made[run].predicted == LABELS for run in own["run_id"]], axis=0)
            for _, own in chosen.groupby("seed")
        ]
    )


def test_the_interval_is_over_seeds_and_images(tmp_path: Path, frame: pd.DataFrame) -> None:
    made = of_all(frame)
    results = write(tmp_path, frame, made)
    linear = hits(frame, made, projection="linear") - hits(frame, made, projection="relu6")
    at_1 = hits(frame, made, projection="linear", expansion=1) - hits(
        frame, made, projection="relu6", expansion=1
    )
    both = interaction("i", "", "", "projection", "linear", "relu6", "expansion", 1, 6)
    level = within_of("w", "", "", 0.9, 0.05, {"projection": "linear"})
    claims: list[Claim] = [LINEAR, both, level]
    first, second, third = decide(claims, results)
    cases = (
        (first, linear, 0.95, 0.0),
        (second, 2 * (at_1 - linear), 0.95, 0.0),  # One expansion less the other.
        (third, hits(frame, made, projection="linear"), 0.90, 0.9),
    )
    for row, table, level_of, value in cases:
        wanted = over_seeds_and_images(table).interval(level_of)
        assert row["estimate"] == pytest.approx(wanted.estimate - value)
        assert row["ci_low"] == pytest.approx(wanted.low - value)
        alone = over_seeds(table.mean(axis=1)).interval(level_of)
        assert row["seeds_high"] == pytest.approx(alone.high - value)
        assert (row["test_images"], row["seeds"]) == (IMAGES, 4)
        assert 0 < row["of_images"] < 1
    assert first["p_value"] == pytest.approx(2 * over_seeds_and_images(linear).p_above(0))
    # What an inconclusive claim is told.
    close = equivalent("e", "", "", "expansion", (1, 6), 0.001)
    (row,) = decide([close], results)
    if row["of_images"] > 0.5:
        assert any("200 test images: more of them would" in note for note in row["notes"])


def test_images_of_a_side_table_count_too(tmp_path: Path, frame: pd.DataFrame) -> None:
    of_table, of_runs = of_all(frame), of_all(frame, labels=LABELS[::-1])
    write(tmp_path, frame, of_runs)
    rows = {
        run: {"noise/accuracy": float((one.predicted == LABELS).mean())}
        for run, one in of_table.items()
    }
    column = schema.Column("noise/accuracy", "number", "measure", "Accuracy", "%", 1)
    records = {run: side_tables.record_of(tmp_path, run) for run in rows}
    table = side_tables.SideTable("noise", {column.name: column}, rows, {}, records, of_table)
    side_tables.write(tmp_path, table)
    results = tables.read_results(tmp_path)
    (row,) = decide([dataclasses.replace(LINEAR, metric="noise/accuracy")], results)
    difference = hits(frame, of_table, projection="linear") - hits(
        frame, of_table, projection="relu6"
    )
    expected = over_seeds_and_images(difference).interval(0.95)
    assert row["test_images"] == IMAGES
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((expected.low, expected.high))
    side_tables.write(tmp_path, table._replace(predictions={}))
    (row,) = decide(
        [dataclasses.replace(LINEAR, metric="noise/accuracy")], tables.read_results(tmp_path)
    )
    assert row["test_images"] is None


def test_losses_are_read_too_and_images_that_were_not_decoded_left_out(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    made = of_all(frame)
    for found in made.values():
        found.predicted[:3] = LEFT_OUT
    results = write(tmp_path, frame, made)
    loss = greater("l", "", "", "projection", "linear", "relu6", metric="test_loss")
    for row in decide([LINEAR, loss], results):
        assert row["test_images"] == IMAGES - 3
        assert row["estimate"] == pytest.approx((row["ci_low"] + row["ci_high"]) / 2)


@pytest.mark.parametrize("why", ["missing", "other labels", "other images", "metric"])
def test_without_the_same_images_the_interval_is_over_seeds(
    tmp_path: Path, frame: pd.DataFrame, why: str
) -> None:
    made, last = of_all(frame), frame.iloc[-1]
    claim = LINEAR
    if why == "missing":
        del made[last["run_id"]]
    elif why == "other labels":
        made[last["run_id"]] = predicted_by(last, labels=LABELS[::-1].copy())
    elif why == "other images":
        made[last["run_id"]] = predicted_by(last, images="drawn")
    else:
        claim = greater("v", "", "", "projection", "linear", "relu6", metric="validation_accuracy")
    (row,) = decide([claim], write(tmp_path, frame, made))
    assert (row["test_images"], row["of_images"]) == (None, None)
    assert (row["ci_low"], row["ci_high"]) == (row["seeds_low"], row["seeds_high"])


def test_seeds_that_draw_their_own_images_overlap(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame = frame.assign(test_images=IMAGES, train_images=2 * IMAGES)
    write(tmp_path, frame, {})
    for run, seed in zip(frame["run_id"], frame["seed"], strict=True):
        config = {"seed": seed, "data": {"split": "per_seed"}}
        checksums.write_json(tmp_path / "runs" / run / "config.json", config)
    (row,) = decide([LINEAR], tables.read_results(tmp_path))
    assert (row["test_images"], row["seeds"]) == (None, 4)
    # Of the variance 1 / 4 is for seeds, and 1 / 2 for what their images have in common.
    assert row["of_images"] == pytest.approx(2 / 3)
    widths = [row[f"{name}_high"] - row[f"{name}_low"] for name in ("ci", "seeds")]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(3))


def test_one_order_of_images_is_told(tmp_path: Path, frame: pd.DataFrame) -> None:
    def notes(order: str) -> str:
        results = write(tmp_path / order, frame, of_all(frame))
        for run in frame["run_id"]:
            checksums.write_json(
                tmp_path / order / "runs" / run / "config.json", {"data": {"order": order}}
            )
        (row,) = decide([LINEAR], results)
        return " ".join(row["notes"])

    assert "the interval says nothing of other orders." in notes("shared")
    assert "order" not in notes("own")


def test_packed_predictions_decide_the_same(tmp_path: Path, frame: pd.DataFrame) -> None:
    made = of_all(frame)
    made |= {run: predicted_by(frame.iloc[0], images="other") for run in [frame.iloc[0]["run_id"]]}
    results = write(tmp_path / "a", frame, made)
    other = write(tmp_path / "b", frame, {})
    before = decide([LINEAR, greater("n", "", "", "projection", "linear", "relu6", WHERE)], results)
    packed = predictions.pack(tmp_path / "a", frame["run_id"])
    (tmp_path / "b" / packed.name).write_bytes(packed.read_bytes())
    read = {run: predictions.read(tmp_path / "b", run) for run in frame["run_id"]}
    for run, found in read.items():
        assert found is not None
        assert found.images == made[run].images
        assert (found.predicted == made[run].predicted).all()
    results = tables.read_results(tmp_path / "a")
    other = tables.read_results(tmp_path / "b").assign(test_accuracy=results["test_accuracy"])
    again = decide([LINEAR, greater("n", "", "", "projection", "linear", "relu6", WHERE)], other)
    assert again == before
    assert before[1]["test_images"] == IMAGES
    (tmp_path / "b" / packed.name).write_bytes(b"damaged")
    assert predictions.read(tmp_path / "b", frame["run_id"][0]) is None


def test_a_run_that_diverged_counts_by_chance(tmp_path: Path, frame: pd.DataFrame) -> None:
    made = of_all(frame)
    for index in frame.index[(frame["projection"] == "relu6") & (frame["seed"] < 2)]:
        stop(frame, index)
        del made[frame.loc[index, "run_id"]]
    results = write(tmp_path, frame, made)
    dropped = greater("d", "", "", "projection", "linear", "relu6", diverged="dropped")
    loss = greater("l", "", "", "projection", "linear", "relu6", metric="test_loss")
    less = greater("less", "", "", "projection", "linear", "relu6", metric="diverged")
    chance, without, in_loss, seldom = decide([LINEAR, dropped, loss, less], results)
    assert (chance["pairs"], chance["dropped"], chance["at_chance"]) == (16, 0, 8)
    assert "8 runs that diverged count by chance" in chance["notes"][0]
    assert (without["pairs"], without["dropped"], without["at_chance"]) == (8, 8, 0)
    assert chance["test_images"] == without["test_images"] == IMAGES
    done = results[results["status"] == "done"].groupby(["projection", "seed"])["test_accuracy"]
    level = done.mean()
    gains = [
        level["linear", seed] - (level["relu6", seed] if seed > 1 else 0.25) for seed in range(4)
    ]
    assert chance["estimate"] == pytest.approx(np.mean(gains))
    losses = results.assign(test_loss=results["test_loss"].fillna(math.log(CLASSES)))
    by_side = losses.groupby("projection")["test_loss"].mean()
    assert in_loss["estimate"] == pytest.approx(by_side["linear"] - by_side["relu6"])
    # 8 of 16 runs with ReLU6, none of the others: fewer is better.
    assert (seldom["estimate"], seldom["pairs"]) == (-0.5, 16)
    assert seldom["measure"]["better"] == "lower"
    with pytest.raises(ValueError, match="claim 'x': diverged 'kept'; must be 'chance' or"):
        greater("x", "", "", "projection", "linear", "relu6", diverged="kept")  # type: ignore[arg-type]


def test_a_difference_that_would_not_matter(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["test_accuracy"] = 0.9 + np.random.default_rng(0).normal(0, 0.001, len(frame))
    frame["test_accuracy"] -= frame.groupby("projection")["test_accuracy"].transform("mean") - 0.9
    small = greater("s", "", "", "projection", "linear", "relu6", negligible=0.01)
    (row,) = decide([small], frame)
    assert (row["verdict"], row["p_value"]) == ("negligible", row["p_negligible"])
    large = frame.assign(
        test_accuracy=frame["test_accuracy"] + 0.005 * (frame["projection"] == "linear")
    )
    assert decide([small], large)[0]["verdict"] == "supported"  # It is both.
    (open_,) = decide([greater("o", "", "", "projection", "linear", "relu6")], frame)
    assert (open_["verdict"], open_["p_negligible"]) == ("inconclusive", None)
    with pytest.raises(ValueError, match="claim 'x': negligible 1; must be a fraction"):
        greater("x", "", "", "projection", "linear", "relu6", negligible=1)
