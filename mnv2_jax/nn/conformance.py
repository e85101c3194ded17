"""The contract of all blocks: shapes, gradients, modes, types, lanes, names.

A check takes a block's class and gives None, or says in one line what is wrong.
"""

import dataclasses
import functools
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
_KNOBS = Knobs.from_names("relu6", "bottleneck")

# A program here runs once or twice: compiling it well would take longer than running it.
_QUICK_COMPILATION: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # Later ones have no other emitters.
    _QUICK_COMPILATION["xla_cpu_use_fusion_emitters"] = False


def shapes(block: type[Block]) -> str | None:
    """Stride 1 and 2, even and odd sizes, both paddings, other channels, training and inference."""
    for size in ((8, 8), (7, 5), (1, 1)):
        for stride, out in ((1, _CHANNELS), (2, _CHANNELS), (1, 9), (2, 9)):
            for name in ("default", "torchvision"):
                spec = dataclasses.replace(_SPEC, stride=stride, out_channels=out)
                module = block(spec, arch.CONVENTIONS[name])
                expected = (_BATCH, *(-(-side // stride) for side in size), out)
                for train in (False, True):
                    problem = _shape_problem(module, (_BATCH, *size, _CHANNELS), expected, train)
                    if problem:
                        return f"stride {stride}, {size[0]}x{size[1]} pixels: {problem}"
    return None


def gradients(block: type[Block]) -> str | None:
    """Finite gradients of every parameter and of the input, on noise and on a constant image."""
    for stride in (1, 2):
        subject = _Subject(block, stride)
        for what, x in (("noise", subject.x), ("an image of zeros", 0 * subject.x)):
            of_params, of_x = subject.gradients(subject.variables, x, _KNOBS)
            for path, leaf in [("the input", of_x), *_named(of_params)]:
                if not np.isfinite(leaf).all():
                    return f"stride {stride}, {what}: the gradient of {path} is not finite"
    return None


def modes(block: type[Block]) -> str | None:
    """Training moves the running moments; inference leaves them, and treats an image by itself."""
    subject = _Subject(block)
    company = subject.x.at[1:].set(-2 * subject.x[1:])
    y, after = subject.infer(subject.variables, subject.x, _KNOBS)
    other, _ = subject.infer(subject.variables, company, _KNOBS)
    before = subject.variables.get("batch_stats", {})
    if not _equal(before, after):
        return "inference changed the running moments"
    if not np.array_equal(y[0], other[0]):
        return "in inference, an image's result depends on the others of its batch"
    if before and _equal(before, subject.train(subject.variables, subject.x, _KNOBS)[1]):
        return "training did not move the running moments; is `train` handed on to every layer?"
    return None


def bfloat16(block: type[Block]) -> str | None:
    """bfloat16 in gives bfloat16 out, near the float32 result; parameters stay float32."""
    subject = _Subject(block)
    for name, run in (("inference", subject.infer), ("training", subject.train)):
        y, _ = run(subject.variables, subject.x, _KNOBS)
        half, moments = run(subject.variables, subject.x.astype(jnp.bfloat16), _KNOBS)
        if half.dtype != jnp.bfloat16:
            return f"{name}: bfloat16 in gave {half.dtype} out"
        # 8 bits of mantissa, and a handful of layers that each round.
        error = float(np.abs(half.astype(np.float32) - y).max() / np.abs(y).max())
        if not error < 0.1:
            return f"{name}: bfloat16 is off by {error:.0%} of the largest value"
        for path, leaf in _named(moments):
            if leaf.dtype != jnp.float32:
                return f"{name}: {path} became {leaf.dtype}; expected float32"
    return None


def lanes(block: type[Block]) -> str | None:
    """Lanes with weights, images and knobs of their own give what each gives alone."""
    subject = _Subject(block, spec=dataclasses.replace(_SPEC, projection="leaky_relu"))
    choices = [("linear", "bottleneck"), ("relu6", "none"), ("leaky_relu", "bottleneck")]
    lanes_of: list[tuple[Any, Array, Knobs]] = [
        (subject.initialise(seed), seed * subject.x, Knobs.from_names(*choice))
        for seed, choice in enumerate(choices, start=1)
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes_of)
    together = _compiled(jax.vmap(subject.gradients_of))(*stacked)
    for number, lane in enumerate(lanes_of):
        alone = subject.gradients(*lane)
        for path, solo in _named(alone):
            lane_leaf = dict(_named(together))[path][number]
            if not _near(lane_leaf, solo):
                return f"lane {number} and the same run alone differ in {path}"
    return None


def split_batch(block: type[Block]) -> str | None:
    """Compare a batch in two parts, as on two devices, with the whole batch."""
    subject = _Subject(block)
    halves = subject.x.reshape(2, -1, *subject.x.shape[1:])
    split = block(_SPEC, axis_name="batch")

    def train(x: Array) -> Any:
        (y, _), updated = split.apply(
            subject.variables, x, Carry(knobs=_KNOBS), train=True, mutable=["batch_stats"]
        )
        return y, updated.get("batch_stats", {})

    y, moments = _compiled(jax.vmap(train, axis_name="batch"))(halves)
    whole, whole_moments = subject.train(subject.variables, subject.x, _KNOBS)
    pairs = [("the output", y.reshape(whole.shape), whole)]
    for (path, found), (_, expected) in zip(_named(moments), _named(whole_moments), strict=True):
        pairs += [(path, half, expected) for half in found]
    for path, found, expected in pairs:
        if not _near(found, expected):
            return f"{path} differs; is `axis_name` handed on to every BatchNorm?"
    return None


def knobs(block: type[Block]) -> str | None:
    """Compare projection and shortcut as arguments of a program with those of the specification."""
    x = _Subject(block).x
    for own, projection, shortcut, expected in (
        ("linear", "relu6", "none", "relu6"),
        ("leaky_relu", "linear", "bottleneck", "linear"),
        ("leaky_relu", "leaky_relu", "none", "leaky_relu"),
        ("gelu", "relu6", "bottleneck", "gelu"),  # No knob: it stays.
    ):
        given = _Subject(block, spec=dataclasses.replace(_SPEC, projection=own))
        spec = dataclasses.replace(_SPEC, projection=expected, shortcut=shortcut)
        by_spec = _Subject(block, spec=spec).infer(given.variables, x, None)[0]
        chosen = Knobs.from_names(projection, shortcut)
        if not _near(given.infer(given.variables, x, chosen)[0], by_spec):
            return f"projection {expected}, shortcut {shortcut}: carry.knobs is not heeded"
    return None


def names(block: type[Block]) -> str | None:
    """Parameters have names given by hand, the same whatever the seed, the size or the mode."""
    for stride in (1, 2):
        spec = dataclasses.replace(_SPEC, stride=stride)
        found = []
        for batch, side, seed, train in ((4, 8, 0, False), (2, 5, 1, True)):
            init = functools.partial(block(spec).init, train=train)
            x = jax.ShapeDtypeStruct((batch, side, side, _CHANNELS), jnp.float32)
            variables = jax.eval_shape(init, jax.random.key(seed), x, Carry())
            found.append([path for path, _ in _named(variables)])
        for path in found[0]:
            if re.search(r"(^|/)[A-Z]\w*_\d+(/|$)", path):
                return f"{path} is named by Flax, by the order of calls; give the layer a name"
        if found[0] != found[1]:
            return f"names depend on size, seed or mode: {sorted({*found[0]} ^ {*found[1]})}"
    return None


def cost(block: type[Block]) -> str | None:
    """Every parameter is counted, and every kernel's multiply-adds."""
    x = jnp.zeros((1, 8, 8, _CHANNELS))
    found = module_cost(block(_SPEC), x, Carry(), train=False)
    init = functools.partial(block(_SPEC).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), x, Carry())
    total = sum(leaf.size for _, leaf in _named(variables))
    if found.params_with_statistics != total:
        return f"{total - found.params_with_statistics} of {total} parameters are not counted"
    kernels = sum(leaf.ndim > 1 for _, leaf in _named(variables["params"]))
    counted = sum(bool(layer.kernel) for layer in found.layers)
    if counted < kernels:
        missed = kernels - counted
        return f"kernels in no layer of their own: {missed}; their multiply-adds are not counted"
    return None if found.madds else "no multiply-adds were found"


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (shapes, gradients, modes, bfloat16, lanes, split_batch, knobs, names, cost)
}
"""Every check, by name."""


def knobs_read(block: str) -> list[str]:
    """Return the knobs of `mnv2_jax.arch.KNOBS` that change what a network of the block computes.

    Args:
      block: see `mnv2_jax.nn.blocks.block_class`.
    """
    # ReLU6, since a linear projection is nowhere placed.
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
    "shortcut": "none",
    "activation": "silu",
    "spatial_conv": "standard",
    "squeeze_excite": True,
}


def same_network(specs: list[arch.BlockSpec]) -> bool:
    """Return whether two of the blocks come to the same network, of two such blocks in a row."""

    def text(spec: arch.BlockSpec) -> str:
        if spec.projection == "linear":  # It does nothing, wherever it is placed.
            spec = dataclasses.replace(spec, projection_placement="before")
        # Channels so many that close expansions are not rounded to one.
        wide = dataclasses.replace(spec, out_channels=64, stride=1, divisor=1)
        return jaxpr_text(arch.NetworkSpec(8, 1, 64, 1, (wide, wide), 8, 2))

    return len({text(spec) for spec in specs}) < len(specs)


class _Subject:
    """A block with variables and an image, and its programs, each compiled at its first call.

    Programs take variables, images and knobs.
    """

    def __init__(
        self, block: type[Block], stride: int = 1, spec: arch.BlockSpec | None = None
    ) -> None:
        self.module = block(spec or dataclasses.replace(_SPEC, stride=stride))
        self.x = jax.random.normal(jax.random.key(7), (_BATCH, 7, 7, _CHANNELS))
        self.variables = self.initialise(0)
        self.infer = _compiled(functools.partial(self._apply, False))
        self.train = _compiled(functools.partial(self._apply, True))
        self.gradients = _compiled(self.gradients_of)

    def initialise(self, seed: int) -> Any:
        init = _compiled(functools.partial(self.module.init, train=False))
        return init(jax.random.key(seed), self.x, Carry())

    def _apply(self, train: bool, variables: Any, x: Array, knobs: Knobs | None) -> Any:
        carry = Carry(knobs=knobs)
        (y, _), updated = self.module.apply(
            variables, x, carry, train=train, mutable=["batch_stats"]
        )
        return y, updated.get("batch_stats", {})

    def gradients_of(self, variables: Any, x: Array, knobs: Knobs | None) -> tuple[Any, Array]:
        """Gradients of the parameters and of `x`, of a sum that treats no two values alike."""

        def loss(params: Any, x: Array) -> Array:
            y = self._apply(True, {**variables, "params": params}, x, knobs)[0]
            return jnp.sum(y * jnp.sin(jnp.arange(y.size).reshape(y.shape)))

        return jax.grad(loss, argnums=(0, 1))(variables["params"], x)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=_QUICK_COMPILATION)


def _shape_problem(
    module: Block, shape: tuple[int, ...], expected: tuple[int, ...], train: bool
) -> str | None:
    run = functools.partial(module.init_with_output, train=train)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    result = jax.eval_shape(run, jax.random.key(0), x, Carry())[0]
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Carry)):
        return "expected a pair, the output and the carry"
    if result[0].shape != expected:
        return f"the output has shape {result[0].shape}; expected {expected}"
    return None


def _named(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a tree by their paths, names joined by "/"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _near(found: Any, expected: Any) -> bool:
    """Return whether arrays are equal but for rounding, in which programs differ.

    Relative to the largest value, since gradients near 0 are sums that cancel.
    """
    bound = 1e-4 * max(1.0, float(np.abs(expected).max()))
    return bool(np.abs(found - expected).max() <= bound)


def _equal(left: Any, right: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, left, right)))
