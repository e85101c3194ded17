"""Memory of a network's activations, for one image: by formula, and by the compiler's own count."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import depthwise, layers, network, pieces
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Carry
from mnv2_jax.nn.cost import BYTES_PER_VALUE, Cost, Shape, network_cost
from mnv2_jax.nn.network import Network

CUTS = (
    *(pieces.WHOLE, "channels:1", "channels:2", "channels:3", "channels:5", "channels:t"),
    *("patches:2", "patches:4"),
)
"""The cuts that are measured; "channels:1" is a whole network whose kernels are prepared late."""

OF_BLOCKS = tuple(cut for cut in CUTS if cut != "channels:1")
"""The cuts that single blocks are measured in."""

NETWORK = "network"
"""The name of the whole network among its parts."""

_WIDER = 4 // BYTES_PER_VALUE  # Programs compute in float32, the paper in 16 bits.
_ROUNDS = 21
_SAMPLE_SECONDS = 0.02
_BY_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
"""The compiler's option for the order that needs least memory; it is known on CPU alone."""

Apply = Callable[[Any, jax.Array], jax.Array]
"""A function of variables and input."""


class Row(NamedTuple):
    """The memory of a part of a network in one cut, float32; see `measure`.

    Attributes:
      part: one of `mnv2_jax.arch.NetworkSpec.parts`, or "network".
      cut: a text of `mnv2_jax.nn.pieces`.
      output: the shape of the output, without the batch.
      madds: multiply-adds.
      layer_bytes: section 5.1 with every layer an operator: most of input and output.
      operator_bytes: section 5.1 with whole blocks as operators, computed channel by channel.
      largest_bytes: the largest tensor between operators, as in Table 3.
      outer_bytes: input and output in the compiled program.
      temporary_bytes: all else that the compiled program allocates, without weights.
      reordered_bytes: the same if the compiler orders operations for least memory; None where the
        compiler cannot, and for parts of the network.
      time: relative to the whole network's, a median of turns; None for parts.
      reordered_time: of the program of `reordered_bytes`, relative to the same.
    """

    part: str
    cut: str
    output: str
    madds: int
    layer_bytes: int
    operator_bytes: int
    largest_bytes: int
    outer_bytes: int
    temporary_bytes: int
    reordered_bytes: int | None = None
    time: float | None = None
    reordered_time: float | None = None


class _Part(NamedTuple):
    """A part of a network: what it computes, and the shapes of its input and output."""

    name: str
    apply: Apply
    variables: Any
    input: Shape
    output: Shape
    cuts: Sequence[str]
    key: object


def measure(spec: arch.NetworkSpec, say: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Compile a network and its parts in every cut of `CUTS`, and time the network.

    A part is compiled alone; of blocks with equal shapes and knobs, one is. Blocks that cannot be
    cut are measured whole.

    Args:
      spec: the network.
      say: takes lines of progress.

    Raises:
      ValueError: a block does not exist or fails.
    """
    cost = network_cost(spec)
    found: dict[object, list[dict[str, int]]] = {}
    rows: list[Row] = []
    for part in _parts(spec):
        if part.key not in found:
            found[part.key] = [_compiled_bytes(part, cut) for cut in part.cuts]
        say(f"compiled {part.name}")
        own = _formula(cost, part.name)
        for cut, compiled in zip(part.cuts, found[part.key], strict=True):
            added = pieces.added_madds(spec, pieces.parse(cut)).get(part.name, 0)
            shape = "x".join(map(str, part.output))
            rows.append(Row(part.name, cut, shape, **_plus(own, added), **compiled))
    return [*rows, *_of_network(spec, cost, say)]


def _of_network(spec: arch.NetworkSpec, cost: Cost, say: Callable[[str], None]) -> Iterator[Row]:
    part = _whole(spec)
    programs = []
    for cut in part.cuts:
        programs.append((_compile(part, cut), _reordered(part, cut)))
        say(f"compiled the network, {cut}")
    flat = [program for both in programs for program in both if program is not None]
    times = iter(_relative_times(spec, flat))
    own = _formula(cost, "")
    for cut, (program, reordered) in zip(part.cuts, programs, strict=True):
        added = sum(pieces.added_madds(spec, pieces.parse(cut)).values())
        row = Row(
            NETWORK, cut, str(spec.classes), **_plus(own, added), **_bytes(program, part)
        )._replace(time=next(times))
        if reordered is not None:
            peak = _bytes(reordered, part)["temporary_bytes"]
            row = row._replace(reordered_bytes=peak, reordered_time=next(times))
        yield row


def _formula(cost: Cost, part: str) -> dict[str, int]:
    """Return the columns that follow from shapes, of a part or, with "", of the network."""

    def is_own(path: str) -> bool:
        return part in ("", path.partition("/")[0])

    own = [layer for layer in cost.layers if is_own(layer.path) and layer.kernel]
    operators = [operator for operator in cost.operators() if is_own(operator.path)]
    tensors = [shape for one in operators for shape in (one.input, one.output)]
    return {
        "madds": sum(layer.madds for layer in own),
        "layer_bytes": 4 * max(int(np.prod(one.input) + np.prod(one.output)) for one in own),
        "operator_bytes": _WIDER * max(one.activation_bytes for one in operators),
        "largest_bytes": 4 * max(int(np.prod(shape)) for shape in tensors),
    }


def _plus(columns: dict[str, int], madds: int) -> dict[str, int]:
    return {**columns, "madds": columns["madds"] + madds}


def _parts(spec: arch.NetworkSpec) -> Iterator[_Part]:
    """Yield the parts of a network in order."""
    conventions = spec.conventions
    variables = network.variable_shapes(spec)

    def of(name: str) -> dict[str, Any]:
        return {collection: tree[name] for collection, tree in variables.items() if name in tree}

    def conv_norm_act(name: str, layer: Any) -> tuple[Apply, Any]:
        norm = layers.BatchNorm(epsilon=conventions.norm_epsilon)

        def apply(both: Any, x: jax.Array) -> jax.Array:
            y: Any = norm.apply(both[1], layer.apply(both[0], x), train=False)
            return layers.activate("relu6", y)

        return apply, (of(name), of(f"{name}_norm"))

    side = depthwise.output_size(spec.resolution, spec.stem_stride)
    shape = (side, side, spec.stem_channels)
    stem = layers.Conv(spec.stem_channels, stride=spec.stem_stride, padding=conventions.padding)
    yield _Part("stem", *conv_norm_act("stem", stem), spec.input_shape, shape, CUTS[:1], "stem")
    for name, block_spec in zip(spec.parts[1:], spec.blocks, strict=False):
        block = block_class(block_spec.block)(block_spec, conventions)

        def apply(own: Any, x: jax.Array, block: Any = block) -> jax.Array:
            result: Any = block.apply(own, x, Carry(), train=False)
            y: jax.Array = result[0]
            return y

        side = depthwise.output_size(shape[0], block_spec.stride)
        output = (side, side, block_spec.out_channels)
        cuts = OF_BLOCKS if pieces.is_cut(spec, block_spec) else CUTS[:1]
        yield _Part(name, apply, of(name), shape, output, cuts, (block_spec, shape))
        shape = output
    if spec.head_channels:
        output = (*shape[:2], spec.head_channels)
        head = layers.Pointwise(spec.head_channels)
        yield _Part("head", *conv_norm_act("head", head), shape, output, CUTS[:1], "head")
    dense: Any = layers.Dense(spec.classes)
    ends = (spec.features,), (spec.classes,)
    yield _Part("classifier", dense.apply, of("classifier"), *ends, CUTS[:1], "classifier")


def _whole(spec: arch.NetworkSpec) -> _Part:
    def apply(variables: Any, images: jax.Array) -> jax.Array:
        logits: Any = Network(spec).apply(variables, images)
        return jnp.asarray(logits)

    cuts = CUTS if any(pieces.is_cut(spec, block) for block in spec.blocks) else CUTS[:1]
    shapes = network.variable_shapes(spec)
    return _Part(NETWORK, apply, shapes, spec.input_shape, (spec.classes,), cuts, NETWORK)


def _compile(part: _Part, cut: str, options: dict[str, Any] | None = None) -> Any:
    """Compile a part for one image."""

    def apply(variables: Any, x: jax.Array) -> jax.Array:
        with pieces.applied(pieces.parse(cut)):
            return part.apply(variables, x)

    x = jax.ShapeDtypeStruct((1, *part.input), jnp.float32)
    return jax.jit(apply).lower(part.variables, x).compile(compiler_options=options)


def _reordered(part: _Part, cut: str) -> Any:
    """Compile a part in the order of operations that needs least memory; None if that fails."""
    try:
        return _compile(part, cut, _BY_MEMORY)
    except jax.errors.JaxRuntimeError:  # Not on CPU, or by another version of the compiler.
        return None


def _compiled_bytes(part: _Part, cut: str) -> dict[str, int]:
    return _bytes(_compile(part, cut), part)


def _bytes(program: Any, part: _Part) -> dict[str, int]:
    outer = 4 * int(np.prod(part.input) + np.prod(part.output))
    temporary = int(program.memory_analysis().temp_size_in_bytes)
    return {"outer_bytes": outer, "temporary_bytes": temporary}


def _relative_times(spec: arch.NetworkSpec, programs: Sequence[Any]) -> list[float]:
    """Return each program's time over the first one's, medians over rounds in turns."""
    variables = jax.device_put(network.initialise(spec))
    images = np.random.default_rng(0).uniform(-1, 1, (1, *spec.input_shape)).astype(np.float32)
    images = jax.device_put(images)

    def seconds(program: Any, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            program(variables, images).block_until_ready()
        return (time.perf_counter() - start) / calls

    for program in programs:
        seconds(program, 2)
    calls = [max(1, round(_SAMPLE_SECONDS / seconds(program, 3))) for program in programs]
    ratios: list[list[float]] = [[] for _ in programs]
    for _ in range(_ROUNDS):
        taken = [seconds(program, count) for program, count in zip(programs, calls, strict=True)]
        for own, one in zip(ratios, taken, strict=True):
            own.append(one / taken[0])
    return [statistics.median(own) for own in ratios]
