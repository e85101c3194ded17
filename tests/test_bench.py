"""What benchmarks do with what they time; how long anything takes is never tested."""

import contextlib
import csv
import functools
import io
import itertools
import os
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments import bench
from experiments.benchmarks import (
    depthwise,
    grid,
    ours,
    peers,
    roofline,
    rows,
    step,
    timing,
    workers,
)
from experiments.benchmarks.rows import Row
from experiments.benchmarks.timing import Contender, Timing
from mnv2_jax import config_file
from mnv2_jax.nn.depthwise import depthwise_conv
from tests import commands


def timed(name, rate, how=""):
    return Timing(Contender(name, how, lambda: None, rate), 1.0, 3)


def figures(row):
    """Value and ratio of a row that has them."""
    assert row.value is not None
    assert row.ratio is not None
    return row.value, row.ratio


@pytest.fixture
def config():
    module = config_file.load(grid.CONFIG)
    config = module.get_config()
    config.train.epochs = 2
    config.train.batch_size = 32
    return config


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
def test_grouped_convolution_computes_what_ours_does(stride, padding):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 3)).astype(np.float32)
    mine, grouped = (
        jax.jit(convolve, static_argnums=(2, 3))(x, kernel, stride, padding)
        for convolve in (depthwise_conv, depthwise.grouped_conv)
    )
    np.testing.assert_allclose(mine, grouped, atol=1e-5)


def test_contenders_run_in_turns():
    order: list[str] = []
    contenders = [Contender(name, "", functools.partial(order.append, name), 1) for name in "ab"]
    timings = timing.in_turns(contenders, turns=3)
    assert [found.samples for found in timings] == [3, 3]
    changes = sum(left != right for left, right in itertools.pairwise(order))
    assert changes == 1 + 2 * 3


def test_a_slow_contender_sits_out():
    calls = []

    def slow():
        calls.append(1)
        time.sleep(0.06)

    alone, several = (
        timing.in_turns([Contender("slow", "", slow, 1)], turns=9, limit=limit)[0].samples
        for limit in (0.01, 0.1)
    )
    assert (alone, several) == (1, 2)
    assert len(calls) == 1 + (1 + 2)


def test_a_program_runs_on_one_device_or_on_all():
    ran = []
    calls = [lambda device=device: ran.append(device) for device in range(2)]
    one, all_of_them = timing.on_devices("plain", calls, amount=5)
    one.call()
    all_of_them.call()
    assert ran == [0, 0, 1]
    assert (one.amount, all_of_them.amount) == (5, 10)


def test_rows_compare_with_the_fastest_of_ours():
    found = [timed("ours, 1 lane", 100), timed("ours, 2 lanes", 200), timed("other", 10, "slowly")]
    found.append(timed("other", 50, "quickly"))
    compared = rows.compare("b", "images/s", found, {"peer": "absent: no peer"})
    assert [row.contender for row in compared] == ["ours, 1 lane", "ours, 2 lanes", "other", "peer"]
    assert [row.ratio for row in compared] == [2, 1, 4, None]
    assert compared[2].how == "quickly (the fastest of 2 ways)"
    assert compared[3] == Row("b", "peer", "absent: no peer", "images/s")
    assert rows.compare("b", "ms", found[:1], {})[0].value == 10


def test_a_table_names_who_is_absent_and_csv_says_where_it_was_measured():
    measured = [
        Row("training", "ours", "2 lanes", "images/s", 12345.6, 1.0, 3),
        Row("training", "Keras on JAX", "absent: no module", "images/s"),
    ]
    printed = io.StringIO()
    Console(file=printed, width=120).print(rows.table("A step", "times as fast", measured))
    lines = printed.getvalue().splitlines()
    assert lines[2].split()[-2:] == ["12,346", "1.00"]
    assert "absent: no module" in lines[3]
    written = list(csv.DictReader(io.StringIO(rows.to_csv(measured))))
    assert [row["value"] for row in written] == ["12345.6", ""]
    assert written[0]["jax"] == jax.__version__
    assert written[0]["device"]
    assert set(written[0]) >= {"processor", "commit", "dirty", *rows.PEERS}


def test_workers_run_side_by_side_and_tell_what_goes_wrong():
    with workers.Pool(2, 1) as pool:
        assert pool.how == "2 processes of 1 thread"
        powers = pool.prepare_each("functools:partial", [(pow, 2, 3), (pow, 3, 2)])
        sums = pool.prepare("functools:partial", sum, (1, 2))
        assert (powers(), sums(), powers()) == ([8, 9], [3, 3], [8, 9])
        with pytest.raises(workers.Unavailable, match="No module named 'no_such_peer'"):
            pool.prepare("no_such_peer:train")
        with pytest.raises(workers.Unavailable, match="ZeroDivisionError"):
            pool.prepare("functools:partial", divmod, 1, 0)()
        with pytest.raises(workers.Unavailable, match="ended before it answered"):
            pool.prepare("functools:partial", os._exit, 3)()


def test_a_peer_that_is_not_installed_is_absent():
    with workers.Pool(1, 1) as pool:
        ways = peers.torch_ways()
        asked = peers.ask("PyTorch", [pool], "no_such_peer:train", lambda way: (way,), ways, 1)
    reason = "absent: ModuleNotFoundError: No module named 'no_such_peer'"
    assert asked == ([], {"PyTorch": reason})


def test_step_rows_hold_ours_and_who_is_absent(tiny, monkeypatch):
    nothing = ours.Step(lambda: None, "2 per device", None)
    monkeypatch.setattr(ours, "training_step", lambda *_, shared: nothing)
    monkeypatch.setattr(peers, "torch_pools", lambda: contextlib.nullcontext([]))
    monkeypatch.setattr(peers, "ask", lambda name, *_: ([], {name: "absent: not installed"}))
    measured = step.measure([step.Workload(tiny, 1, 8, 8, 2)], turns=1)
    of = {row.contender: row for row in measured}
    mine = ["ours, 1 lane", "ours, 2 lanes", "ours, 1 lane, batches shared"]
    assert list(of)[:3] == mine
    assert min(ratio for _, ratio in map(figures, measured[:3])) == 1
    assert of["PyTorch, eager"].how == "absent: not installed"
    assert "--thorough" in of["PyTorch, torch.compile"].how


def test_pytorch_trains_some_runs_dealt_out_and_scaled(config, dots):
    given = []

    class Pool(workers.Pool):
        def __init__(self, count):
            self.count = count
            self.how = f"{count} processes"

        def prepare_each(self, task, hands):
            given.append([len(specs) for specs, *_ in hands])
            epochs = hands[0][3]
            return lambda: [[(4.0 * epochs, 0.9)] * len(specs) for specs, *_ in hands]

    how, *means = grid.sampled(dots, [config] * 3, [Pool(1), Pool(2)])
    assert given == [[1], [1, 1], [2, 1]]
    assert how == "2 processes"
    assert means == pytest.approx([4.0, 0.9])


def test_roofline_gives_shares_of_the_rates_measured(tiny):
    measured = roofline.measure([(tiny, 4)], lanes=(1,), copied_values=1000, matrix_side=8)
    copy, product, traffic, arithmetic = map(figures, measured)
    assert traffic[1] == pytest.approx(traffic[0] / copy[0])
    assert arithmetic[1] == pytest.approx(arithmetic[0] / product[0])


def test_every_workload_names_a_preset_with_a_batch():
    for load in step.WORKLOADS:
        assert load.spec.conventions.padding == "SYMMETRIC"
        assert load.images == load.batch


def test_groups_are_chosen_by_name():
    assert bench.chosen(None) == list(bench.GROUPS)
    assert bench.chosen(["grid", "step"]) == ["step", "grid"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--only=step,wings", "--only=wings: expected some of depthwise, step, grid, "),
        ("--only=", "--only=: expected some of depthwise, "),
        ("--output=README.md", "--output=README.md: it is a file; expected a folder"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(flag, message):
    status, out, err = commands.run("bench", flag)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.bench: {message}"), err
    assert len(err.splitlines()) == 1
