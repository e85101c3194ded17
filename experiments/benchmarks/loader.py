"""How fast images are decoded and cropped for training, beside a loop that does nothing else."""

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from experiments.benchmarks import ours
from experiments.benchmarks.rows import OURS, Row
from experiments.benchmarks.workers import Pool
from mnv2_jax.cores import available

TITLE = "JPEGs of 500x375 decoded, cropped at random and resized to 224 pixels"
RATIO = "share of the loop; of the time"

_SIZE = (500, 375)
_RESOLUTION = 224
_AREA = 0.08
_BATCH = 64
_BARE = "decode and crop in a loop"


def measure(images: int = 48, batches: int = 30, turns: int = 3, steps: int = 18) -> list[Row]:
    """Loop and loader in turns, then a step of training that images are streamed to.

    Args:
      images: different ones.
      batches: of `_BATCH` images that a sample takes.
      turns: samples of each.
      steps: of training.
    """
    jpegs = photographs(images)
    cores = available()
    size = sum(map(len, jpegs)) / len(jpegs) / 1e3
    what = f"{size:.0f} kB an image, {cores} cores"
    workers = sorted({0, 1, cores})
    with Pool(cores, 1) as pool:
        share = -(-batches * _BATCH // cores)
        loop = pool.prepare("experiments.benchmarks.loader:bare", jpegs, share)
        loop_rates: list[float] = []
        rates: dict[int, list[float]] = {count: [] for count in workers}
        firsts: dict[int, list[float]] = {count: [] for count in workers}
        for _ in range(turns):
            loop_rates.append(cores * share / _seconds(loop))
            for count in workers:
                first, rate = _streamed(jpegs, count, batches)
                firsts[count].append(first)
                rates[count].append(rate)
    bare_rate = float(np.median(loop_rates))
    rows = [Row(what, _BARE, f"{cores} processes", "images/s", bare_rate, 1.0, turns)]
    for count in workers:
        rate, first = (float(np.median(found[count])) for found in (rates, firsts))
        how = f"{count} worker processes" if count else f"{cores} threads"
        ratio = (rate / (count or cores)) / (bare_rate / cores)
        rows += [
            Row(what, OURS, f"{how}; ratio per core", "images/s", rate, ratio, turns),
            Row("to the first batch", OURS, how, "s", first, samples=turns),
        ]
    waited, whole = ours.waiting(jpegs, _RESOLUTION, _AREA, steps, cores)
    rows.append(
        Row(
            f"mobilenet_v2, {_RESOLUTION} px, {steps} steps",
            OURS,
            f"{cores} worker processes; {whole:.3g} s in all, after the first ones",
            *("s waited", waited, waited / whole),
            samples=1,
        )
    )
    return rows


def photographs(count: int) -> list[bytes]:
    """JPEGs with the size of ImageNet's, and about as many bytes: shapes, edges and grain."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = coarse.resize(_SIZE, Image.Resampling.BICUBIC)
        edges = coarse.resize(_SIZE, Image.Resampling.NEAREST)
        grain = Image.fromarray(generator.integers(0, 256, (*_SIZE[::-1], 3), np.uint8))
        grain = grain.filter(ImageFilter.GaussianBlur(1))
        image = Image.blend(Image.blend(smooth, edges, 0.3), grain, 0.35)
        file = io.BytesIO()
        image.save(file, "jpeg", quality=90)
        made.append(file.getvalue())
    return made


def bare(jpegs: list[bytes], count: int) -> Callable[[], None]:
    """A task for `Pool`: decodes, crops and resizes so many images, by PIL and nothing else."""

    def loop() -> None:
        generator = np.random.default_rng(0)
        out = np.empty((_BATCH, _RESOLUTION, _RESOLUTION, 3), np.uint8)
        for number in range(count):
            image = Image.open(io.BytesIO(jpegs[number % len(jpegs)])).convert("RGB")
            box = _box(generator, *image.size)
            view = image.resize((_RESOLUTION, _RESOLUTION), Image.Resampling.BILINEAR, box=box)
            out[number % _BATCH] = np.asarray(view)

    return loop


def _box(generator: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """A random-resized crop as short as it can be written."""
    while True:
        area = width * height * generator.uniform(_AREA, 1)
        aspect = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, high = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if wide <= width and high <= height:
            left = int(generator.integers(width - wide + 1))
            top = int(generator.integers(height - high + 1))
            return left, top, left + wide, top + high


def _streamed(jpegs: list[bytes], workers: int, batches: int) -> tuple[float, float]:
    """Seconds to the first batch of a stream, and images per second of what follows."""
    start = time.perf_counter()
    with contextlib.closing(ours.streamed(jpegs, _RESOLUTION, _AREA, _BATCH, workers)) as stream:
        next(stream)
        first = time.perf_counter() - start
        # All workers are there, and nothing is decoded yet that was not asked for meanwhile.
        for _ in range(2 * (workers or 2)):
            next(stream)
        seconds = _seconds(lambda: [next(stream) for _ in range(batches)])
    return first, batches * _BATCH / seconds


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
