"""The subject of an evaluator: finished runs' networks, and a split to measure them on."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.metrics import Metric
from mnv2_jax.nn.trained import Trained
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import Column
from mnv2_jax.train import evaluation
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.step import LaneProgram


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
          variables: by default the networks' own; others may be rounded ones.

        Returns:
          For each network its metrics, by name.
        """
        program = program or self.program
        for metric in program.metrics:
            self.describe(metric)
        own = [network.variables for network in self.networks]
        measured = evaluation.evaluate(
            program, self.dataset, self.images, variables or own, self.values, self.leave_out
        )
        self.predictions = [one.predictions.first(len(self.images)) for one in measured]
        return [one.metrics for one in measured]

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
