"""Transfers trained networks to other images: feature extraction, then fine-tuning.

  python -m experiments.finetune --config=configs/transfer.py
  python -m experiments.finetune --config=configs/transfer.py --config.train.learning_rate=0.003
  python -m experiments.finetune --config=configs/transfer.py:folder,NAME --pretrained=WEIGHTS

A new classifier is trained on a frozen base; then parts of the base are trained as well, with
BatchNorm in inference mode. Each phase is a run with a record of its own: what is finished is not
trained again, what was in training goes on. Beside its results, each run leaves its network, for
`experiments.predict` or as the base of another transfer.

WEIGHTS are a run of `experiments.train` or of this experiment (its folder), or a file of
torchvision's, timm's (.safetensors) or Keras's (.h5) MobileNetV2. Without them, the config says how
a base is trained.
"""

from pathlib import Path

from absl import flags

from experiments import command_line, session, training
from mnv2_jax.ablation import phases, resolve
from mnv2_jax.ablation.starts import Given

flags.adopt_module_key_flags(session)
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "A trained network: the folder of a run, or a file of weights."
)


def main() -> int:
    """Runs the experiment. Returns 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid, a claim or the weights are wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    session.begin()
    claims = session.claims()
    configs = session.configs()
    for config in configs:
        resolve.check_fields(config)
    given = None
    if _PRETRAINED.value is not None:
        given = _given(_PRETRAINED.value)
        for config in configs:
            given.settle(config)
    runs = phases.runs(configs, given.identity if given else "")
    if given and not any(run.transfer.start == given.identity for run in runs):
        raise ValueError(
            f"--pretrained={_PRETRAINED.value}: no run starts from it; expected runs of the phases "
            f"'extraction' or 'finetuning' in config.transfer.phase"
        )
    saved = training.saving(networks=True)
    # Of all runs the last one is of the last phase, whose images are the most augmented.
    outcome = training.train(
        session.name(), runs, claims, saved=saved, given=given, previewed=runs[-1]
    )
    return 1 if outcome.failed else 0


def _given(where: str) -> Given:
    if not where:
        raise ValueError("--pretrained: it is empty; expected the folder of a run, or a file")
    try:
        return Given.open(Path(where))
    except ValueError as error:
        raise ValueError(f"--pretrained={error}") from None


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", example="configs/transfer.py")
