import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict, FieldReference, FrozenConfigDict

from mnv2_jax.ablation import grid


@pytest.fixture
def config():
    model = {"expansion": 6.0, "projection": "linear", "squeeze_excite": False}
    return ConfigDict({"seed": 0, "model": model})


def test_product_zip_and_chain():
    a, b = grid.axis("a", (1, 2)), grid.axis("b", "xy")
    assert grid.product(a, b).points == (
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    )
    assert grid.zipped(a, b).points == ({"a": 1, "b": "x"}, {"a": 2, "b": "y"})
    assert grid.chain(a, b).points == ({"a": 1}, {"a": 2}, {"b": "x"}, {"b": "y"})


def test_zipped_axes_are_of_one_length():
    with pytest.raises(ValueError, match=r"^grid: zipped axes have lengths \[2, 3\]"):
        grid.zipped(grid.axis("a", (1, 2)), grid.axis("b", (1, 2, 3)))


@pytest.mark.parametrize("join", [grid.product, grid.zipped])
def test_a_path_is_set_once(join):
    with pytest.raises(ValueError, match=r"^grid: a is set by two axes; expected one$"):
        join(grid.axis("a", (1,)), grid.axis("a", (2,)))


def test_a_grid_and_a_config_make_runs(config):
    points = grid.product(grid.axis("model.expansion", (1, 6)), grid.axis("seed", range(3)))
    runs = grid.expand(config, points)
    assert [(run.model.expansion, run.seed) for run in runs] == [
        (1.0, 0),
        (1.0, 1),
        (1.0, 2),
        (6.0, 0),
        (6.0, 1),
        (6.0, 2),
    ]
    assert config.model.expansion == 6.0
    assert len({grid.run_id(run) for run in runs}) == 6


def test_a_pinned_axis_collapses(config):
    points = grid.product(grid.axis("model.expansion", (1, 2)), grid.axis("seed", range(3)))
    runs = grid.expand(config, points, pinned={"model.expansion"})
    assert [(run.model.expansion, run.seed) for run in runs] == [(6.0, 0), (6.0, 1), (6.0, 2)]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (grid.axis("seed", ()), "grid: it is empty"),
        (grid.product(grid.axis("seed", (1,)), grid.axis("model.expansion", ())), "grid: it is"),
        (grid.axis("model.expansoin", (1,)), r"grid: config\.model\.expansoin: .*mean expansion\?"),
        (grid.axis("modle.expansion", (1,)), r"grid: config\.modle: no .* mean model\?"),
        (grid.axis("seed.x", (1,)), r"grid: config\.seed\.x: no such field; config\.seed is"),
        (grid.axis("model.expansion", ("six",)), "config.model.expansion='six': expected a value"),
        (grid.axis("seed", (1.5,)), "config.seed=1.5: expected a value of type int"),
        (
            grid.axis("model.squeeze_excite", (2,)),
            "config.model.squeeze_excite=2: expected True or",
        ),
        (grid.axis("model", (2,)), "config.model=2: expected a field below it, such as config.mod"),
        (grid.axis("model.projection", (6,)), "config.model.projection=6: expected a value of"),
        (grid.axis("seed", (1, 2, 1)), r"grid: \{'seed': 1\} appears twice"),
    ],
)
def test_a_wrong_grid_is_refused_with_one_line(config, points, message):
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        grid.expand(config, points)
    assert "\n" not in str(refused.value)


def test_a_run_is_its_config_whatever_the_order_of_fields():
    one = ConfigDict({"a": 1, "b": {"c": 2.0, "d": "x"}})
    other = ConfigDict({"b": {"d": "x", "c": 2.0}, "a": 1})
    assert grid.run_id(one) == grid.run_id(other)
    assert len(grid.run_id(one)) == 12


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers() | st.floats(0, 1) | st.text()))
def test_every_change_of_a_value_is_another_run(values):
    base = grid.run_id(ConfigDict(values))
    for name in values:
        assert grid.run_id(ConfigDict({**values, name: "changed to this"})) != base


def test_ids_do_not_depend_on_the_process():
    code = (
        "from ml_collections import ConfigDict; from mnv2_jax.ablation import grid; "
        "print(grid.run_id(ConfigDict({'seed': 0, 'model': {'expansion': 6.0}})))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "1", "PATH": ""},  # Here it is random.
        capture_output=True,
        text=True,
        check=True,
    )
    ours = grid.run_id(ConfigDict({"seed": 0, "model": {"expansion": 6.0}}))
    assert other.stdout == f"{ours}\n"


@pytest.mark.parametrize("kind", [ConfigDict, FrozenConfigDict])
def test_an_id_is_a_hash_of_the_whole_config_but_for_what_is_observed(kind):
    shared = FieldReference(3)
    sections = {"train": {"epochs": shared, "rate": 0.1, "last": {"b": None, "a": True}}}
    config = kind({**sections, "also": shared, "seed": 0})
    if kind is ConfigDict:
        config.lock()
    runs = grid.expand(config, grid.axis("seed", (0, 7)))
    assert [run.seed for run in runs] == [0, 7]
    for run in runs:
        assert type(run) is ConfigDict
        run.train.other = 1  # It is one's own, and not locked.
        assert run.metrics == "accuracy,loss"  # A later field, at its neutral value.
        observed = ("metrics", "evaluate_test")
        whole = {name: value for name, value in run.to_dict().items() if name not in observed}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        assert grid.run_id(run) == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert "other" not in config.train
    assert grid.fields(config) == {
        "also": 3,
        "seed": 0,
        "train.epochs": 3,
        "train.last.a": True,
        "train.last.b": None,
        "train.rate": 0.1,
    }


def test_where_keeps_the_points_that_are_wanted():
    points = grid.product(grid.axis("model.width", (1, 2)), grid.axis("model.expansion", (1, 6)))
    kept = grid.where(points, lambda point: point["model.width"] < point["model.expansion"])
    assert [tuple(point.values()) for point in kept.points] == [(1, 6), (2, 6)]
    assert grid.where(points, lambda point: False).points == ()


PLAN = grid.auto(minimum=4, step=2, budget=9)


def test_seeds_that_stop_by_themselves_are_carried_through_a_grid():
    seeds, widths = grid.axis("seed", PLAN), grid.axis("model.width", (1, 2))
    both = grid.product(widths, seeds)
    assert [point["seed"] for point in both.points] == [0, 1, 2, 3] * 2
    for one in (
        seeds,
        both,
        grid.chain(both, grid.product(grid.axis("model.width", (3,)), seeds)),
        grid.where(both, lambda point: point["model.width"] > 1),
        grid.with_seeds(widths, PLAN),
    ):
        assert one.seeds == PLAN
    assert grid.with_seeds(both, range(3)).seeds is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda seeds: grid.zipped(seeds, seeds), "grid: zipped axes have seeds that stop by them"),
        (
            lambda seeds: grid.chain(seeds, grid.axis("seed", (7,))),
            "grid: chained parts have seeds auto(minimum=4, step=2, budget=9) and others; expected",
        ),
        (
            lambda seeds: grid.where(seeds, lambda point: point["seed"] < 2),
            "grid: where leaves out some seeds of auto(minimum=4, step=2, budget=9); expected all",
        ),
        (lambda seeds: grid.axis("model.width", PLAN), "grid: model.width has the values auto(mi"),
    ],
)
def test_what_such_seeds_cannot_be_joined_with_is_refused(make, message):
    with pytest.raises(ValueError, match="expected") as error:
        make(grid.axis("seed", PLAN))
    assert str(error.value).startswith(message)
