"""Probes of bottlenecks: by hand, against whole matrices, and as lanes."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import arch
from mnv2_jax.ablation import cohort
from mnv2_jax.nn import probes
from mnv2_jax.nn.blocks.base import PROBES, Block, Knobs
from mnv2_jax.nn.network import Network, initialise, jaxpr_text
from tests.nn.test_moments import rank_by_svd


def small(**knobs):
    """A block of stride 2, and one that may have a shortcut."""
    block = arch.BlockSpec(**{"out_channels": 6, "expansion": 2, "divisor": 1, **knobs})
    return arch.NetworkSpec(6, 1, 4, 1, (dataclasses.replace(block, stride=2), block), 8, 10)


def drawn(spec, seed=0):
    """Variables of which no moment, offset or factor has its initial value."""
    generator = np.random.default_rng(seed)

    def change(path, leaf):
        positive = path[-1].key in ("var", "scale")
        return leaf + generator.uniform(0.1 if positive else -0.5, 0.5, leaf.shape).astype("f4")

    return jax.tree_util.tree_map_with_path(change, initialise(spec, seed))


def images_for(spec, count=6):
    return np.random.default_rng(1).uniform(-1, 1, (count, *spec.input_shape)).astype("f4")


def probed(spec, variables, images, knobs=None, size=None, weights=None):
    """Probe images in batches of a size."""
    observe = jax.jit(functools.partial(probes.observe, Network(spec)))
    sums = [probes.Sums() for _ in spec.blocks]
    size = size or len(images)
    weights = np.ones(len(images)) if weights is None else weights
    for first in range(0, len(images), size):
        batch = slice(first, first + size)
        for one, observed in zip(sums, observe(variables, knobs, images[batch]), strict=True):
            one.add(observed, weights[batch], first)
    return [one.finish() for one in sums]


def assert_same(found, expected, rtol):
    for a, b in zip(found, expected, strict=True):
        assert [x is None for x in a] == [x is None for x in b]
        assert (a.channels, a.dead) == (b.channels, b.dead)
        np.testing.assert_allclose(np.array(a, float), np.array(b, float), rtol=rtol, atol=rtol)


def by_hand(projection):
    """One block on images of one channel; every layer's kernel passes its input on."""
    block = arch.BlockSpec(
        out_channels=2, expansion=2, divisor=1, projection=projection, shortcut="none"
    )
    spec = arch.NetworkSpec(2, 1, 1, 1, (block,), 0, 2)
    variables = jax.tree.map(np.array, initialise(spec))
    params = variables["params"]

    def norm(layer, *bias):
        scale = np.sqrt(np.float32(1 + spec.conventions.norm_epsilon))  # Undoes the division.
        layer["scale"][:], layer["bias"][:] = scale, bias

    centre = np.zeros((3, 3, 1, 1), "f4")
    centre[1, 1] = 1
    params["stem"]["kernel"] = centre
    norm(params["stem_norm"], 0)
    own = params["block_01"]
    own["expand"]["kernel"] = np.array([[1, -1]], "f4")
    norm(own["expand_norm"], -0.5, 1.5)
    own["depthwise"]["kernel"] = np.broadcast_to(centre[..., 0], (3, 3, 2)).copy()
    norm(own["depthwise_norm"], 0, 0)
    own["project"]["kernel"] = np.eye(2, dtype="f4")
    norm(own["project_norm"], -1, -2)
    return spec, variables


X = np.array([0.0, 1, 2, 3])
BEFORE = np.stack([np.maximum(X - 0.5, 0) - 1, np.maximum(1.5 - X, 0) - 2], 1)
"""Of the block by hand, for the input X: (-1, -.5), (-.5, -1.5), (.5, -2), (1.5, -2)."""


@pytest.mark.parametrize(
    ("projection", "active", "dead"), [("relu6", 0.5, 1), ("linear", 2, 0), ("gelu", None, None)]
)
def test_a_block_by_hand(projection, active, dead):
    spec, variables = by_hand(projection)
    images = np.tile(X.reshape(1, 2, 2, 1), (4, 1, 1, 1)).astype("f4")
    (found,) = probed(spec, variables, images)
    after = {
        "relu6": BEFORE.clip(0, 6),
        "linear": BEFORE,
        "gelu": np.asarray(jax.nn.gelu(BEFORE, approximate=False)),
    }[projection]
    assert (found.channels, found.dead) == (2, dead)
    assert found.active == (active if active is None else pytest.approx(active))
    assert found.rank_before == pytest.approx(rank_by_svd(BEFORE), abs=1e-5)
    assert found.rank_after == pytest.approx(rank_by_svd(after), abs=1e-4)
    # x - 0.5 and 1.5 - x are above 0: of 0 the second, of 1 both, of 2 and 3 the first.
    assert found.positive_mean == pytest.approx(5 / 8)
    assert found.positive_min == pytest.approx(1 / 2)
    line = np.linalg.lstsq(np.c_[after, np.ones(4)], X, rcond=None)[0]
    residual = X - np.c_[after, np.ones(4)] @ line
    assert found.decodable == pytest.approx(1 - residual.var() / X.var(), abs=1e-3)


def test_a_dead_bottleneck_has_no_rank_and_shows_nothing():
    spec, variables = by_hand("relu6")
    variables["params"]["block_01"]["project_norm"]["bias"][:] = -9
    (found,) = probed(spec, variables, np.random.default_rng(0).uniform(0, 3, (400, 2, 2, 1)))
    assert (found.active, found.dead, found.rank_after) == (0, 2, 0)
    assert found.rank_before > 1
    assert found.decodable == pytest.approx(0, abs=0.02)


def test_the_target_of_stride_two_is_the_mean_of_cells():
    spec = small()
    spec = dataclasses.replace(spec, resolution=5)
    images = images_for(spec)
    seen, _ = probes.observe(Network(spec), drawn(spec), None, images)
    assert seen.output.shape[1:3] == (3, 3)
    plain = dataclasses.replace(spec, blocks=(spec.blocks[1],) * 2)
    x = np.asarray(probes.observe(Network(plain), drawn(spec), None, images)[0].target)
    np.testing.assert_allclose(seen.target[:, 0, 1], x[:, :2, 2:4].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(seen.target[:, 2, 0], x[:, 4, :2].mean(1), rtol=1e-5)
    np.testing.assert_allclose(seen.target[:, 2, 2], x[:, 4, 4], rtol=1e-5)


@pytest.mark.parametrize("placement", arch.PLACEMENTS)
@pytest.mark.parametrize("block", ["inverted_residual", "bottleneck", "sandglass", "fused"])
def test_measures_are_those_of_whole_tensors(block, placement):
    spec = small(block=block, projection="relu6", projection_placement=placement)
    variables, images = drawn(spec), images_for(spec)
    observed = probes.observe(Network(spec), variables, None, images)
    for seen, found in zip(observed, probed(spec, variables, images), strict=True):
        before = np.asarray(seen.before)
        inside = ((before > 0) & (before < 6)).reshape(-1, before.shape[-1])
        assert found.channels == before.shape[-1] == inside.shape[1]
        assert found.active == pytest.approx(inside.sum(1).mean())
        assert found.dead == (~inside.any(0)).sum()
        np.testing.assert_array_equal(seen.after, before.clip(0, 6))
        for tensor, rank in ((before, found.rank_before), (seen.after, found.rank_after)):
            matrix = np.asarray(tensor).reshape(-1, before.shape[-1])
            assert rank == pytest.approx(rank_by_svd(matrix), abs=1e-4)
        assert (found.positive_mean is None) == (block == "bottleneck")
    # The input of a block is the output of the one before, and the classifier's that of the last.
    np.testing.assert_array_equal(observed[1].target, observed[0].output)


@pytest.mark.parametrize("block", ["separable", "standard"])
def test_blocks_without_a_projection_have_no_bottleneck(block):
    spec = small(block=block)
    for found in probed(spec, drawn(spec), images_for(spec)):
        assert found[:-1] == (None,) * 7
        assert found.decodable is not None


def test_expansion_one_has_no_expansion_layer():
    spec = small(expansion=1)
    for found in probed(spec, drawn(spec), images_for(spec)):
        assert (found.positive_mean, found.positive_min) == (None, None)
        assert found.active == found.channels


def mixed(first, **second):
    """A network whose blocks differ in projection and shortcut."""
    spec = small(**second)
    one = dataclasses.replace(spec.blocks[0], projection=first, projection_slope=0.0)
    return dataclasses.replace(spec, blocks=(one, spec.blocks[1]))


@pytest.mark.parametrize(
    "spec",
    [
        *(
            small(projection=projection, shortcut=shortcut)
            for projection in (*arch.CLIPS, "gelu")
            for shortcut in ("bottleneck", "none")
        ),
        small(projection="relu6", projection_slope=0.5, shortcut_weight=0.25),
        mixed("linear", projection="relu6"),
        mixed("relu", projection="leaky_relu", shortcut="none"),
        mixed("relu6", projection="relu6", projection_slope=1.0),
    ],
    ids=lambda spec: " ".join(
        f"{block.projection}-{block.projection_slope}-{block.shortcut}" for block in spec.blocks
    ),
)
def test_a_lane_of_a_program_measures_as_its_own_network_does(spec):
    variables, images = drawn(spec), images_for(spec)
    solo = probed(spec, variables, images)
    knobs = Knobs.of_blocks(spec.blocks)
    shared = cohort.without_lane_values(spec, slopes=bool(np.any(knobs.slope)))
    assert_same(probed(shared, variables, images, knobs), solo, 1e-6)
    for block, found in zip(spec.blocks, solo, strict=True):
        if block.clip is None:
            assert found.active is None
        else:
            assert (found.active == found.channels) == (block.clip == arch.CLIPS["linear"])


@settings(max_examples=8)
@given(st.integers(1, 9), st.sets(st.integers(0, 8), max_size=3))
def test_batches_of_any_size_give_the_same(size, absent):
    spec = small(projection="relu6")
    variables, images = drawn(spec), images_for(spec, 9)
    weights = np.array([float(number not in absent) for number in range(9)])
    whole = probed(spec, variables, images, weights=weights)
    assert_same(probed(spec, variables, images, size=size, weights=weights), whole, 1e-5)
    images[sorted(absent)] = 100  # They are left out.
    assert_same(probed(spec, variables, images, weights=weights), whole, 1e-5)


def test_inference_mode_leaves_moments_and_sees_each_image_alone():
    spec = small(projection="relu6")
    variables, images = drawn(spec), images_for(spec)
    _, changed = Network(spec).apply(variables, images, mutable=[PROBES, "batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])
    together = probes.observe(Network(spec), variables, None, images)
    alone = probes.observe(Network(spec), variables, None, images[2:3])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[2:3], b, 1e-5, 1e-6), together, alone)


def test_numbers_that_are_not_finite_are_refused():
    spec = small()
    images = images_for(spec)
    images[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="its tensors are not all finite; expected numbers"):
        probed(spec, drawn(spec), images)


@pytest.mark.parametrize("block", ["inverted_residual", "sandglass", "bottleneck", "fused"])
def test_probes_leave_training_initialisation_and_fingerprints_as_they_are(block, monkeypatch):
    """A fingerprint is recorded with each run: another one would disown finished runs."""
    spec = small(block=block, projection="relu6")
    assert initialise(spec).keys() == {"params", "batch_stats"}

    def texts():
        jaxpr_text.cache_clear()
        inference = jax.make_jaxpr(Network(spec).apply)(drawn(spec), images_for(spec))
        return jaxpr_text(spec), cohort.network_fingerprint(spec), str(inference)

    found = texts()
    monkeypatch.setattr(Block, "project", Block._projected)  # As it would be without probes.
    assert texts() == found
    jaxpr_text.cache_clear()
