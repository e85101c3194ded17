"""Suffixes, safetensors and shards: what is read, and the one line for what is not."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from mnv2_jax.nn import weight_files
from tests.ablation.bases import refusal


def test_a_file_that_begins_as_pickles_do_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    starts = set()
    for length in range(0, 256, 8):  # A header's length is a multiple of 8.
        save_file({"a": np.zeros(1)}, path, {"note": length * " "})
        starts.add(path.read_bytes()[:1])
        assert list(weight_files.read_safetensors(path)[0]) == ["a"]
    assert b"\x80" in starts


def test_a_pipe_is_refused_without_waiting(tmp_path):
    path = tmp_path / "pipe.safetensors"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="not a regular file"):
        weight_files.read_safetensors(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', 10_000 * "["]
)
def test_a_damaged_index_is_refused(tmp_path, text):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    assert refusal(weight_files.read_safetensors, path).startswith(
        f"{path}: not a whole index of shards "
    )


def test_shards_lie_beside_their_index(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    assert refusal(weight_files.read_safetensors, path) == (
        f"{path}: no shard ../a.safetensors lies beside it"
    )
