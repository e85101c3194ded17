"""Evaluators: functions that measure finished runs. A new one is a function and its line here.

An evaluator is a function of a `Subject`: networks that share a program, and a split. A user's own
is given as `FILE.py:FUNCTION`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mnv2_jax import user_code
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
      columns: descriptions of measures, by name; see `describe`.
      predictions: those of each network that `measure` made last.
    """

    runs: Sequence[str]
    networks: Sequence[Trained]
    program: LaneProgram
    values: Sequence[HParams]
    dataset: Dataset
    images: Images
    leave_out: Callable[[Iterable[str]], None]
    columns: dict[str, Column] = dataclasses.field(default_factory=dict)
    predictions: list[Predictions] = dataclasses.field(default_factory=list)

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
    ) -> None:
        """Describe a measure, for figures, claims and the report.

        Args:
          measure: its name, or a metric, which includes all of the following.
          label: name in texts.
          unit: "%" for a fraction of 1; any other is shown as it is.
          better: "higher" or "lower".
          digits: shown after the decimal point.
        """
        if isinstance(measure, Metric):
            name, label, unit = measure.name, measure.label, measure.unit
            better, digits = measure.better, measure.digits
        else:
            name = measure
            label = label or name.replace("_", " ")
        label = label[:1].upper() + label[1:]
        self.columns[name] = Column(name, "number", "measure", label, unit, digits, better)


Measures = Sequence[Mapping[str, float]]
"""For each run its measures, by name."""

Evaluator = Callable[[Subject], Measures]
"""A function that measures the networks of a subject."""


def metrics(subject: Subject) -> Measures:
    """Compute the metrics as training does."""
    return subject.measure()


def bfloat16(subject: Subject) -> Measures:
    """Compute the metrics in bfloat16, whatever the precision of training was."""
    program = subject.program
    recipe = dataclasses.replace(program.recipe, compute_dtype="bfloat16")
    return subject.measure(dataclasses.replace(program, recipe=recipe))


EVALUATORS: dict[str, Evaluator] = {"metrics": metrics, "bfloat16": bfloat16}
"""The evaluators by name."""


def find(name: str) -> Evaluator:
    """Return an evaluator, by its name in `EVALUATORS` or as `FILE.py:FUNCTION`.

    Raises:
      ValueError: there is none; one line that begins with `evaluator`.
    """
    kind = "a function of a mnv2_jax.ablation.evaluators.Subject"
    return user_code.find("evaluator", name, EVALUATORS, _is_function, kind, "FUNCTION")


def _is_function(found: object) -> bool:
    return callable(found) and not isinstance(found, type)
