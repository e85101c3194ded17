"""The memory of a network's parts and cuts."""

import dataclasses

import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.api import memory
from mnv2_jax.nn.cost import network_cost


@pytest.fixture(scope="module")
def spec(tiny):
    """Two blocks of equal shapes after one of stride 1."""
    found = presets.build(tiny)
    return dataclasses.replace(found, blocks=(*found.blocks, found.blocks[-1]))


@pytest.fixture(scope="module")
def rows(spec):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "CUTS", ("whole", "channels:t", "patches:2"))
        patch.setattr(memory, "OF_BLOCKS", memory.CUTS)
        patch.setattr(memory, "_ROUNDS", 2)
        return memory.measure(spec)


def test_every_part_and_the_network_has_its_rows(spec, rows):
    cuts: dict[str, list[str]] = {}
    for row in rows:
        cuts.setdefault(row.part, []).append(row.cut)
    assert [*cuts] == [*spec.parts, memory.NETWORK]
    for part, found in cuts.items():
        is_cut = part.startswith("block") or part == memory.NETWORK
        assert found == (["whole", "channels:t", "patches:2"] if is_cut else ["whole"])


def test_formulas_are_those_of_the_cost_in_float32(spec, rows):
    cost = network_cost(spec)
    whole = [row for row in rows if row.cut == "whole"]
    *parts, network = whole
    assert network.layer_bytes == 2 * cost.peak_bytes_by_layer
    assert network.operator_bytes == 2 * cost.peak_bytes
    assert max(part.layer_bytes for part in parts) == network.layer_bytes
    assert max(part.operator_bytes for part in parts) == network.operator_bytes
    assert sum(part.madds for part in parts) == network.madds == cost.madds
    side, channels = max(cost.largest_tensors().items(), key=lambda item: item[0] ** 2 * item[1])
    assert network.largest_bytes == 4 * side**2 * channels
    for part in parts:
        layers = [one for one in cost.layers if one.path.partition("/")[0] == part.part]
        assert part.output == "x".join(map(str, layers[-1].output))
        assert part.outer_bytes == 4 * int(np.prod(layers[0].input) + np.prod(layers[-1].output))


def test_pieces_keep_or_add_multiply_adds_and_are_timed(rows):
    whole, channels, patches = (row for row in rows if row.part == memory.NETWORK)
    assert whole.time == 1
    assert channels.time > 0
    assert channels.madds == whole.madds < patches.madds
    added = [row.madds for row in rows if row.cut == "patches:2" and row.part != memory.NETWORK]
    unadded = [row.madds for row in rows if row.cut == "whole" and row.part.startswith("block")]
    assert patches.madds - whole.madds == sum(added) - sum(unadded)
    assert all(row.time is None for row in rows if row.part != memory.NETWORK)


def test_the_compiler_orders_for_least_memory(rows):
    for row in rows:
        if row.part == memory.NETWORK:
            assert 0 < row.reordered_bytes <= row.temporary_bytes
