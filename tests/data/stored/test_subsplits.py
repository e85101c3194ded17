import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data.stored import subsplits
from mnv2_jax.data.stored.subsplits import Range, Split

SPLITS = {
    "train": Split(("a", "b", "c"), (3, 0, 7)),
    "test": Split(("d",), (5,)),
    "none": Split((), ()),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train", [Range("train", 0, 10)]),
        ("train[:90%]", [Range("train", 0, 9)]),
        ("train[90%:]", [Range("train", 9, 10)]),
        ("train[2:-3]", [Range("train", 2, 7)]),
        ("train[-30%:]", [Range("train", 7, 10)]),
        ("train[2shard]", [Range("train", 3, 10)]),
        ("train[:1shard]", [Range("train", 0, 3)]),
        ("train[50%:] + test", [Range("train", 5, 10), Range("test", 0, 5)]),
        ("train[:0]+test", [Range("test", 0, 5)]),
        ("all", [Range("train", 0, 10), Range("test", 0, 5)]),
    ],
)
def test_a_text_stands_for_ranges(text, expected):
    assert subsplits.ranges(text, SPLITS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train[",
        "train[:]",
        "train[1:2:3]",
        "train[5]",
        "train[:150%]",
        "train+",
        "a b",
        "all[:5]",
    ],
)
def test_a_text_that_is_no_split(text):
    with pytest.raises(ValueError, match=r"expected a split such as 'train', 'train\[:90%\]'"):
        subsplits.ranges(text, SPLITS)


@pytest.mark.parametrize("text", ["validation", "test+validation[:50%]"])
def test_a_split_that_is_not_there(text):
    there = r"train \(10 records\), test \(5 records\), none \(0 records\)"
    with pytest.raises(
        subsplits.UnknownSplit, match=rf"there is no split 'validation'; there are {there}"
    ):
        subsplits.ranges(text, SPLITS)


@pytest.mark.parametrize("text", ["train[:11]", "train[-11:]"])
def test_a_slice_beyond_the_split(text):
    with pytest.raises(
        ValueError, match=r"it reaches beyond the end of a split: train \(10 records\)"
    ):
        subsplits.ranges(text, SPLITS)


# TFDS reads train[7:6], in a split of one file, as train[7:].
@pytest.mark.parametrize("text", ["train[7:6]", "train[60%:40%]", "test+train[-1:-3]"])
def test_a_slice_that_ends_before_it_begins(text):
    with pytest.raises(ValueError, match="ends before it begins"):
        subsplits.ranges(text, SPLITS)


@pytest.mark.parametrize("text", ["none", "train[3:3]", "train[:1%]", "none+test[:0]"])
def test_a_split_without_records(text):
    with pytest.raises(ValueError, match=r"there are no records in it; there are train \(10"):
        subsplits.ranges(text, SPLITS)


PARTS = st.lists(
    st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 12), st.integers(0, 12)).map(
        lambda part: Range(part[0], *sorted(part[1:]))
    ),
    max_size=4,
)


@given(PARTS, PARTS)
def test_shared_records_are_counted_once(some, others):
    def members(parts):
        return {(part.split, n) for part in parts for n in range(part.start, part.stop)}

    assert subsplits.shared(some, others) == len(members(some) & members(others))


@pytest.mark.parametrize(
    ("field", "names", "expected"),
    [
        ("data.validation", ("train", "test"), ["train[:90%]", "train[90%:]"]),
        ("data.validation", ("all_of_it",), ["all_of_it[:90%]", "all_of_it[90%:]"]),
        ("data.test", ("train", "validation"), ["train[:90%]", "train[90%:]", "validation"]),
        ("data.test", ("train",), ["train[:80%]", "train[80%:90%]", "train[90%:]"]),
    ],
)
def test_carving_gives_every_split_of_a_run_its_own_records(field, names, expected):
    there = {name: Split(("a",), (100,)) for name in names}
    flags = subsplits.carved(field, there).split()
    fields = ["data.train", "data.validation", "data.test"][: len(expected)]
    assert flags == [
        f"--config.{name}='{split}'" for name, split in zip(fields, expected, strict=True)
    ]
    parts = [subsplits.ranges(split, there) for split in expected]
    assert not any(
        subsplits.shared(one, other) for place, one in enumerate(parts) for other in parts[:place]
    )


def test_splits_of_a_run_share_nothing():
    wanted = {"data.train": "train[:80%]", "data.validation": "train[80%:]", "data.test": "test"}
    subsplits.check_disjoint(wanted, SPLITS)
    message = (
        r"^config.data.validation='train\[80%:\]' and config.data.test='test\+train\[9:\]': they "
        "share 1 records; expected none"
    )
    with pytest.raises(ValueError, match=message):
        subsplits.check_disjoint(wanted | {"data.test": "test+train[9:]"}, SPLITS)
    with pytest.raises(ValueError, match=r"config\.data\.test='tset': there is no split"):
        subsplits.check_disjoint(wanted | {"data.test": "tset"}, SPLITS)
