"""HDF5 and archives of it: what lies elsewhere, claims too much or is damaged is refused."""

import re

import h5py
import numpy as np
import pytest

from mnv2_jax.nn import keras_files
from tests.ablation.bases import refusal
from tests.nn.layouts import BASE, write_archive


def outside(file, secret):
    file.create_dataset("layers/a/vars/0", (4,), "u1", external=[(secret, 0, 4)])


def linked(file, secret):
    file["layers/a/vars/0"] = h5py.ExternalLink(secret, "secret")


def soft(file, secret):
    file["layers/a/vars/0"] = h5py.SoftLink("/layers")


def virtual(file, secret):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(secret, "secret", (4,))
    file.create_virtual_dataset("layers/a/vars/0", layout)


def plugin(file, secret):
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((4,))
    created.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_FLOAT, space, created)


def sparse(file, secret):
    file.create_dataset("layers/a/vars/0", (1 << 43,), "f4", chunks=(1 << 20,))


def packed(file, secret):
    file.create_dataset("layers/a/vars/0", (1 << 31,), "f4", chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (outside, "'layers/a/vars/0' lies in another file"),
        (virtual, "'layers/a/vars/0' lies in another file"),
        (linked, "'layers/a/vars/0' is a link to elsewhere"),
        (soft, "'layers/a/vars/0' is a link to elsewhere"),
        (plugin, "'a' needs a plugin, filter 32015"),
        (sparse, "claims 35,184,372,088,832 bytes"),
        (packed, "claims 8,589,934,592 bytes"),
    ],
)
def test_hdf5_that_reads_elsewhere_or_claims_too_much_is_refused(tmp_path, make, message):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.arange(4, dtype=np.float32)
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        make(file, str(secret))
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: ")) as caught:
        keras_files.read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hdf5_with_names_of_another_type_is_refused(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = 3.0
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: not a whole HDF5 file")):
        keras_files.read(path)


def test_hdf5_with_names_that_are_not_text_is_refused(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group(b"layers/\xff/vars")
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: not a whole HDF5 file")):
        keras_files.read(path)


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_truncated_archive_is_refused(tmp_path, length):
    path = tmp_path / "model.keras"
    write_archive(path, {}, BASE[:9])
    path.write_bytes(path.read_bytes()[:length])
    assert refusal(keras_files.read, path).startswith(f"{path}: not a whole .keras archive ")
