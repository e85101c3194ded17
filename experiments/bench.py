"""Times the depthwise operator and the training step against XLA's own grouped convolution.

  python -m experiments.bench
  python -m experiments.bench --output=experiments/results/bench.csv

The two run in turns, in one process; what is printed are medians and their ratio. An operator is
timed forward and backward, several in a row in one program, as a network has them: by itself, a
large one would mostly time the allocation of memory. Arrays lie in memory as it wants them: channel
outermost for ours, as the layers around it leave them, `[batch, height, width, channels]` for
`lax.conv_general_dilated`. A training step is the one that experiments run, a lane per device,
inside the loop over an epoch's steps.
"""

import contextlib
import csv
import io
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import flags
from jax import lax
from rich.console import Console
from rich.table import Table

from experiments import command_line
from mnv2_jax import arch, atomic, presets
from mnv2_jax.nn import depthwise, layers
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import parallel, runlog
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram, LaneValues

Array = jax.Array

_OUTPUT = flags.DEFINE_string("output", None, "A CSV file to write the rows to as well.")

_OPERATOR_SHAPES = ((64, 16, 16, 144), (64, 8, 8, 24), (16, 56, 56, 24))
_EXPANSIONS = (1, 6, 10)
_IN_A_ROW = 8
_BATCH = 64
_CHANNEL_LAST = (0, 1, 2, 3)
_CHANNEL_FIRST = (3, 1, 2, 0)  # Each of the two permutations undoes itself.
_SAMPLE_SECONDS = 0.05


class Row(NamedTuple):
    """One comparison.

    Attributes:
      benchmark: what was timed.
      unit: of the next two.
      ours: of `mnv2_jax.nn.depthwise`.
      grouped: of `lax.conv_general_dilated`.
      ratio: how many times faster ours is.
    """

    benchmark: str
    unit: str
    ours: float
    grouped: float
    ratio: float


def main() -> int:
    """Measures, prints a table and writes the rows if asked to."""
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and output.is_dir():
        raise ValueError(f"--output={output}: it is a folder; expected a CSV file")
    parallel.use_all_cores()
    rows = [operator_row(shape) for shape in _OPERATOR_SHAPES]
    rows += [
        step_row(presets.build("digits", expansion=t), f"digits, expansion {t}")
        for t in _EXPANSIONS
    ]
    Console(soft_wrap=not sys.stdout.isatty()).print(table(rows))
    if output:
        atomic.write_text(output, to_csv(rows))
    return 0


def operator_row(shape: Sequence[int], repeats: int = 7) -> Row:
    """Times forward and backward of a 3x3 depthwise convolution on float32 `shape`, NHWC."""
    seconds = medians(
        {
            "ours": _operator(depthwise.depthwise_conv, shape, _CHANNEL_FIRST),
            "grouped": _operator(grouped_conv, shape, _CHANNEL_LAST),
        },
        repeats,
    )
    ours, grouped = (seconds[name] / _IN_A_ROW for name in ("ours", "grouped"))
    return Row(f"depthwise 3x3 on {list(shape)}", "ms", 1e3 * ours, 1e3 * grouped, grouped / ours)


def step_row(spec: arch.NetworkSpec, name: str, repeats: int = 3) -> Row:
    """Times training on batches of 64, summed over one lane per device."""
    # The slower one takes fewer steps, or it would take minutes.
    ours_steps, grouped_steps = 20, 1
    contenders = {
        "ours": _epoch(spec, ours_steps, grouped=False),
        "grouped": _epoch(spec, grouped_steps, grouped=True),
    }
    seconds = medians(contenders, repeats)
    images = _BATCH * len(jax.local_devices())
    rates = images * ours_steps / seconds["ours"], images * grouped_steps / seconds["grouped"]
    return Row(f"training, {name}", "images/s", *rates, rates[0] / rates[1])


def grouped_conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """What `mnv2_jax.nn.depthwise.depthwise_conv` computes, by XLA's grouped convolution."""
    pads = [depthwise.pad_width(size, kernel.shape[0], stride, padding) for size in x.shape[1:3]]
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def medians(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of a call, by contender, over samples taken in turns.

    A sample calls often enough to last a twentieth of a second, and waits for every result.
    """
    calls = {}
    for name, call in contenders.items():
        _sample(call, 1)
        calls[name] = math.ceil(_SAMPLE_SECONDS / _sample(call, 1))
    samples = [
        {name: _sample(call, calls[name]) for name, call in contenders.items()}
        for _ in range(repeats)
    ]
    return {name: statistics.median(sample[name] for sample in samples) for name in contenders}


def table(rows: Sequence[Row]) -> Table:
    """The rows, for the terminal."""
    result = Table("benchmark", "unit", box=None)
    for heading in ("ours", "lax.conv", "ratio"):
        result.add_column(heading, justify="right")
    for row in rows:
        result.add_row(
            row.benchmark, row.unit, _rounded(row.ours), _rounded(row.grouped), f"{row.ratio:.1f}"
        )
    return result


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, each with the device, the versions and the commit they were measured on."""
    made = runlog.environment(command_line.command())
    where = {
        "device": made["device"],
        "processor": made["processor"],
        "jax": made["libraries"]["jax"],
        "jaxlib": made["libraries"]["jaxlib"],
        "commit": made["commit"],
        "dirty": made["dirty"],
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Row._fields, *where], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row._asdict() | where for row in rows)
    return text.getvalue()


def _sample(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / calls


def _operator(
    convolve: Callable[[Array, Array], Array], shape: Sequence[int], order: tuple[int, ...]
) -> Callable[[], Any]:
    """Forward and backward, compiled, on arrays whose dimensions are stored in `order`.

    What one of the `_IN_A_ROW` gives, the next takes.
    """

    def run(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array, Array]:
        for _ in range(_IN_A_ROW):
            y, pull = jax.vjp(convolve, x.transpose(order), kernel)
            dx, kernel = pull(gradient.transpose(order))
            x, gradient = dx.transpose(order), y.transpose(order)
        return x, kernel, gradient

    stored = [shape[axis] for axis in order]
    # Zeros stay zeros in a row of any length; arithmetic takes as long with them.
    arguments = [
        jax.device_put(np.zeros(size, np.float32)) for size in (stored, (3, 3, shape[-1]), stored)
    ]
    compiled = jax.jit(run).lower(*arguments).compile()
    return lambda: compiled(*arguments)


def _epoch(spec: arch.NetworkSpec, steps: int, *, grouped: bool) -> Callable[[], Any]:
    """An epoch of `steps` steps on random images, compiled, for one lane per device."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_BATCH * steps, *spec.input_shape), np.uint8)
    labels = generator.integers(0, spec.classes, _BATCH * steps, np.int32)
    recipe = Recipe(1, _BATCH, _BATCH, momentum=0.9, shift=0)
    program = LaneProgram(spec, recipe, steps)
    lanes = parallel.Lanes(len(jax.local_devices()))
    knobs = Knobs.of("linear", "bottleneck")
    rate, zero = np.float32(0.1), np.float32(0.0)
    values = [LaneValues(np.uint32(seed), knobs, rate, zero, zero) for seed in range(lanes.count)]
    states = parallel.stack([program.initialise(0)] * lanes.count)
    of_lanes = lanes.spread(states), lanes.spread(parallel.stack(values))
    shared = lanes.share((np.int32(0), np.int32(steps), images, labels))
    changed = nn.intercept_methods(_use_grouped_conv) if grouped else contextlib.nullcontext()
    with changed:
        compiled = lanes.compile(program.train, of_lanes, shared)
    return lambda: compiled.run(*of_lanes, *shared)


def _use_grouped_conv(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Intercepts the layer `Depthwise`; see `flax.linen.intercept_methods`."""
    layer = context.module
    if not isinstance(layer, layers.Depthwise) or context.method_name != "__call__":
        return call(*args, **kwargs)
    kernel: Array = layer.get_variable("params", "kernel")
    return grouped_conv(args[0], kernel, layer.stride, layer.padding)


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
