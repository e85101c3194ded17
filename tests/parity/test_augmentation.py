"""Against torchvision's transforms."""

import importlib

import jax
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from mnv2_jax.data import colour, crops
from mnv2_jax.data.randaugment import OPERATIONS

COUNT = 4


@pytest.fixture(scope="module")
def transforms(torchvision_models):
    return importlib.import_module("torchvision.transforms")


@pytest.fixture(scope="module")
def photo():
    """An image of every colour, with edges and with a little noise."""
    y, x = np.mgrid[:375, :500]
    waves = np.stack([np.sin(x / 40 + y / 90), np.cos(y / 30), np.sign(np.sin(x * y / 9e3))], -1)
    noise = np.random.default_rng(0).normal(0, 4, (375, 500, 3))
    return Image.fromarray(np.uint8(np.clip(127 + 110 * waves + noise, 0, 255)))


@pytest.mark.parametrize("name", colour.ADJUSTMENTS)
def test_colours_change_as_torchvision_changes_them(torch, transforms, report, name):
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 9, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), COUNT)
    ours = jax.jit(colour.ADJUSTMENTS[name])(keys, pixels, 0.4)
    adjust = getattr(transforms.functional, f"adjust_{name}")
    adjusted = []
    for key, image in zip(keys, pixels, strict=True):
        drawn = 0.4 * float(jax.random.uniform(key, minval=-1.0))
        tensor = torch.from_numpy(image.transpose(2, 0, 1) / 255)
        adjusted.append(adjust(tensor, drawn if name == "hue" else 1 + drawn).numpy())
    theirs = 255 * np.stack(adjusted).transpose(0, 2, 3, 1)
    assert report("levels of 255", np.abs(ours - theirs).max()) < 1e-3


@pytest.mark.parametrize("size", [(500, 375), (200, 300), (400, 100)])
def test_boxes_are_distributed_as_torchvision_s(torch, transforms, report, size):
    width, height = size
    image = Image.new("L", size)
    torch.manual_seed(0)
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
            for _ in range(1500)
        ]
    )
    top, left, high, wide = theirs.T
    generator = np.random.default_rng(0)
    boxes = np.array([crops.inception_box(width, height, 0.08, generator) for _ in range(1500)])
    ours = [boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]]
    pairs = [*zip(ours, (top, left, high, wide), strict=True)]
    pairs += [(ours[2] * ours[3], high * wide), (ours[3] / ours[2], wide / high)]
    chances = [scipy.stats.ks_2samp(*pair).pvalue for pair in pairs]
    assert report("least chance of six", min(chances)) > 1e-4


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (341, 256), (256, 256)])
def test_evaluation_crops_where_torchvision_does(transforms, photo, report, size):
    image = photo.resize(size)
    chain = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    ours = crops.evaluation_crop(image, 224, 0.875).astype(int)
    apart = np.abs(ours - np.asarray(chain(image)))
    # Where the shorter side has its size, pixels are copied; else, half a pixel and rounding.
    assert report("mean levels of 255", apart.mean()) < (1e-9 if min(size) == 256 else 2)


SPELT = {
    "auto_contrast": "AutoContrast",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_randaugment_s_operations_are_torchvision_s(transforms, report, name):
    # 20 pixels: their 150 / 331 of it, cut off, and our 0.45 are 9 alike.
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8) // 2 + 40
    image = Image.fromarray(pixels)
    magnitudes, signed = transforms.RandAugment()._augmentation_space(31, (20, 20))[
        SPELT.get(name, name.capitalize())
    ]
    worst = 0.0
    for strength in (1.0,) if name.startswith("translate") else (0.5, 1.0):
        for sign in (-1, 1) if signed else (1,):
            magnitude = float(magnitudes[round(30 * strength)]) if magnitudes.ndim else 0.0
            theirs = transforms.autoaugment._apply_op(
                image,
                SPELT.get(name, name.capitalize()),
                sign * magnitude,
                transforms.InterpolationMode.BILINEAR,
                [128.0] * 3,
            )
            # The direction of a sign does not matter: signs are drawn evenly.
            signs = (-1, 1) if name.startswith(("translate", "shear")) else (sign,)
            apart = [
                np.abs(
                    np.asarray(theirs).astype(int) - OPERATIONS[name](image, strength, own)
                ).max()
                for own in signs
            ]
            worst = max(worst, min(apart))
    assert report("levels of 255", worst) <= 1
