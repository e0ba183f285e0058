"""Prunes with Torch-Pruning to a part of the macs or params; runs in that tool's own environment.

python _prune_torch_pruning.py MODEL CALIB.npz OUT CONFIG KIND PART

The network is rebuilt from the ONNX file by onnx2torch, since Torch-Pruning needs modules, and
exported again. There is no retraining: nobody has labels here.
"""

from __future__ import annotations

import copy
import sys

import numpy as np
import onnx
import torch

_VISION = torch.library.Library("torchvision", "FRAGMENT")
for _kind in ("nms", "qnms"):  # torchvision is built for CUDA; its own operators are not needed
    _VISION.define(f"{_kind}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torch_pruning as tp  # noqa: E402
from onnx2torch import convert  # noqa: E402

STEPS = 7
MOST = 0.95
IMPORTANCES = {
    "l2": tp.importance.MagnitudeImportance,
    "lamp": tp.importance.LAMPImportance,
    "fpgm": tp.importance.FPGMImportance,
}


class Plain(torch.nn.Module):
    """A module without the attribute ``graph``, which the exporter takes for its own."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same."""
        return self.inner(x)


def prune(model: torch.nn.Module, example: torch.Tensor, ratio: float, config: str) -> None:
    """Prune in place."""
    kind, _, scope = config.partition("-")
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    tp.pruner.BasePruner(
        model, example, importance=IMPORTANCES[kind](p=2), pruning_ratio=ratio,
        global_pruning=scope == "global", ignored_layers=[last],
    ).step()  # fmt: skip


def cost(model: torch.nn.Module, example: torch.Tensor, kind: str) -> float:
    """Multiply-accumulates or parameters."""
    return float(tp.utils.count_ops_and_params(model, example)[kind == "params"])


def main() -> None:
    """Bisect the ratio, write."""
    source, calibration, target, config, kind, part = sys.argv[1:7]
    proto = onnx.load(source)
    with np.load(calibration) as archive:
        example = torch.from_numpy(next(iter(archive.values()))[:2])
    dense = convert(proto).eval()
    for parameter in dense.parameters():
        parameter.requires_grad_(True)
    limit = float(part) * cost(dense, example, kind)
    low, high, best = 0.0, MOST, None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        trial = copy.deepcopy(dense)
        prune(trial, example, ratio, config)
        if cost(trial, example, kind) <= limit:
            best, high = trial, ratio
        else:
            low = ratio
    if best is None:
        sys.exit(f"keeps more than {part} of the {kind} at ratio {MOST}")
    name = proto.graph.input[0].name
    torch.onnx.export(
        Plain(best), (example,), target, input_names=[name], dynamo=False,
        output_names=[value.name for value in proto.graph.output],
        dynamic_axes={name: {0: "batch"}}, opset_version=17,
    )  # fmt: skip


if __name__ == "__main__":
    main()
