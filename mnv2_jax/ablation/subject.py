"""The subject of an evaluator: finished runs' networks, and a split to measure them on."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from mnv2_jax.data import stream
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.data.subsets import Subset
from mnv2_jax.metrics import Metric
from mnv2_jax.nn.network import variable_shapes
from mnv2_jax.nn.trained import Trained
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import Column
from mnv2_jax.train import evaluation
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.step import LaneProgram

_BATCH_BYTES = 2**28
"""The most that results of `Subject.observe` take on the host."""


class Observed(NamedTuple):
    """The result of a function of a network and of a batch of images.

    Attributes:
      network: the place of the network in `Subject.networks`.
      first: the number of the batch's first image.
      weights: of the batch's images: one of weight 0 fills up the batch, or cannot be decoded.
      result: of the function.
    """

    network: int
    first: int
    weights: np.ndarray
    result: Any


@dataclasses.dataclass
class Subject:
    """Trained networks that share a program, and the split to measure them on.

    Attributes:
      runs: ids of their runs.
      networks: one per run.
      program: computes their logits; see `mnv2_jax.train.step.LaneProgram`.
      values: their hyperparameters, of which projection and shortcut matter.
      dataset: the data set of the images.
      images: the split.
      training: opens images that networks were trained on, or could have been.
      leave_out: called with a line for each image that cannot be decoded.
      say: called with a line of progress.
      columns: descriptions of measures, by name; see `describe`.
      predictions: those of each network that `measure` made last.
      per_block: set by an evaluator that measures blocks: for each network a mapping for each of
        its blocks, in order, from measures to numbers; None, or no entry, where a block has none.
      block_columns: descriptions of these measures, by name.
    """

    runs: Sequence[str]
    networks: Sequence[Trained]
    program: LaneProgram
    values: Sequence[HParams]
    dataset: Dataset
    images: Images
    training: Callable[[], Images]
    leave_out: Callable[[Iterable[str]], None]
    say: Callable[[str], None] = lambda line: None
    columns: dict[str, Column] = dataclasses.field(default_factory=dict)
    predictions: list[Predictions] = dataclasses.field(default_factory=list)
    per_block: Sequence[Sequence[Mapping[str, float | None]]] = ()
    block_columns: dict[str, Column] = dataclasses.field(default_factory=dict)

    def measure(
        self,
        program: LaneProgram | None = None,
        variables: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[dict[str, float]]:
        """Compute the program's metrics, for many networks at a time.

        Args:
          program: by default the subject's; another one may have another precision.
          variables: by default the networks' own; others may be rounded ones, one for each network
            in order, or several times as many, which one compiled program measures.

        Returns:
          For each of the variables the metrics, by name.
        """
        program = program or self.program
        for metric in program.metrics:
            self.describe(metric)
        chosen = variables or [network.variables for network in self.networks]
        values = list(self.values) * (len(chosen) // len(self.networks))
        measured = evaluation.evaluate(
            program, self.dataset, self.images, chosen, values, self.leave_out
        )
        self.predictions = [one.predictions.first(len(self.images)) for one in measured]
        return [one.metrics for one in measured]

    def observe(
        self,
        function: Callable[[Any, Any, Any], Any],
        images: Images,
        most: int,
        variables: Sequence[Mapping[str, Any]] | None = None,
    ) -> Iterator[Observed]:
        """Yield the results of a function, for every batch of images and every network.

        Args:
          function: of a network's variables, knobs and images, uint8 `[batch, height, width,
            channels]`; it is compiled, and returns arrays `[batch, ...]`.
          images: a split.
          most: images that are taken; of more, so many evenly spaced ones are.
          variables: by default the networks' own.

        Raises:
          ValueError: an image cannot be decoded.
        """
        if len(images) > most:
            places = np.arange(most) * len(images) // most
            images = dataclasses.replace(images, records=Subset(images.records, places))
        size = self._batch_size(function, len(images))
        compiled = jax.jit(function)
        chosen = variables or [network.variables for network in self.networks]
        batches = stream.EvaluationBatches(images, size, range(size))
        with contextlib.closing(stream.iterate(batches)) as decoded:
            for number, batch in enumerate(decoded):
                self.leave_out(batch.problems)
                for place, (own, values) in enumerate(zip(chosen, self.values, strict=True)):
                    result = compiled(own, values.knobs, batch.images)
                    yield Observed(place, number * size, batch.weights, result)

    def _batch_size(self, function: Callable[[Any, Any, Any], Any], images: int) -> int:
        """Return the images of a batch: as for evaluation, or as many as `_BATCH_BYTES` hold."""
        spec = self.program.spec
        image = jax.ShapeDtypeStruct((1, *spec.input_shape), np.uint8)
        result = jax.eval_shape(function, variable_shapes(spec), self.values[0].knobs, image)
        of_image = sum(4 * math.prod(leaf.shape) for leaf in jax.tree.leaves(result))
        wanted = min(self.program.recipe.evaluation_batch_size, images)
        return max(1, min(wanted, _BATCH_BYTES // of_image))

    def describe(
        self,
        measure: Metric | str,
        label: str = "",
        unit: str = "",
        better: Literal["higher", "lower"] = "higher",
        digits: int = 3,
        *,
        of_blocks: bool = False,
    ) -> None:
        """Describe a measure, for figures, claims and the report.

        Args:
          measure: its name, or a metric, which includes all of the following.
          label: name in texts.
          unit: "%" for a fraction of 1; any other is shown as it is.
          better: "higher" or "lower".
          digits: shown after the decimal point.
          of_blocks: the measure is one of `per_block`.
        """
        if isinstance(measure, Metric):
            name, label, unit = measure.name, measure.label, measure.unit
            better, digits = measure.better, measure.digits
        else:
            name = measure
            label = label or name.replace("_", " ")
        label = label[:1].upper() + label[1:]
        columns = self.block_columns if of_blocks else self.columns
        columns[name] = Column(name, "number", "measure", label, unit, digits, better)


Measures = Sequence[Mapping[str, float]]
"""For each run its measures, by name."""

Evaluator = Callable[[Subject], Measures]
"""A function that measures the networks of a subject."""
