"""Files that notice damage."""

import contextlib
import json
import os
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnv2_jax import checksums

SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text()
CONTENT = st.dictionaries(
    st.text().filter(lambda key: key not in ("schema", "sha256")),
    st.recursive(
        SCALARS, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=5
    ),
)


@settings(max_examples=40)
@example(content={"a": [float("nan"), 1]}, indent=2)
@given(content=CONTENT, indent=st.sampled_from([None, 2]))
def test_what_was_written_is_read(content, indent, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "content.json"
    checksums.write_json(path, content, indent)
    # A number that is none is null.
    assert checksums.read_json(path) == json.loads(checksums.dumps(content))


ROW = {"run_id": "0123456789ab", "test_accuracy": 0.8125, "lanes": 12, "error": None}


@given(bit=st.integers(0, 8 * len(checksums.dumps({**ROW, "schema": 1, "sha256": "0" * 64})) - 1))
def test_no_flipped_bit_changes_what_is_read(bit, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    checksums.write_json(path, ROW)
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    with contextlib.suppress(checksums.DamagedError):
        assert checksums.read_json(path) == ROW  # Between the entries.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "Expecting ',' delimiter"),
        ("7", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": -Infinity}', "-Infinity is no finite number"),
        ('{"a": 1e999}', "1e999 is no finite number"),
        ('{"a": 98765432109876543210}', "98765432109876543210... is too large"),
        ('{"a": ' + "1" * 5000 + "}", "11111111111111111111... is too large"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", "entries more than 50 deep"),
        ("[" * 10**5, "entries more than 50 deep"),
        ('{"a": 1, "schema": 1}', "it does not have the checksum"),
        ('{"a": 1, "sha256": 7}', "it does not have the checksum"),
        ("\xff{}", "it is no UTF-8"),
    ],
)
def test_what_is_no_json_object_is_damaged(text, reason, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(checksums.DamagedError, match=reason) as caught:
        checksums.read_json(path)
    assert str(caught.value).startswith(f"{path}: it is damaged (")
    assert len(str(caught.value)) < len(str(path)) + 250


def test_files_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert checksums.read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "list.json").write_text("[1, 2]")
    assert checksums.read_json(tmp_path / "list.json", "numbers") == {"numbers": [1, 2]}
    (tmp_path / "a.csv").write_text("a,b\n")
    assert checksums.read_text(tmp_path / "a.csv") == "a,b\n"


def test_a_later_schema_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "SCHEMA", 2)
    checksums.write_json(tmp_path / "a.json", {})
    monkeypatch.undo()
    with pytest.raises(checksums.DamagedError, match=r"\(schema 2; expected 1\)"):
        checksums.read_json(tmp_path / "a.json")


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path)


def huge(path):
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize("make", [folder, pipe, endless, loop, huge])
def test_what_cannot_be_read_to_its_end_is_not_waited_for(make, tmp_path):
    path = tmp_path / "a"
    make(path)
    for read in (checksums.read_bytes, checksums.read_json, checksums.read_text):
        with pytest.raises(checksums.DamagedError, match=r"it is no regular file|bytes; expected"):
            read(path)


def test_a_link_to_a_file_is_followed(tmp_path):
    checksums.write_json(tmp_path / "a.json", {"a": 1})
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert checksums.read_json(tmp_path / "b.json") == {"a": 1}


def test_a_text_has_its_checksum_beside_it_as_sha256sum_reads_it(tmp_path):
    path = tmp_path / "a.csv"
    checksums.write_text(path, "a,b\n1,2\n")
    subprocess.run(["sha256sum", "--check", "--quiet", "a.csv.sha256"], cwd=tmp_path, check=True)
    assert checksums.read_text(path) == "a,b\n1,2\n"
    path.write_text("a,b\n")  # Half of it.
    with pytest.raises(checksums.DamagedError, match=r"not have the checksum in a\.csv\.sha256"):
        checksums.read_text(path)
    checksums.write_text(path, "a,b\n3,4\n")
    assert checksums.read_text(path) == "a,b\n3,4\n"
