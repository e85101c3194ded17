"""The contract of all blocks, as checks: shapes, gradients, modes, types, lanes, names, cost.

A check takes a block's class and returns None or, in one line, the fault. The first line of its
docstring is printed beside its result.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs
from mnv2_jax.nn.cost import module_cost
from mnv2_jax.nn.network import jaxpr_text

Array = jax.Array
Check = Callable[[type[Block]], str | None]

_CHANNELS = 6
_BATCH = 4
_SPEC = arch.BlockSpec(out_channels=_CHANNELS, expansion=2, divisor=1)
_KNOBS = Knobs.of(arch.BlockSpec(projection="relu6"))

# Programs run once or twice here: optimising them would take longer than running them.
_QUICK_COMPILATION: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # Later versions have no other emitters.
    _QUICK_COMPILATION["xla_cpu_use_fusion_emitters"] = False


def shapes(block: type[Block]) -> str | None:
    """Every output has the right shape, by stride, size, padding, channels and mode."""
    cases = list(itertools.product(((8, 8), (7, 5), (1, 1)), (1, 2), (_CHANNELS, 9)))
    ways = list(itertools.product(("default", "torchvision"), (False, True)))
    for number, (size, stride, out) in enumerate(cases):
        # All 48 would take four times as long. Each stride and channels meet three of four ways.
        name, train = ways[(number + number // len(ways)) % len(ways)]
        # The last cases are of the first stage: expansion 1, which leaves odd channels odd.
        inputs, expansion = (7, 1) if number >= len(cases) - 2 else (_CHANNELS, _SPEC.expansion)
        spec = dataclasses.replace(_SPEC, stride=stride, out_channels=out, expansion=expansion)
        module = block(spec, arch.CONVENTIONS[name])
        run = functools.partial(module.init_with_output, train=train)
        x = jax.ShapeDtypeStruct((_BATCH, *size, inputs), jnp.float32)
        case = f"stride {stride}, {size[0]}x{size[1]} pixels"
        result = jax.eval_shape(run, jax.random.key(0), x, Carry())[0]
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Carry)):
            return f"{case}: expected a pair, the output and the carry"
        expected = (_BATCH, *(-(-side // stride) for side in size), out)
        if result[0].shape != expected:
            return f"{case}: the output has shape {result[0].shape}; expected {expected}"
    return None


def gradients(block: type[Block]) -> str | None:
    """Gradients of parameters and input are finite, on noise and on a constant image."""
    for stride in (1, 2):
        subject = _Subject(block, dataclasses.replace(_SPEC, stride=stride))
        for image, x in (("noise", subject.x), ("an image of zeros", 0 * subject.x)):
            of_params, of_x = subject.gradients(subject.variables, x, _KNOBS)
            for path, leaf in [("the input", of_x), *_named(of_params)]:
                if not np.isfinite(leaf).all():
                    return f"stride {stride}, {image}: the gradient of {path} is not finite"
    return None


def modes(block: type[Block]) -> str | None:
    """Training updates the running moments; inference keeps them, and results are per image."""
    subject = _Subject(block)
    other_batch = subject.x.at[1:].set(-2 * subject.x[1:])  # The first image is the same.
    y, after = subject.infer(subject.variables, subject.x, _KNOBS)
    other, _ = subject.infer(subject.variables, other_batch, _KNOBS)
    before = subject.variables.get("batch_stats", {})
    if not _equal(before, after):
        return "inference changed the running moments"
    if not np.array_equal(y[0], other[0]):
        return "in inference, an image's result depends on the others of its batch"
    if before and _equal(before, subject.train(subject.variables, subject.x, _KNOBS)[1]):
        return "training did not move the running moments; is `train` passed to every layer?"
    return None


def bfloat16(block: type[Block]) -> str | None:
    """bfloat16 input gives bfloat16 output, near the float32 one; moments stay float32."""
    subject = _Subject(block)
    for name, run in (("inference", subject.infer), ("training", subject.train)):
        y, _ = run(subject.variables, subject.x, _KNOBS)
        half, moments = run(subject.variables, subject.x.astype(jnp.bfloat16), _KNOBS)
        if half.dtype != jnp.bfloat16:
            return f"{name}: bfloat16 in gave {half.dtype} out"
        # A mantissa of 8 bits, and a few layers that each round.
        error = float(np.abs(half.astype(np.float32) - y).max() / np.abs(y).max())
        if not error < 0.1:
            return f"{name}: bfloat16 is off by {error:.0%} of the largest value"
        for path, leaf in _named(moments):
            if leaf.dtype != jnp.float32:
                return f"{name}: {path} became {leaf.dtype}; expected float32"
    return None


def lanes(block: type[Block]) -> str | None:
    """Lanes with their own weights, images and knobs have the results of runs alone."""
    subject = _Subject(block, dataclasses.replace(_SPEC, projection="leaky_relu"))
    choices = [
        arch.BlockSpec(),
        arch.BlockSpec(projection="relu6", shortcut="none"),
        arch.BlockSpec(projection="relu", projection_slope=0.25, shortcut_weight=0.5),
    ]
    runs: list[tuple[Any, Array, Knobs]] = [
        (subject.initialise(seed), seed * subject.x, Knobs.of(choice))
        for seed, choice in enumerate(choices, start=1)
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    together = _named(_compiled(jax.vmap(subject.gradients_of))(*stacked))
    for number, run in enumerate(runs):
        alone = _named(subject.gradients(*run))
        for (path, of_lanes), (_, of_run) in zip(together, alone, strict=True):
            if not _near(of_lanes[number], of_run):
                return f"lane {number} and the same run alone differ in {path}"
    return None


def split_batch(block: type[Block]) -> str | None:
    """Batches in two parts, as on two devices, have the results of whole batches."""
    subject = _Subject(block)
    halves = subject.x.reshape(2, -1, *subject.x.shape[1:])
    train = functools.partial(_Subject(block, axis_name="batch").apply, True)
    in_parts = _compiled(jax.vmap(train, in_axes=(None, 0, None), axis_name="batch"))
    y, moments = in_parts(subject.variables, halves, _KNOBS)
    whole, whole_moments = subject.train(subject.variables, subject.x, _KNOBS)
    pairs = [("the output", y.reshape(whole.shape), whole)]
    for (path, of_halves), (_, of_whole) in zip(
        _named(moments), _named(whole_moments), strict=True
    ):
        pairs += [(path, half, of_whole) for half in of_halves]
    for path, actual, expected in pairs:
        if not _near(actual, expected):
            return f"{path} differs; is `axis_name` passed to every BatchNorm?"
    return None


def knobs(block: type[Block]) -> str | None:
    """Projections and shortcuts in carry.knobs override those of the specification."""
    for own, projection, shortcut, expected in (
        ("linear", "relu6", "none", "relu6"),
        ("leaky_relu", "linear", "bottleneck", "linear"),
        ("leaky_relu", "leaky_relu", "none", "leaky_relu"),
        ("gelu", "relu6", "bottleneck", "gelu"),  # A function is no knob.
    ):
        subject = _Subject(block, dataclasses.replace(_SPEC, projection=own))
        spec = dataclasses.replace(_SPEC, projection=expected, shortcut=shortcut)
        by_spec, _ = _Subject(block, spec).infer(subject.variables, subject.x, None)
        chosen = Knobs.of(arch.BlockSpec(projection=projection, shortcut=shortcut))
        by_knobs, _ = subject.infer(subject.variables, subject.x, chosen)
        if not _near(by_knobs, by_spec):
            return f"projection {expected}, shortcut {shortcut}: carry.knobs is ignored"
    return None


def names(block: type[Block]) -> str | None:
    """Parameters have explicit names, whatever the size or the mode."""
    for stride in (1, 2):
        spec = dataclasses.replace(_SPEC, stride=stride)
        paths, other_paths = (
            [path for path, _ in _named(_init_shapes(block(spec), batch, side, train))]
            for batch, side, train in ((4, 8, False), (2, 5, True))
        )
        for path in paths:
            if re.search(r"(^|/)[A-Z]\w*_\d+(/|$)", path):
                return f"{path} is named by Flax, by the order of calls; give the layer a name"
        if paths != other_paths:
            return f"names depend on size or mode: {sorted({*paths} ^ {*other_paths})}"
    return None


def cost(block: type[Block]) -> str | None:
    """All parameters are counted, and the multiply-adds of all kernels."""
    x = jnp.zeros((1, 8, 8, _CHANNELS))
    counted = module_cost(block(_SPEC), x, Carry(), train=False)
    variables = _init_shapes(block(_SPEC), 1, 8, train=False)
    total = sum(leaf.size for _, leaf in _named(variables))
    if counted.params_with_statistics != total:
        return f"{total - counted.params_with_statistics} of {total} parameters are not counted"
    kernels = sum(leaf.ndim > 1 for _, leaf in _named(variables["params"]))
    missed = kernels - sum(bool(layer.kernel) for layer in counted.layers)
    if missed > 0:
        return f"kernels in no layer of their own: {missed}; their multiply-adds are not counted"
    return None if counted.madds else "no multiply-adds were found"


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (shapes, gradients, modes, bfloat16, lanes, split_batch, knobs, names, cost)
}
"""Every check, by name."""


def knobs_read(block: str) -> list[str]:
    """Return the knobs of `mnv2_jax.arch.KNOBS` that change the results of a network of the block.

    Args:
      block: see `mnv2_jax.nn.blocks.block_class`.
    """
    # ReLU6, since the placement of a linear projection changes nothing.
    base = arch.BlockSpec(block, projection="relu6", expansion=2)
    return [
        knob
        for knob, value in _OTHER_VALUES.items()
        if not same_network([base, dataclasses.replace(base, **{knob: value})])
    ]


_OTHER_VALUES: dict[str, Any] = {
    "expansion": 3,
    "kernel_size": 5,
    "projection": "relu",
    "projection_placement": "after",
    "projection_slope": 0.5,
    "projection_bias": 3.0,
    "shortcut_weight": 0.5,
    "shortcut": "none",
    "activation": "silu",
    "spatial_conv": "standard",
    "squeeze_excite": True,
}


def same_network(specs: list[arch.BlockSpec]) -> tuple[int, int] | None:
    """Return the places of two specs with the same jaxpr, of networks of two equal blocks."""

    def text(spec: arch.BlockSpec) -> str:
        if spec.projection == "linear":  # Its placement changes nothing.
            spec = dataclasses.replace(spec, projection_placement="before")
        # So many channels that close expansions are not rounded to the same.
        wide = dataclasses.replace(spec, out_channels=64, stride=1, divisor=1)
        return jaxpr_text(arch.NetworkSpec(8, 1, 64, 1, (wide, wide), 8, 2))

    places: dict[str, int] = {}
    for place, spec in enumerate(specs):
        before = places.setdefault(text(spec), place)
        if before != place:
            return before, place
    return None


@functools.lru_cache(maxsize=8)
class _Subject:
    """A block with variables, images and programs, each compiled at its first call.

    Programs take variables, images and knobs.
    """

    def __init__(
        self, block: type[Block], spec: arch.BlockSpec = _SPEC, axis_name: str | None = None
    ) -> None:
        self.module = block(spec, axis_name=axis_name)
        self.x = jax.random.normal(jax.random.key(7), (_BATCH, 7, 7, _CHANNELS))
        self._init = _compiled(functools.partial(self.module.init, train=False))
        self.infer = _compiled(functools.partial(self.apply, False))
        self.train = _compiled(functools.partial(self.apply, True))
        self.gradients = _compiled(self.gradients_of)

    @functools.cached_property
    def variables(self) -> Any:
        return self.initialise(0)

    def initialise(self, seed: int) -> Any:
        return self._init(jax.random.key(seed), self.x, Carry())

    def apply(self, train: bool, variables: Any, x: Array, knobs: Knobs | None) -> Any:
        carry = Carry(knobs=knobs)
        (y, _), updated = self.module.apply(
            variables, x, carry, train=train, mutable=["batch_stats"]
        )
        return y, updated.get("batch_stats", {})

    def gradients_of(self, variables: Any, x: Array, knobs: Knobs | None) -> tuple[Any, Array]:
        """Return the gradients of a weighted sum of the output by parameters and `x`."""

        def loss(params: Any, x: Array) -> Array:
            y = self.apply(True, {**variables, "params": params}, x, knobs)[0]
            return jnp.sum(y * jnp.sin(jnp.arange(y.size).reshape(y.shape)))

        return jax.grad(loss, argnums=(0, 1))(variables["params"], x)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=_QUICK_COMPILATION)


def _init_shapes(module: Block, batch: int, side: int, train: bool) -> Any:
    """Return the tree of the variables' shapes, for square images."""
    init = functools.partial(module.init, train=train)
    x = jax.ShapeDtypeStruct((batch, side, side, _CHANNELS), jnp.float32)
    return jax.eval_shape(init, jax.random.key(0), x, Carry())


def _named(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a tree with their paths, joined by "/"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _near(actual: Any, expected: Any) -> bool:
    """Return whether arrays are equal but for rounding, which differs between programs.

    Relative to the largest value, since gradients near 0 are sums that cancel.
    """
    bound = 1e-4 * max(1.0, float(np.abs(expected).max()))
    return bool(np.abs(actual - expected).max() <= bound)


def _equal(left: Any, right: Any) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))
