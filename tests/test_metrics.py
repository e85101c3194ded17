"""Metrics against other people's formulas, on NumPy and in compiled programs."""

import jax
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from mnv2_jax import metrics
from mnv2_jax.metrics import METRICS, Metric


def sample(images: int = 500, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images).astype(np.int32)
    return 3 * rng.normal(size=(images, classes)).astype(np.float32), labels


def measured(metric: Metric, logits: np.ndarray, labels: np.ndarray) -> float:
    sums = np.asarray(jax.jit(metric.per_image)(logits, labels))
    return metric.finish(sums.sum(0, dtype=np.float64), len(labels))


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(-1, keepdims=True)
    confidence, hits = shares.max(-1), shares.argmax(-1) == labels
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - hits[inside].mean())
    return error


def test_metrics_are_those_of_other_libraries():
    logits, labels = sample()
    shares = np.asarray(jax.nn.softmax(logits))
    expected = {
        "accuracy": accuracy_score(labels, logits.argmax(-1)),
        "loss": log_loss(labels, shares, labels=np.arange(10)),
        "top5_accuracy": top_k_accuracy_score(labels, logits, k=5, labels=np.arange(10)),
        "calibration_error": calibration_error(logits, labels),
    }
    assert {*expected} == {*METRICS}  # A metric that is added needs its formula here.
    for name, value in expected.items():
        assert measured(METRICS[name], logits, labels) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("name", METRICS)
def test_batches_in_numpy_and_all_images_in_a_compiled_program_agree(name):
    logits, labels = sample()
    metric = METRICS[name]
    batches = [metric.per_image(logits[part], labels[part]) for part in np.split(np.arange(500), 5)]
    compiled = np.asarray(jax.jit(metric.per_image)(logits, labels))
    np.testing.assert_allclose(compiled, np.concatenate(batches), rtol=1e-5, atol=1e-6)
    sums = sum(batch.sum(0, dtype=np.float64) for batch in batches)
    assert metric.finish(sums, 500) == pytest.approx(measured(metric, logits, labels), rel=1e-5)


def test_equal_logits_rank_as_argmax_ranks_them():
    logits, labels = np.zeros((10, 10), np.float32), np.arange(10)
    assert METRICS["top5_accuracy"].per_image(logits, labels).tolist() == [1.0] * 5 + [0.0] * 5
    assert METRICS["accuracy"].per_image(logits, labels).tolist() == [1.0] + [0.0] * 9


def test_logits_that_are_no_numbers_are_no_hits_of_the_top_five():
    logits = np.full((2, 10), np.nan, np.float32)
    assert METRICS["top5_accuracy"].per_image(logits, np.array([0, 7])).tolist() == [0.0, 0.0]


def test_the_default_metrics_come_first_and_once():
    found = metrics.choose(("top5_accuracy", "loss"), classes=10)
    assert [metric.name for metric in found] == ["accuracy", "loss", "top5_accuracy"]


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (("acuracy",), 10, "metrics='acuracy': expected FILE.py:OBJECT or one of accuracy, loss"),
        (("top5_accuracy",), 5, "metrics='top5_accuracy': expected a data set of 6 classes"),
        (("gone.py:BRIER",), 10, "metrics='gone.py:BRIER': no such Python file"),
    ],
)
def test_a_wrong_metric_is_named(names, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.choose(names, classes)


def test_a_metric_of_a_file_and_one_of_the_same_name(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from mnv2_jax.metrics import Metric\n"
        "BRIER = Metric('brier', lambda logits, labels: logits.sum(-1), 'Brier score')\n"
        "AGAIN = Metric('accuracy', lambda logits, labels: logits.sum(-1), 'accuracy')\n"
    )
    assert metrics.choose((f"{path}:BRIER",), 10)[-1].column("test") == "test_brier"
    with pytest.raises(ValueError, match="two have this name"):
        metrics.choose((f"{path}:AGAIN",), 10)
    with pytest.raises(ValueError, match="no such BRYER; expected BRIER, AGAIN"):
        metrics.find(f"{path}:BRYER")
