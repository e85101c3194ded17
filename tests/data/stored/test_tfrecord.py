import os
from pathlib import Path

import numpy as np
import pytest

from mnv2_jax.data.stored import tfrecord
from tests.data import made

DATA = [b"", b"a", bytes(range(256)) * 40, b"the last"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnv2_jax" / "tfrecord_index"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file.tfrecord"
    file.write_bytes(b"".join(map(made.framed, DATA)))
    return file


def opened(path):
    return tfrecord.TfRecordShard(str(path))


def handles():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_checksum_is_that_of_the_standard():
    # RFC 3720, B.4: 32 bytes of zeros, and of ones.
    for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert tfrecord.masked_crc32c(data) == masked


def test_records_are_read_by_number(path):
    shard = opened(path)
    assert len(shard) == len(DATA)
    for number in (2, 0, 3, 1):
        assert shard.read(number) == DATA[number]


def test_the_file_is_closed_with_its_shard(path):
    before = handles()
    shard = opened(path)
    assert handles() == before + 1
    del shard
    assert handles() == before


def test_a_file_is_walked_through_once(path, cache, monkeypatch):
    first = tfrecord.starts(str(path))
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(tfrecord, "_scan", None)
        np.testing.assert_array_equal(tfrecord.starts(str(path)), first)


def test_a_file_that_has_changed_is_walked_through_again(path):
    assert len(tfrecord.starts(str(path))) == len(DATA) + 1
    status = path.stat()
    # The size stays the same, the time does not.
    path.write_bytes(made.framed(bytes(status.st_size - 16)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert len(tfrecord.starts(str(path))) == 2


def test_a_damaged_index_is_made_again(path, cache):
    first = tfrecord.starts(str(path))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for damaged in (whole[:-8], whole[:9] + b"\x01" + whole[10:], b"", b"text"):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(tfrecord.starts(str(path)), first)
        assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(path, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert len(opened(path)) == len(DATA)


def test_a_missing_file(tmp_path):
    with pytest.raises(tfrecord.Damaged, match="none: the file is missing"):
        opened(tmp_path / "none")


@pytest.mark.parametrize("cut", [1, 9, 16, 20])
def test_a_file_that_ends_within_a_record(path, cut):
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(tfrecord.Damaged, match=r"file\.tfrecord: the file is cut off"):
        opened(path)


def test_a_length_that_does_not_match_its_checksum(path):
    with path.open("r+b") as file:
        file.seek(len(made.framed(DATA[0])))
        file.write(b"\x02")
    with pytest.raises(tfrecord.Damaged, match="damaged at byte 16, or no TFRECORD file"):
        opened(path)


# Bytes of the frame of a record: of its length, its checksum, its data and the data's checksum.
@pytest.mark.parametrize("byte", [0, 7, 8, 11, 12, 100, -5, -4, -1])
def test_a_flipped_bit_in_any_part_of_a_record_is_told_as_it_is_read(path, byte):
    shard = opened(path)
    before, damaged = len(b"".join(map(made.framed, DATA[:2]))), made.framed(DATA[2])
    with path.open("r+b") as file:
        file.seek(before + byte % len(damaged))
        file.write(bytes([damaged[byte] ^ 4]))
    assert (shard.read(1), shard.read(3)) == (DATA[1], DATA[3])
    with pytest.raises(tfrecord.Damaged, match=r"file\.tfrecord: record 2 of the file is damaged"):
        shard.read(2)


def test_a_file_of_another_kind(tmp_path):
    file = tmp_path / "text"
    file.write_text("this is no file of records at all")
    with pytest.raises(tfrecord.Damaged, match="damaged at byte 0, or no TFRECORD file"):
        opened(file)


def test_a_file_that_shrinks_while_it_is_open(path):
    shard = opened(path)
    os.truncate(path, path.stat().st_size - 10)
    assert shard.read(2) == DATA[2]
    with pytest.raises(tfrecord.Damaged, match="record 3 of the file cannot be read whole"):
        shard.read(3)
