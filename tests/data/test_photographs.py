"""Crops of scikit-learn's photographs."""

import numpy as np
from sklearn import datasets

from mnv2_jax.data import photographs


def test_corners_of_both_photographs():
    first, second = datasets.load_sample_images().images
    crops = photographs.crops()
    assert crops.shape == (8, 224, 224, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[0], first[:224, :224])
    np.testing.assert_array_equal(crops[7], second[-224:, -224:])


def test_other_sizes_and_grey():
    small = photographs.crops(32)
    assert small.shape == (8, 32, 32, 3)
    assert abs(small.mean() - photographs.crops().mean()) < 1
    grey = photographs.crops(16, 1)
    assert grey.shape == (8, 16, 16, 1)
    assert grey.std() > 10
