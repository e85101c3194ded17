import csv
import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments import bench
from mnv2_jax import presets
from mnv2_jax.nn.depthwise import depthwise_conv
from mnv2_jax.nn.network import Network

ROWS = [
    bench.Row("depthwise 3x3", "ms", 2.5, 50.0, 20.0),
    bench.Row("training", "images/s", 12000.0, 600.0, 20.0),
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
def test_both_contenders_compute_the_same(stride, padding):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 3)).astype(np.float32)
    ours, grouped = (
        jax.jit(convolve, static_argnums=(2, 3))(x, kernel, stride, padding)
        for convolve in (depthwise_conv, bench.grouped_conv)
    )
    np.testing.assert_allclose(ours, grouped, atol=1e-5)


def test_operator_row_is_milliseconds_and_their_ratio():
    row = bench.operator_row((2, 4, 4, 3), repeats=1)
    assert row.unit == "ms"
    assert "[2, 4, 4, 3]" in row.benchmark
    assert row.ratio == pytest.approx(row.grouped / row.ours)


def test_step_row_is_images_per_second_and_their_ratio(tiny):
    row = bench.step_row(presets.build(tiny, expansion=2), "tiny", repeats=1)
    assert row.unit == "images/s"
    assert row.ratio == pytest.approx(row.ours / row.grouped)


def test_the_network_with_grouped_convolutions_computes_the_same(tiny, monkeypatch):
    network = Network(presets.build(tiny, expansion=2))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
    variables = network.init(jax.random.key(0), images)
    expected = jax.jit(network.apply)(variables, images)
    replaced = []

    def counted(*arguments):
        replaced.append(1)
        return depthwise_conv(*arguments)

    monkeypatch.setattr(
        bench,
        "grouped_conv",
        counted,
    )
    with bench.nn.intercept_methods(bench._use_grouped_conv):
        actual = jax.jit(lambda *arguments: network.apply(*arguments))(variables, images)
    assert len(replaced) == 3
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_medians_call_every_contender_in_turns():
    calls = []
    seconds = bench.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert set(seconds) == {"a", "b"}
    changes = sum(left != right for left, right in itertools.pairwise(calls))
    assert changes == 1 + 2 * 3


def test_table_aligns_and_csv_says_where_it_was_measured():
    printed = io.StringIO()
    Console(file=printed, width=120).print(bench.table(ROWS))
    text = printed.getvalue()
    assert text.splitlines()[1].split()[-1] == "20.0"
    rows = list(csv.DictReader(io.StringIO(bench.to_csv(ROWS))))
    assert [row["benchmark"] for row in rows] == ["depthwise 3x3", "training"]
    assert float(rows[0]["ours"]) == 2.5
    assert rows[0]["jax"] == jax.__version__
    assert rows[0]["device"]
