"""Transfer trained networks to other images: feature extraction, then fine-tuning.

  python -m experiments.finetune --config=configs/transfer.py
  python -m experiments.finetune --config=configs/transfer.py --config.train.learning_rate=0.003
  python -m experiments.finetune --config=configs/transfer.py:folder,NAME --pretrained=WEIGHTS

A new classifier is trained on a frozen base; then parts of the base are trained as well, with
BatchNorm in inference mode. Each phase is a run with a record of its own: rerunning skips finished
runs and resumes killed ones. Each run keeps its network, for `experiments.predict` or as the base
of another transfer.

WEIGHTS are the folder of a run of `experiments.train` or of this command, or the MobileNetV2 of
torchvision, timm, transformers (.safetensors, a folder) or Keras (.h5, .keras); see
docs/how-to/import-weights.md. Without them, a base is trained as the config says.
"""

from absl import flags

from experiments import command_line, session

flags.adopt_module_key_flags(session)
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "A trained network: the folder of a run, or weights: a file or folder."
)


def main() -> int:
    """Run the experiment. Return 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid, a claim or the weights are wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    session.begin()
    return session.run(session.experiment(_PRETRAINED.value))


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", example="configs/transfer.py")
