"""A workbench for ablations of MobileNetV2's bottleneck (Sandler et al. 2018, arXiv 1801.04381)."""

__version__ = "0.2.0"
