import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax.data import subsets
from mnv2_jax.data.stored.prepared import Record
from tests import samples

LABELS = st.sets(st.integers(0, 40), min_size=1)


class Listed:
    """Records that are their place and label, and count how often they are read."""

    def __init__(self, labels):
        self.labels = labels
        self.reads = 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.reads += 1
        return Record(b"%d" % index, self.labels[index], f"record {index}")


@st.composite
def written(draw):
    """Some labels, and a way to write them: with and without ranges, in any order."""
    wanted = draw(LABELS)
    left = sorted(wanted)
    parts = []
    while left:
        run = next((n for n in range(1, len(left)) if left[n] != left[0] + n), len(left))
        taken = draw(st.integers(1, run))
        first, last = left[0], left[taken - 1]
        parts.append(f"{first}" if taken == 1 and draw(st.booleans()) else f"{first}-{last}")
        left = left[taken:]
    return wanted, ",".join(draw(st.permutations(parts)))


@settings(max_examples=40)
@given(written())
def test_labels_are_read_however_they_are_written(case):
    wanted, text = case
    found = [label for part in subsets.label_ranges(text) for label in part]
    assert found == sorted(wanted)


@pytest.mark.parametrize(
    "text",
    ["", "4-x", "-4", "4-", "0--4", "1-2-3", "0, 1", "0,,1", "0,", "1.5", "cat", "²", "9" * 10],
)
def test_other_texts_are_refused(text):
    with pytest.raises(
        ValueError, match=r"^expected label numbers such as '0-4' or '0,2,5', or ''"
    ):
        subsets.label_ranges(text)


@given(st.integers(0, 10**9 - 2), st.integers(1, 10**9))
def test_a_range_that_falls_is_refused(last, more):
    first = min(last + more, 10**9 - 1)
    with pytest.raises(ValueError, match=f"^the range {first}-{last} falls; expected {last}-"):
        subsets.label_ranges(f"0,{first}-{last}")


@settings(max_examples=30)
@given(written(), st.data())
def test_a_label_given_twice_is_refused(case, data):
    wanted, text = case
    again = data.draw(st.sampled_from(sorted(wanted)))
    for twice in (f"{text},{again}", f"{again},{text}", f"{again}-{again},{text}"):
        with pytest.raises(ValueError, match=f"^class {again} is given twice; expected each once$"):
            subsets.label_ranges(twice)


@given(st.lists(st.integers(0, 8), max_size=50), st.sets(st.integers(0, 8), min_size=1).map(sorted))
def test_a_subset_holds_its_classes_relabelled_in_order(labels, kept):
    records = Listed(labels)
    subset = subsets.Subset.of_classes(records, kept)
    expected = [(place, kept.index(label)) for place, label in enumerate(labels) if label in kept]
    assert records.reads == len(labels)
    found = [subset[index] for index in range(len(subset))]
    assert [(int(record.image), record.label) for record in found] == expected
    assert [record.where for record in found] == [f"record {place}" for place, _ in expected]
    # Their labels are not read again.
    reads = records.reads
    assert subsets.labels(subset).tolist() == [label for _, label in expected]
    assert records.reads == reads
    with pytest.raises(IndexError):
        subset[len(subset)]


def test_the_labels_of_all_records():
    found = subsets.labels(Listed([3, 1, 2]))
    assert found.dtype == np.int32
    assert found.tolist() == [3, 1, 2]


def test_a_subset_can_be_pickled():
    labels = np.array([0, 1, 2, 1])
    subset = subsets.Subset.of_classes(
        samples.Pngs(np.zeros((4, 2, 2, 1), np.uint8), labels), [1, 2]
    )
    copy = pickle.loads(pickle.dumps(subset))
    assert [copy[index] for index in range(3)] == [subset[index] for index in range(3)]
    assert copy.labels.tolist() == [0, 1, 0]
