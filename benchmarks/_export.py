"""Export of the networks that the training scripts make."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def export(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write a classifier with BatchNormalization kept and a named, dynamic batch.

    Args:
        model: In evaluation mode.
        shape: Of one sample.
        path: Where to.
    """
    torch.onnx.export(
        model,
        (torch.zeros(2, *shape),),
        str(path),
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=17,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )
