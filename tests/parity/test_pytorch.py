"""Against torchvision's and timm's MobileNetV2."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mnv2_jax import arch, presets
from mnv2_jax.nn import pretrained
from mnv2_jax.nn.cost import network_cost
from mnv2_jax.nn.network import Network
from tests.parity import compare

pytestmark = pytest.mark.slow


def spec_of(resolution, **options):
    return presets.build(
        "mobilenet_v2", resolution=resolution, conventions="torchvision", **options
    )


def randomise(torch, model):
    generator = np.random.default_rng(1)
    state = {
        name: torch.from_numpy(compare.random_weights(name, tuple(value.shape), generator))
        if value.is_floating_point()
        else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)


def write(model, path):
    from safetensors.torch import save_file

    save_file(model.state_dict(), path)
    return path


def channels_first(torch, images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def logits_of(torch, model, images):
    with torch.inference_mode():
        return model.eval()(channels_first(torch, images)).numpy()


def logits_difference(torch, model, spec, folder, source):
    """The distance of our logits from a model's, with weights from a file that it wrote."""
    path = write(model, folder / "model.safetensors")
    loaded = pretrained.load(path, spec, compare.zeros(spec))
    found = (loaded.source, loaded.classifier, loaded.conventions)
    assert found == (source, "loaded", "torchvision")
    images = compare.images_for(spec, 2)
    ours = compare.inference(spec)(loaded.variables, images)
    return compare.worst(ours, logits_of(torch, model, images))


@pytest.mark.parametrize(
    ("width", "resolution"), [(0.35, 96), (0.35, 224), (1.0, 97), (1.0, 224), (1.4, 96)]
)
def test_torchvision_weights_give_torchvision_logits(
    torch, torchvision_models, tmp_path, report, width, resolution
):
    model = torchvision_models.MobileNetV2(width_mult=width)
    randomise(torch, model)
    spec = spec_of(resolution, width=width)
    difference = logits_difference(torch, model, spec, tmp_path, source="torchvision")
    assert report("logits", difference) < 1e-4


@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("mobilenetv2_100", {}),
        ("mobilenetv2_050", {"width": 0.5}),
        ("mobilenetv2_110d", {"width": 1.1, "depth": 1.2}),
    ],
)
def test_timm_weights_give_timm_logits(torch, timm, tmp_path, report, name, scaling):
    model = timm.create_model(name)
    randomise(torch, model)
    spec = spec_of(96, **scaling)
    assert network_cost(spec).params == sum(value.numel() for value in model.parameters())
    difference = logits_difference(torch, model, spec, tmp_path, source="timm")
    assert report("logits", difference) < 1e-4


def test_torchvision_takes_our_export(torch, torchvision_models, tmp_path, report):
    from safetensors.torch import load_file

    spec = spec_of(96)
    variables = jax.jit(Network(spec).init)(jax.random.key(0), compare.images_for(spec, 1))
    generator = np.random.default_rng(2)
    # Not initial moments and biases, 0 and 1, of which a swapped pair would pass.
    variables = jax.tree.map(
        lambda leaf: (
            leaf + generator.uniform(0, 0.2, leaf.shape).astype(np.float32)
            if leaf.ndim == 1
            else leaf
        ),
        variables,
    )
    path = tmp_path / "ours.safetensors"
    pretrained.save(path, spec, variables)
    model = torchvision_models.mobilenet_v2()
    state = load_file(path)
    model.load_state_dict(state, strict=True)
    assert {name: value.dtype for name, value in state.items()} == {
        name: value.dtype for name, value in model.state_dict().items()
    }
    images = compare.images_for(spec, 2)
    ours = compare.inference(spec)(variables, images)
    assert report("logits", compare.worst(ours, logits_of(torch, model, images))) < 1e-4


@pytest.mark.parametrize(
    ("precision", "limit"),
    [
        ("float64", 1e-6),
        # Rounding puts a handful of 9 million values on the other side of a ReLU6's bound, which
        # takes PyTorch's own float32 gradients up to 0.8 % away from its float64 ones.
        ("float32", 3e-2),
    ],
)
def test_a_step_of_training_has_torchvision_gradients_and_running_moments(
    torch, torchvision_models, tmp_path, report, precision, limit
):
    model = torchvision_models.MobileNetV2(dropout=0.0)
    randomise(torch, model)
    spec = spec_of(96)
    spec = dataclasses.replace(spec, conventions=dataclasses.replace(spec.conventions, dropout=0.0))
    path = tmp_path / "model.safetensors"

    def ours_of_theirs():
        loaded = pretrained.load(write(model.float(), path), spec, compare.zeros(spec))
        return loaded.variables

    weights = ours_of_theirs()
    images = compare.images_for(spec, 8).astype(precision)
    labels = np.random.default_rng(3).integers(0, spec.classes, 8)

    def loss_of(params, statistics):
        variables = {"params": params, "batch_stats": statistics}
        logits, updated = Network(spec).apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return -jax.nn.log_softmax(logits)[jnp.arange(8), labels].mean(), updated

    with jax.enable_x64(precision == "float64"):
        weights = jax.tree.map(lambda leaf: leaf.astype(precision), weights)
        step = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
        (loss, updated), gradients = step(weights["params"], weights["batch_stats"])
        ours = jax.tree.map(np.asarray, {"params": gradients, **updated})
        assert {leaf.dtype.name for leaf in jax.tree.leaves(ours)} == {precision}
    model.train().to(getattr(torch, precision))
    logits = model(channels_first(torch, images))
    their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    their_loss.backward()
    # Gradients go to our names and axes the way weights do, running moments with them.
    for parameter in model.parameters():
        parameter.data = parameter.grad
    theirs = jax.tree.map(np.asarray, ours_of_theirs())
    assert report("loss", compare.worst(loss, their_loss.item())) < 1e-5
    for collection, what in (("params", "gradient"), ("batch_stats", "running moment")):
        mine, other = (traverse_util.flatten_dict(tree[collection]) for tree in (ours, theirs))
        differences = {}
        for name in mine:
            difference = np.linalg.norm(mine[name] - other[name])
            # Every reader of a projection normalises it, which removes a constant of all pixels:
            # the bias has a gradient of 0 but for rounding, relative to that of the scale.
            of = (*name[:-1], "scale") if name[-2:] == ("project_norm", "bias") else name
            differences["/".join(name)] = float(difference / np.linalg.norm(other[of]))
        furthest = max(differences, key=differences.__getitem__)
        assert report(f"{what} ({furthest})", differences[furthest]) < limit


def test_conventions_named_torchvision_are_those_of_torchvision_and_timm(
    torch, torchvision_models, timm
):
    ways = arch.CONVENTIONS["torchvision"]
    for model in (torchvision_models.mobilenet_v2(), timm.create_model("mobilenetv2_050")):
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {(1 - norm.momentum, norm.eps) for norm in norms} == {
            (ways.norm_momentum, ways.norm_epsilon)
        }
    dropped = [
        layer.p
        for layer in torchvision_models.mobilenet_v2().modules()
        if isinstance(layer, torch.nn.Dropout)
    ]
    assert dropped == [ways.dropout]


def test_initial_weights_of_conventions_torchvision_vary_as_torchvision_weights(
    torch, torchvision_models, tmp_path, report
):
    torch.manual_seed(0)
    path = write(torchvision_models.mobilenet_v2(), tmp_path / "model.safetensors")
    spec = spec_of(96)
    theirs = pretrained.load(path, spec, compare.zeros(spec)).variables
    ours = jax.jit(Network(spec).init)(jax.random.key(0), compare.images_for(spec, 1))
    for kind, ratio in compare.initial_deviations(ours, theirs).items():
        report(f"deviation of {kind} over torchvision's", ratio)
