"""The PyTorch network of the benchmarks computes and trains like ours."""

import jax
import numpy as np
import optax
import pytest
from flax import traverse_util

from mnv2_jax import presets
from mnv2_jax.nn.cost import network_cost
from mnv2_jax.nn.network import Network
from tests.parity import compare

pytestmark = pytest.mark.slow


@pytest.fixture
def networks(torch):
    from experiments.benchmarks import torch_network

    return torch_network


def with_weights(networks, spec):
    """A PyTorch network and our variables, with equal random values."""
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            inputs = np.prod(leaf.shape[:-1]) if leaf.ndim != 3 else leaf.shape[0] ** 2
            return generator.normal(0, (2 / inputs) ** 0.5, leaf.shape).astype(np.float32)
        low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.2, 0.2)
        return generator.uniform(low, high, leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, compare.zeros(spec))
    network = networks.Network(spec)
    network.load(traverse_util.flatten_dict(variables))
    return network, variables


SPECS = {
    "digits": presets.build("digits"),
    "digits_1_relu6_none": presets.build(
        "digits", expansion=1, projection="relu6", shortcut="none"
    ),
    "small_32px": presets.build("small_32px"),
    "small_32px_torchvision": presets.build("small_32px", conventions="torchvision", kernel_size=5),
    "mobilenet_v2_32px": presets.build("mobilenet_v2_32px"),
}


@pytest.mark.parametrize("name", SPECS)
def test_parameters_and_logits_are_ours(torch, networks, report, name):
    spec = SPECS[name]
    network, variables = with_weights(networks, spec)
    assert sum(value.numel() for value in network.parameters()) == network_cost(spec).params
    images = compare.images_for(spec, 4)
    ours = compare.inference(spec)(variables, images)
    with torch.inference_mode():
        theirs = network.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert report("logits", compare.worst(ours, theirs.numpy())) < 1e-4


def test_two_steps_of_training_are_ours(torch, networks, report):
    from experiments.benchmarks.settings import Sgd

    spec = SPECS["digits"]
    network, variables = with_weights(networks, spec)
    settings = Sgd(learning_rate=1e-2, momentum=0.9, weight_decay=1e-2, label_smoothing=0.1)
    images = compare.images_for(spec, 16)
    labels = np.random.default_rng(1).integers(0, spec.classes, 16)
    trainer = networks.Trainer(network.train(), settings)
    theirs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    losses = [trainer.step(*theirs).item() for _ in range(2)]

    kernels = jax.tree.map(lambda leaf: leaf.ndim > 1, variables["params"])
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-2, kernels), optax.sgd(1e-2, 0.9, nesterov=True)
    )
    targets = optax.smooth_labels(jax.nn.one_hot(labels, spec.classes), 0.1)

    @jax.jit
    def step(variables, moments):
        def loss_of(params):
            logits, updated = Network(spec).apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy(logits, targets).mean(), updated

        (loss, updated), slopes = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        updates, moments = optimizer.update(slopes, moments, variables["params"])
        return (
            {"params": optax.apply_updates(variables["params"], updates), **updated},
            moments,
            loss,
        )

    moments = optimizer.init(variables["params"])
    for expected in losses:
        variables, moments, loss = step(variables, moments)
        assert report("loss", compare.worst(loss, expected)) < 1e-4
    after = networks.Network(spec)
    after.load(traverse_util.flatten_dict(variables))
    pairs = zip(after.state_dict().items(), network.state_dict().values(), strict=True)
    differences = [
        compare.worst(mine, other)
        for (name, mine), other in pairs
        if not name.endswith(("num_batches_tracked", "project_norm.bias"))
    ]
    assert report("weights", max(differences)) < 1e-4


def test_a_knob_that_it_does_not_know_is_refused(networks):
    with pytest.raises(ValueError, match="squeeze_excite=True: expected one of False"):
        networks.Network(presets.build("digits", squeeze_excite=True))


def test_a_run_learns_and_is_timed(tiny, dots, networks):
    from experiments.benchmarks import ours, torch_run
    from experiments.benchmarks.settings import Sgd

    spec = presets.build(tiny, expansion=2)
    arguments = ours.splits(dots), 16, 30, 0, Sgd()
    seconds, accuracy = torch_run.train(spec, *arguments)
    assert seconds > 0
    assert accuracy > 0.5  # By chance: 0.1.


def test_shifted_images_are_the_images_moved(torch, networks):
    from experiments.benchmarks import torch_run

    torch.manual_seed(0)
    images = torch.rand(50, 2, 4, 5) * 2 - 1
    moved = torch_run.shifted(images, 1)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    for before, after in zip(padded, moved, strict=True):
        places = [(row, column) for row in range(3) for column in range(3)]
        assert any(
            torch.equal(before[:, row : row + 4, column : column + 5], after)
            for row, column in places
        )
    assert not torch.equal(moved, images)


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_pytorch_is_asked_for_runs(tiny, networks, channels_last):
    from experiments.benchmarks import torch_tasks
    from experiments.benchmarks.settings import Sgd, TorchWay

    way = TorchWay(channels_last)
    torch_tasks.training(presets.build(tiny), 4, 2, Sgd(), way)()
    torch_tasks.depthwise((2, 6, 5, 3), 2, way)()
