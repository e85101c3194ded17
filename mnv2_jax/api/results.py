"""The results of an experiment, read from its folder: tables, figures, decided claims."""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnv2_jax import checksums
from mnv2_jax.ablation import evaluations, plans, weights
from mnv2_jax.ablation import workdir as workdirs
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.ablation.sweep import Outcome
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import axes, block_tables, stated, tables, verdicts
from mnv2_jax.analysis.charts.accuracy import accuracy
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.scatter import scatter
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.api.planning import checked_claims
from mnv2_jax.api.report import write_report
from mnv2_jax.nn.pieces import WHOLE
from mnv2_jax.schema import RESULTS, Column
from mnv2_jax.train import setup


def evaluate(
    pretrained: str | Path,
    data: str,
    split: str = "",
    evaluator: str = "metrics",
    metrics: str = "",
    name: str = "",
    *,
    pieces: str = WHOLE,
    workdir: str | Path | None = None,
    data_dir: str | Path | None = None,
    on_corrupt: str = "fail",
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Evaluate given weights, such as those of ImageNet, on a folder of images or a data set.

    Args:
      pretrained: a trained network or weights of another library; see
        `mnv2_jax.ablation.weights.evaluate_weights`.
      data: the path of a folder of images, or a prepared data set, of the network's classes.
      split: see `Results.evaluate`, as for the next three.
      evaluator: a name of `mnv2_jax.ablation.evaluators`, or `FILE.py:FUNCTION`.
      metrics: names separated by commas, beside accuracy and loss.
      name: of the side table.
      pieces: see `Results.evaluate`.
      workdir: a folder to write the side table to; by default it is not written.
      data_dir: see `Results.evaluate`, as for the next one.
      on_corrupt: "fail" or "skip".
      say: takes a line of progress.

    Returns:
      One row.

    Raises:
      ValueError: a value is wrong, or the network has other classes.
      OSError: a file cannot be read or written.
    """
    setup.begin()
    folder = None if data_dir is None else str(data_dir)
    table = weights.evaluate_weights(
        Path(pretrained),
        evaluations.Request(split, data, evaluator, metrics, name, pieces),
        DataOptions(folder, on_corrupt=on_corrupt),
        None if workdir is None else Path(workdir),
        say,
    )
    frame = pd.DataFrame.from_dict(table.rows, orient="index", columns=list(table.columns))
    frame.attrs["columns"] = dict(table.columns)
    return frame


class Results:
    """The results in an experiment's folder.

    Attributes:
      outcome: how many runs were trained and failed by the call that returned this; None after
        `open`.
    """

    def __init__(
        self,
        here: Workdir,
        claims: Iterable[Claim] | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """Use `open`, or `mnv2_jax.api.Experiment.run`."""
        self._here = here
        self._claims = None if claims is None else checked_claims(claims)
        self.outcome = outcome

    @classmethod
    def open(
        cls,
        workdir: str | Path,
        claims: Iterable[Claim] | None = None,
    ) -> "Results":
        """Open an experiment's folder, while it is trained too.

        Args:
          workdir: the folder, which may be gs://BUCKET/PATH or s3://BUCKET/PATH.
          claims: to be decided; by default those that claims.json has.

        Raises:
          ValueError: there is no such folder or bucket.
        """
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(workdirs.seen(workdir))
            if not here.path.is_dir():
                raise ValueError(f"workdir={workdir}: no such folder; expected an experiment's")
            results = cls(here, claims)
            weakref.finalize(results, stack.pop_all().close)  # A copy of a bucket's is removed.
        return results

    @property
    def path(self) -> Path:
        """The folder; for a bucket, a local copy that is removed with this object."""
        return self._here.path

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """A row per run that is done, diverged or failed; see `mnv2_jax.ablation.records`.

        Raises:
          ValueError: there is no results.csv, or it is damaged.
        """
        return tables.read_results(self.path)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """A row per run and epoch; see `mnv2_jax.analysis.tables.read_curves`.

        Raises:
          ValueError: see `frame`; or a curve is damaged.
        """
        return tables.read_curves(self.path, self.frame)

    @functools.cached_property
    def runs(self) -> dict[str, Path]:
        """The folders of runs that have a record, by run id, in the order of `frame`."""
        folders = {run: self.path / "runs" / run for run in self.frame["run_id"]}
        return {run: folder for run, folder in folders.items() if folder.is_dir()}

    def best(self, metric: str = "validation_accuracy") -> Path:
        """Return the folder of the best run by a metric; runs of pretraining do not count.

        Args:
          metric: a measure in `frame`.

        Raises:
          ValueError: there is no such measure, or no run has it.
        """
        tables.check_measure(self.frame, metric)
        done = axes.without_pretraining(axes.finished(self.frame, metric))
        recorded = done[done["run_id"].isin(list(self.runs))]
        if recorded.empty:
            raise ValueError(f"{self._here.shown(self.path)}: no run is done and has a {metric}")
        is_higher_better = tables.describe(self.frame, metric).better == "higher"
        values = recorded[metric] if is_higher_better else -recorded[metric]
        return self.runs[recorded.loc[values.idxmax(), "run_id"]]

    def evaluate(
        self,
        split: str = "",
        data: str = "",
        evaluator: str = "metrics",
        metrics: str = "",
        name: str = "",
        *,
        pieces: str = WHOLE,
        data_dir: str | Path | None = None,
        on_corrupt: str = "fail",
        say: Callable[[str], None] = lambda line: None,
    ) -> pd.DataFrame:
        """Evaluate the networks that runs keep again, and write a side table.

        Its columns become measures in `frame`, for plots and claims.

        Args:
          split: see `mnv2_jax.ablation.evaluations.Request`, as for the next four and `pieces`.
          data: another data set with the same classes, or the path of a folder of images.
          evaluator: a name of `mnv2_jax.ablation.evaluators`, or `FILE.py:FUNCTION`.
          metrics: names separated by commas, in addition to those of the runs.
          name: of the table.
          pieces: "channels:3" and the like compute blocks piece by piece.
          data_dir: the folder of prepared data sets; by default one in the user's cache folder.
          on_corrupt: "fail" or "skip"; see `DataOptions`.
          say: takes a line of progress.

        Returns:
          A row per run that keeps its network, by run id.

        Raises:
          ValueError: a value is wrong, or no run keeps its network.
          OSError: a network or a data set cannot be read, or the table not written.
        """
        setup.begin()
        folder = None if data_dir is None else str(data_dir)
        options = DataOptions(folder, on_corrupt=on_corrupt)
        request = evaluations.Request(split, data, evaluator, metrics, name, pieces)
        table = evaluations.evaluate(self.path, request, options, say)
        self._here.sync()
        vars(self).pop("frame", None)
        return pd.DataFrame.from_dict(table.rows, orient="index", columns=list(table.columns))

    def blocks(self, name: str = "") -> pd.DataFrame:
        """Return the measures of blocks that an evaluator such as "bottlenecks" made.

        Args:
          name: of the side table; by default of the only one that has such measures.

        Returns:
          A row per run and block; see `mnv2_jax.analysis.block_tables.BlockTable`.

        Raises:
          ValueError: there is no such table.
        """
        found = block_tables.read(self.path, self.frame)
        chosen = name or (next(iter(found)) if len(found) == 1 else "")
        if chosen not in found:
            known = f"one of {', '.join(found)}" if found else "evaluate(evaluator='bottlenecks')"
            raise ValueError(f"name={name!r}: no such measures of blocks; expected {known}")
        return found[chosen].frame

    def column(self, name: str) -> Column:
        """Return the description of a column of `frame`: label, unit, digits.

        Raises:
          ValueError: there is no such column.
        """
        if name not in self.frame:
            raise ValueError(f"column={name!r}: expected one of {', '.join(map(str, self.frame))}")
        return tables.describe(self.frame, name)

    def decide(self, claims: Iterable[Claim] | None = None) -> pd.DataFrame:
        """Decide claims by the results.

        Args:
          claims: by default those of the experiment.

        Returns:
          A row per claim, by its name, with the columns that `mnv2_jax.analysis.verdicts.decide`
          describes: verdict, estimate, ci_low, ci_high, p_value, p_holm, pairs, seeds and others.
          Differences are fractions of 1.

        Raises:
          ValueError: a claim names a column that the results lack, or no claims are known.
        """
        chosen = self._chosen(claims)
        if chosen is not None:
            anytime = stated.has_plan_of_seeds(stated.read(self.path), chosen)
            rows = verdicts.decide(chosen, self.frame, anytime=anytime)
        elif (self.path / "claims.json").is_file():
            rows = verdicts.read_decided(self.path)
        else:
            raise ValueError(f"claims: there are none in {self.path}; expected some")
        first = ("name", "verdict", "statement", "estimate", "ci_low", "ci_high", "p_value")
        columns = dict.fromkeys((*first, *(name for row in rows for name in row)))
        return pd.DataFrame(rows, columns=list(columns)).set_index("name")

    def plot(
        self,
        x: str,
        hue: str | None = None,
        panel: str | Sequence[str] = (),
        metric: str = "",
    ) -> Chart:
        """Draw accuracy over an axis, over what networks cost, or over another measure.

        Every seed is a point; lines are means, bands 95 % t intervals over seeds. Over a measure
        every run is a point, and a note has the rank correlation. A notebook shows the chart;
        `chart.save("name.svg")`, or .png, writes it, and `chart.spec` is Vega-Lite.

        Args:
          x: an axis by its column or its path in the config, "params" or "madds", or a measure such
            as "NAME/MEASURE" of a side table.
          hue: the axis that lines, or the colours of points, differ in.
          panel: the axis that panels differ in, or several.
          metric: what to draw; by default test accuracy, or validation accuracy where test images
            were left unread.

        Raises:
          ValueError: there is no such axis or metric, or no run is done that has them.
        """
        panels = (panel,) if isinstance(panel, str) else tuple(panel)
        view = axes.view(self.frame, x, hue, panels)
        metric = metric or tables.main_metric(self.frame)
        tables.check_measure(self.frame, metric)
        over_measure = tables.describe(self.frame, view.x).kind == "measure"
        if view.x == metric:
            raise ValueError(f"metric={metric}: x shows it; expected another measure")
        draw = scatter if over_measure else accuracy
        chart = draw(self.frame.reset_index(drop=True), view, metric)
        if chart is None:
            raise ValueError(
                f"workdir={self._here.shown(self.path)}: no run is done and has "
                f"a {metric} and {' and '.join(view.shown)}; expected results of some"
            )
        return chart

    def report(self, claims: Iterable[Claim] | None = None) -> Path:
        """Write report.html, claims.json and the figures, and return the path of the report.

        Args:
          claims: by default those of the experiment, or those that claims.json records.

        Raises:
          ValueError: there is no results.csv, or a record is damaged.
          OSError: the folder cannot be written to.
        """
        if not (self.path / RESULTS).is_file():
            raise ValueError(
                f"workdir={self._here.shown(self.path)}: it holds no {RESULTS}; expected a folder "
                f"that a sweep wrote"
            )
        plan = plans.read(self.path)
        if plan is None:
            environment = checksums.read_if_there(self.path / "environment.json")
            command = environment.get("command", "not recorded")
            plan = {"name": self.path.name, "title": "", "command": command}
        write_report(
            self.path,
            self._chosen(claims),
            title=plan["title"] or plan["name"],
            name=plan["name"],
            command=plan["command"],
        )
        self._here.sync()
        return self.path / "report.html"

    def _chosen(self, claims: Iterable[Claim] | None) -> tuple[Claim, ...] | None:
        return self._claims if claims is None else checked_claims(claims)

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        html: Any = self.frame._repr_html_()
        return str(html)
