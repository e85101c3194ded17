"""Evaluates given weights, such as those of ImageNet, on a folder of images or a data set."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mnv2_jax import metrics, presets, side_tables
from mnv2_jax.ablation import cohort, measured
from mnv2_jax.ablation.evaluations import Request, about, with_measures
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.subject import Subject
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.nn import pieces
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.trained import Trained
from mnv2_jax.side_tables import SideTable
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram

_RESOLUTION, _CROP_FRACTION = 224, 0.875
"""The size of images for weights of other libraries, and the share that their crop keeps."""

_BATCH = 32
_CALIBRATION = "train"
_WORDNET = re.compile(r"n\d{8}")


def evaluate_weights(
    weights: Path,
    request: Request,
    options: DataOptions,
    workdir: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SideTable:
    """Measure one network, and write a side table if there is a place for it.

    Weights of other libraries are of MobileNetV2, width 1, for images of 224 pixels and 1,000
    classes. Ranges, if an evaluator needs them, are those of the data set's training images.

    Args:
      weights: a file or folder, as `PretrainedWeights.open` takes it.
      request: with a data set; its split is "test" by default.
      options: of the data set.
      workdir: the side table is written to its `evaluations/`.
      say: called with lines of progress.

    Raises:
      ValueError: there are no such weights, or they lack a classifier; or the data set has other
        classes.
      OSError: a file cannot be read or written.
    """
    if not request.data:
        raise ValueError("data='': expected a folder of images (DIR/), or a prepared data set")
    given = PretrainedWeights.open(weights)
    own = given.network
    selection = Selection(
        name=request.data,
        train=_CALIBRATION,
        validation=request.split,
        test=request.split,
        resolution=own.spec.resolution if own else _RESOLUTION,
        crop_fraction=own.crop_fraction if own else _CROP_FRACTION,
        channels=own.spec.in_channels if own else 3,
    )
    dataset = options.open(selection, overlapping=True, tell=say)
    network = own or _imagenet(given, dataset)
    if dataset.class_names != network.class_names:
        raise ValueError(
            f"data={request.data}: classes {', '.join(dataset.class_names[:5])}, ...; expected "
            f"those of the network, {', '.join(network.class_names[:5])}, ..."
        )
    problems: set[str] = set()
    subject = _subject(given, network, dataset, request, problems.update, say)
    table = SideTable(request.table, {}, {}, about(request), {}, {}, {}, {})
    table = with_measures(table, measured.measure(request.evaluator, subject), subject)
    for line in sorted(problems):
        say(f"left out: {line}")
    if workdir is not None:
        side_tables.write(workdir, table)
    return table


def _imagenet(given: PretrainedWeights, dataset: Dataset) -> Trained:
    """Return the network of another library's weights, with the classes of a data set.

    Raises:
      ValueError: the weights have no classifier of 1,000 classes, or the data set has other
        classes, or ones whose order is not that of ImageNet's labels.
    """
    if not given.scaling:
        raise ValueError(
            f"pretrained={given.path}: it does not tell the scaling of images; expected a run's "
            f"network, or weights of Keras, torchvision, timm or transformers"
        )
    spec = presets.build(
        "mobilenet_v2", resolution=_RESOLUTION, classes=1000, conventions=given.conventions
    )
    loaded = given.loaded(spec)
    if loaded.classifier != "loaded":
        raise ValueError(
            f"pretrained={given.path}: its classifier is {loaded.classifier}; expected weights "
            f"with a classifier of 1,000 classes"
        )
    names = dataset.class_names
    if len(names) != 1000 or not all(map(_WORDNET.fullmatch, names)):
        raise ValueError(
            f"data={dataset.name}: {len(names):,} classes, {', '.join(names[:3])}, ...; expected "
            f"ImageNet's 1,000, named n01440764 to n15075141, whose order is that of labels"
        )
    return Trained(spec, loaded.variables, names, given.scaling, _CROP_FRACTION)


def _subject(
    given: PretrainedWeights,
    network: Trained,
    dataset: Dataset,
    request: Request,
    leave_out: Callable[..., None],
    say: Callable[[str], None],
) -> Subject:
    knobs = Knobs.of_blocks(network.spec.blocks)
    names = [*metrics.DEFAULT, *metrics.names(request.metrics)]
    program = LaneProgram(
        cohort.without_lane_values(network.spec, slopes=bool(np.any(knobs.slope))),
        Recipe(1, _BATCH, _BATCH),
        1,
        scaling=network.scaling,
        metrics=metrics.choose(names, len(network.class_names)),
        pieces=pieces.parse(request.pieces),
    )
    return Subject(
        [given.path.stem],
        [network],
        program,
        [HParams(knobs=knobs)],
        dataset,
        dataset.test,
        lambda: dataset.train,
        leave_out,
        say,
    )
