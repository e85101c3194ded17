"""Settings that are sent to processes of peers; neither jax nor a peer is imported here."""

from typing import NamedTuple


class Sgd(NamedTuple):
    """SGD with Nesterov's momentum.

    Attributes:
      learning_rate: at the first step.
      momentum: of the sum of gradients.
      weight_decay: of kernels; scales, biases and offsets do not decay.
      label_smoothing: the share of a target that goes to all classes.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0


class TorchWay(NamedTuple):
    """Settings of PyTorch.

    Attributes:
      channels_last: whether channels lie innermost in memory.
      compiled: whether `torch.compile` is used.
      bfloat16: whether it computes in mixed precision (AMP).
      gpu: whether it runs on the GPU.
    """

    channels_last: bool = False
    compiled: bool = False
    bfloat16: bool = False
    gpu: bool = False

    def __str__(self) -> str:
        words = ["channels_last" if self.channels_last else "default layout"]
        if self.bfloat16:
            words.append("AMP bf16")
        return ", ".join(words)
