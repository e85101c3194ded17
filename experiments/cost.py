"""Print the cost of a network, layer by layer: parameters, multiply-adds, activation memory.

  python -m experiments.cost --preset=mobilenet_v2 --width=1.0 --resolution=224
  python -m experiments.cost --config=configs/digits.py --config.model.block=fused --format=csv
  python -m experiments.cost --preset=mobilenet_v1 --compare=separable
  python -m experiments.cost --preset=mobilenet_v2 --memory --out=runs/memory

Without --memory only shapes are computed. Multiply-adds are those of convolutions and fully
connected layers, for one image; activations take 16 bits, as in the paper's Table 3. --memory
compiles the network and its parts, whole and in pieces, for one image in float32, and times the
network, in minutes.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags
from rich.table import Table

from experiments import command_line, cost_memory
from mnv2_jax import arch, presets
from mnv2_jax.ablation import resolve
from mnv2_jax.data import sources
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.cost import BYTES_PER_VALUE, Cost, network_cost, separations
from mnv2_jax.terminal import Console
from mnv2_jax.train import setup

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Print the cost of the network of this config file."
)
flags.FLAGS["config"].parser = command_line.ConfigParser("config")
flags.DEFINE_string("preset", None, f"One of {', '.join(presets.PRESETS)}.")
flags.DEFINE_float("width", None, "The width multiplier. Default: 1.")
flags.DEFINE_float("depth", None, "The depth multiplier. Default: 1.")
flags.DEFINE_integer("resolution", None, "Resolution of the image. Default: the preset's.")
flags.DEFINE_integer("classes", None, "Classes of the classifier. Default: the preset's.")
flags.DEFINE_string("block", None, "A block or FILE.py:CLASS. Default: the preset's.")
flags.DEFINE_float("expansion", None, "Expansion of the blocks. Default: the preset's.")
_COMPARE = flags.DEFINE_enum(
    "compare", None, ["separable"], "Print standard against depthwise separable convolutions."
)
_MEMORY = flags.DEFINE_bool(
    "memory",
    False,
    "Print the memory of activations, whole and in pieces: by section 5.1, and by the compiler.",
)
_OUT = flags.DEFINE_string(
    "out", None, "With --memory: the folder to write memory.csv and a figure to."
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "csv", "json"], "How to print.")

_WIDTH_IN_A_FILE = 120

_NETWORK = ("preset", "width", "depth", "resolution", "classes", "block", "expansion")
"""The flags that describe a network: arguments of `mnv2_jax.presets.build`."""


def main() -> int:
    """Print the cost of the network that the flags describe.

    Raises:
      ValueError: a flag or a field of the config is wrong.
      OSError: a file cannot be written.
    """
    setup.begin(keep_programs=False)
    if _OUT.value is not None and not _MEMORY.value:
        raise ValueError(f"--out={_OUT.value}: expected --memory beside it")
    if _MEMORY.value and _COMPARE.value:
        raise ValueError(f"--compare={_COMPARE.value}: not beside --memory; expected one of them")
    spec = _spec()
    if _MEMORY.value:
        width = None if sys.stdout.isatty() else _WIDTH_IN_A_FILE
        cost_memory.show(spec, _FORMAT.value, _OUT.value, width)
        return 0
    cost = network_cost(spec)
    show = {"table": print_tables, "csv": print_csv, "json": print_json}[_FORMAT.value]
    show(spec, cost, _COMPARE.value is not None)
    return 0


def _spec() -> arch.NetworkSpec:
    flag_values = {name: flags.FLAGS[name].value for name in _NETWORK}
    values: dict[str, Any] = {
        name: value for name, value in flag_values.items() if value is not None
    }
    if _CONFIG.value is None:
        try:
            spec = presets.build(**{"preset": "mobilenet_v2", **values})
            block_class(spec.blocks[0].block)
        except ValueError as error:
            raise ValueError(f"--{error}") from None
        return spec
    if values:
        names = ", ".join(f"--{name}" for name in values)
        raise ValueError(f"{names}: not beside --config; expected --config.model.KEY=VALUE instead")
    config: ConfigDict = _CONFIG.value
    resolve.check_fields(config)
    dataset = sources.load(resolve.data_selection(config))
    return resolve.lane_program(config, dataset).spec


def totals(cost: Cost) -> dict[str, Any]:
    """Return the cost of the whole network, as JSON values."""
    return {
        "params": cost.params,
        "params_with_stats": cost.params_with_statistics,
        "madds": cost.madds,
        "peak_activation_bytes": cost.peak_bytes,
        "peak_activation_bytes_by_layer": cost.peak_bytes_by_layer,
    }


def layer_rows(cost: Cost) -> list[dict[str, Any]]:
    """Return a row per layer, shapes written as 56x56x24."""
    return [
        {
            "layer": layer.path,
            "kind": layer.kind,
            "output": "x".join(map(str, layer.output)),
            "params": layer.params,
            "statistics": layer.statistics,
            "madds": layer.madds,
            "activation_bytes": layer.activation_bytes,
        }
        for layer in cost.layers
    ]


def separation_rows(cost: Cost) -> list[dict[str, Any]]:
    """Return a row per convolution that is separable or could be."""
    return [
        {
            "layer": row.path,
            "is": "separable" if row.separable else "standard",
            "standard_madds": row.standard_madds,
            "separable_madds": row.separable_madds,
            "ratio": round(row.ratio, 6),
        }
        for row in separations(cost)
    ]


def print_json(spec: arch.NetworkSpec, cost: Cost, compare: bool) -> None:
    """Print totals and rows as one JSON object."""
    rows = {"separable": separation_rows(cost)} if compare else {"layers": layer_rows(cost)}
    largest = [
        {"resolution": resolution, "channels": channels}
        for resolution, channels in cost.largest_tensors().items()
    ]
    input_shape = list(spec.input_shape)
    print(json.dumps({"input": input_shape, **totals(cost), "largest": largest, **rows}, indent=1))


def print_csv(spec: arch.NetworkSpec, cost: Cost, compare: bool) -> None:
    """Print the rows as CSV."""
    rows = separation_rows(cost) if compare else layer_rows(cost)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    print(text.getvalue(), end="")


def print_tables(spec: arch.NetworkSpec, cost: Cost, compare: bool) -> None:
    """Print rows and totals for the terminal."""
    on_terminal = sys.stdout.isatty()
    console = Console(
        soft_wrap=True, highlight=False, width=None if on_terminal else _WIDTH_IN_A_FILE
    )
    console.print(_table(separation_rows(cost) if compare else layer_rows(cost)))
    console.print(f"Input: {' x '.join(map(str, spec.input_shape))}")
    console.print(f"Parameters: {cost.params:,}; {cost.params_with_statistics:,} with statistics")
    console.print(f"Multiply-adds: {cost.madds:,}")
    if compare:
        convolutions = separations(cost)
        separable = sum(row.separable_madds for row in convolutions)
        standard = sum(row.standard_madds for row in convolutions)
        console.print(f"These convolutions: {separable:,} separable, {standard:,} standard")
        console.print("Ratio: 1/N + 1/k^2 for a k x k convolution to N channels")
        return
    console.print(
        f"Activation memory: {cost.peak_bytes:,} bytes with bottlenecks computed channel by "
        f"channel (section 5.1), {cost.peak_bytes_by_layer:,} layer by layer"
    )
    largest = [
        f"{side}x{side}: {channels} ({side * side * channels * BYTES_PER_VALUE / 1000:,.3g} kB)"
        for side, channels in cost.largest_tensors().items()
    ]
    console.print(f"Most channels between operators (Table 3): {', '.join(largest)}")


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    # The columns that CSV and JSON have in addition do not fit a terminal of 80 characters.
    shown = [name for name in rows[0] if name not in ("kind", "statistics")]
    result = Table(box=None)
    for name in shown:
        number = isinstance(rows[0][name], int | float)
        result.add_column(name.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        cells = (row[name] for name in shown)
        result.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))
    return result


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
