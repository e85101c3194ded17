"""Experiments from Python, in a notebook or a script: plan, train, read results, predict.

    from mnv2_jax import api

    experiment = api.Experiment.from_file("configs/digits.py")
    results = experiment.run("runs/digits", seeds=3)
    results.frame                                        # a row per run
    results.plot(x="expansion", hue="projection")        # a figure
    results.decide()                                     # the claims, with intervals
    results.report()                                     # the path of report.html
    network = api.load(results.best())
    network.predict(images)                              # probabilities

The first call that needs jax sets it up: every CPU core is a device, compiled programs are kept in
the user's cache folder. Call this package before anything else in the process uses jax.
"""

from mnv2_jax.ablation.launchers import Launcher
from mnv2_jax.ablation.sweep import Outcome
from mnv2_jax.api.experiment import Experiment
from mnv2_jax.api.network import TrainedNetwork, load
from mnv2_jax.api.results import Results, evaluate
from mnv2_jax.train.preemption import Interrupted

__all__ = [
    "Experiment",
    "Interrupted",
    "Launcher",
    "Outcome",
    "Results",
    "TrainedNetwork",
    "evaluate",
    "load",
]
