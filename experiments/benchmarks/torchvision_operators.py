"""Lets torchvision, and with it timm, be imported without torchvision's compiled operators.

Its releases are compiled for GPUs and do not load beside a CPU build of PyTorch; the import then
fails where it describes two operators that are not there. No network here uses them.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch


def declare() -> Any:
    """Declares the two where they are missing; they last as long as what is given is kept."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        for library in Path(found.origin).parent.glob("_C.*"):
            torch.ops.load_library(library)
    except (ImportError, OSError):
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        return operators
    return None
