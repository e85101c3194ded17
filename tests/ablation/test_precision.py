"""The evaluator of low precision, on trained networks, and on ones made wide by hand."""

import dataclasses

import numpy as np
import pytest
from flax import traverse_util

from configs import digits
from mnv2_jax import api, arch, presets, side_tables
from mnv2_jax.ablation import precision
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import greater
from mnv2_jax.nn import quantisation, trained
from mnv2_jax.train import parallel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_charts")]

TABLE = "test_precision"


def of(table):
    """The table without the side table's name in columns."""
    return table.rename(columns=lambda name: name.partition("/")[2])


@pytest.fixture(scope="module")
def results(without_charts, tmp_path_factory):
    """Networks of digits, with ReLU6 and with ReLU."""
    config = digits.get_config()
    config.train.epochs = 8
    points = product(axis("model.activation", ("relu6", "relu")), axis("seed", range(2)))
    experiment = api.Experiment(config, points, name="precise")
    return experiment.run(tmp_path_factory.mktemp("runs") / "work", progress=False)


@pytest.fixture(scope="module")
def table(results):
    compiled = []
    original = parallel.Layout.compile
    with pytest.MonkeyPatch.context() as patch:

        def compile_one(self, function, *arguments, **options):
            compiled.append(function)
            return original(self, function, *arguments, **options)

        patch.setattr(parallel.Layout, "compile", compile_one)
        found = of(results.evaluate(evaluator="precision"))
    # One program of each spec: ReLU6, the same with ReLU instead, and networks that have ReLU.
    assert len(compiled) == 3
    return found


def test_accuracy_is_that_of_float32(results, table):
    frame = results.frame.set_index("run_id").loc[table.index]
    np.testing.assert_allclose(table["accuracy"], frame["test_accuracy"], atol=1 / 500)
    names = {f"{variant.name}_drop" for variant in precision.VARIANTS}
    assert {name for name in table if name.endswith("_drop")} == names | {"relu_drop"}
    is_relu = frame["model.activation"] == "relu"
    assert table.loc[is_relu, "relu_drop"].isna().all()
    assert table.loc[~is_relu, "relu_drop"].abs().max() < 0.05


def test_more_bits_lose_less(table):
    means = table.mean()
    for kind in ("tensor", "channel"):
        found = [means[f"w{bits}a{bits}_{kind}_drop"] for bits in (8, 6, 4, 3)]
        assert sorted(found) == pytest.approx(found, abs=0.005)
        assert means[f"w8a8_{kind}_drop"] < 0.01
        assert means[f"w3a3_{kind}_drop"] > 0.1
    assert means["w3a3_tensor_drop"] > means["w3a3_channel_drop"]
    for name in ("bfloat16", "float16", "float8_e4m3"):
        assert means[f"{name}_drop"] < 0.01
    assert means["float8_e5m2_drop"] < 0.05


def test_measures_are_described_and_decide_claims(results, table):
    column = results.column(f"{TABLE}/w8a8_tensor_drop")
    title = "Drop, 8 bits per tensor, test_precision (%)"
    assert (column.title, column.better, column.kind) == (title, "lower", "measure")
    claim = greater("less", "here", "ReLU6 loses less", "model.activation", "relu6", "relu")
    claim = dataclasses.replace(claim, metric=column.name)
    assert results.decide([claim])["pairs"].tolist() == [2]
    (side_table,) = side_tables.read_all(results.path)
    assert side_table.predictions.keys() == {*table.index}


def test_each_layer_of_a_block_is_explained(results, table):
    blocks = results.blocks(TABLE)
    assert (blocks["activation_of_depthwise"][blocks["model.activation"] == "relu6"] <= 6).all()
    run, own = next(iter(blocks.groupby("run_id")))
    network = trained.load(results.path / "runs" / run / trained.FILE)
    folded = quantisation.fold(network.variables, network.spec.conventions.norm_epsilon)
    for name, ratio in zip(own["name"], own["kernel_ratio_of_depthwise"], strict=True):
        largest = quantisation.largest(folded["params"][name]["depthwise"]["kernel"])
        assert ratio == pytest.approx(largest.max() / largest.min(), rel=1e-4)
    ratios = [name for name in own if name.startswith("kernel_ratio_of_")]
    assert table.loc[run, "kernel_ratio"] >= own[ratios].max(axis=None) * 0.999


def widened(network, factor):
    """Give one depthwise channel per block a wide kernel; the network computes the same.

    It is the channel that matters least, whose input gets as small as the kernel gets wide. A
    layer before it takes that up, so that ReLU is needed in between.
    """
    flat = traverse_util.flatten_dict(network.variables)
    for name in network.spec.parts[1 : len(network.spec.blocks) + 1]:
        if ("params", name, "expand", "kernel") not in flat:
            continue
        scale = np.abs(flat["params", name, "depthwise_norm", "scale"])
        least = (scale * np.linalg.norm(flat["params", name, "project", "kernel"], axis=1)).argmin()
        for leaf in ("scale", "bias"):
            flat["params", name, "expand_norm", leaf][least] /= factor
        flat["params", name, "depthwise", "kernel"][..., least] *= factor
    return dataclasses.replace(network, variables=traverse_util.unflatten_dict(flat))


def test_wide_kernels_collapse_per_tensor_and_are_repaired(results, table, tmp_path):
    """As published of MobileNetV2 (Krishnamoorthi 2018, Table 2; Nagel et al. 2019, Table 1)."""
    run = table.index[table["relu_drop"].isna()][0]
    network = trained.load(results.path / "runs" / run / trained.FILE)
    path = tmp_path / trained.FILE
    trained.save(path, widened(network, factor=1000.0))
    (_, wide), *_ = of(api.evaluate(path, "digits", evaluator="precision")).iterrows()
    assert wide["accuracy"] == pytest.approx(table.loc[run, "accuracy"], abs=1 / 500)
    assert wide["kernel_ratio"] > 100
    chance = 1 / len(network.class_names)
    assert wide["accuracy"] - wide["w8a8_tensor_drop"] <= chance + 0.05
    assert wide["w8a8_channel_drop"] <= 0.02
    assert wide["w8a8_tensor_equalised_drop"] <= 0.03


APART = """
import flax.linen as nn
from mnv2_jax.nn import layers
from mnv2_jax.nn.blocks.base import Block


class Apart(Block):
    \"\"\"A norm that is named after a layer that it does not follow.\"\"\"

    @nn.compact
    def __call__(self, x, carry, *, train):
        y = layers.Pointwise(self.spec.out_channels, name="project")(x)
        return layers.BatchNorm(name="project_norm")(nn.tanh(y), train=train), carry


class Local(Block):
    \"\"\"A layer with a kernel that is no convolution.\"\"\"

    @nn.compact
    def __call__(self, x, carry, *, train):
        y = nn.ConvLocal(self.spec.out_channels, (1, 1), name="project")(x)
        return layers.BatchNorm(name="norm")(y, train=train), carry


class Flax(Block):
    \"\"\"Flax's own layer, called twice.\"\"\"

    @nn.compact
    def __call__(self, x, carry, *, train):
        layer = nn.Conv(x.shape[-1], (1, 1), use_bias=False, name="twice")
        y = layers.Pointwise(self.spec.out_channels, name="project")(layer(nn.tanh(layer(100 * x))))
        return layers.BatchNorm(name="project_norm")(y, train=train), carry
"""


def measured(tmp_path, name):
    """Measure a run of one epoch whose block is a class of `APART`."""
    block = tmp_path / "apart.py"
    block.write_text(APART)
    presets.PRESETS["apart"] = presets.Preset(
        8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 1, 1),), 32, 10, arch.BlockSpec(divisor=1)
    )
    config = digits.get_config()
    config.model.preset, config.model.block = "apart", f"{block}:{name}"
    config.train.epochs = 1
    experiment = api.Experiment(config, axis("seed", (0,)), name="apart")
    results = experiment.run(tmp_path / "work", progress=False)
    results.evaluate(evaluator="precision")
    return results.blocks(TABLE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Apart",
            r"^run \w+: its logits change where BatchNorms are folded into kernels;",
        ),
        (
            "Local",
            r"^run \w+: the kernel of block_01/project would not be rounded; expected",
        ),
    ],
)
def test_what_would_give_wrong_numbers_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        measured(tmp_path, name)


def test_a_layer_of_flax_that_is_called_twice_has_the_range_of_both_calls(tmp_path):
    blocks = measured(tmp_path, "Flax")
    network = trained.load(next((tmp_path / "work" / "runs").glob(f"*/{trained.FILE}")))
    folded = quantisation.fold(network.variables, network.spec.conventions.norm_epsilon)
    kernel = folded["params"]["block_01"]["twice"]["kernel"]
    largest = quantisation.largest(kernel)
    ratio = blocks["kernel_ratio_of_twice"].item()
    assert ratio == pytest.approx(largest.max() / largest.min(), rel=1e-4)
    assert blocks["activation_of_twice"].item() > 50  # The second call's input is 1 at most.


def test_a_network_that_is_not_finite_is_named(results, table, tmp_path):
    run = table.index[0]
    network = trained.load(results.path / "runs" / run / trained.FILE)
    network.variables["params"]["classifier"]["bias"][0] = np.nan
    path = tmp_path / trained.FILE
    trained.save(path, network)
    with pytest.raises(ValueError, match=r"^run network: its logits are not finite; expected numb"):
        api.evaluate(path, "digits", evaluator="precision")
