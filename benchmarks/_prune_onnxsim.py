"""Prunes with onnxsim to a part of the macs or params; runs in that tool's own environment.

python _prune_onnxsim.py MODEL CALIB.npz OUT CONFIG KIND PART
"""

from __future__ import annotations

import math
import sys

import numpy as np
import onnx
from _prune_macs import macs_of
from onnxsim import apply_pruning_finetune, onnx_simplifier, simplify

STEPS = 7
MOST = 0.95


def cost(model: onnx.ModelProto, feed: dict[str, np.ndarray], kind: str) -> float:
    """Multiply-accumulates or parameters."""
    if kind == "macs":
        return macs_of(model, feed)
    return float(sum(math.prod(tensor.dims) for tensor in model.graph.initializer))


def main() -> None:
    """Bisect the sparsity, repair, write."""
    source, calibration, target, config, kind, part = sys.argv[1:7]
    model, _ = simplify(onnx.load(source))  # folds BatchNormalization, which it cannot prune
    with np.load(calibration) as archive:
        feed = {name: archive[name] for name in archive.files}
    limit = float(part) * cost(model, feed, kind)
    low, high, best = 0.0, MOST, None
    for step in range(STEPS + 1):
        sparsity = MOST if step == 0 else (low + high) / 2
        pruned = onnx_simplifier.apply_structured_pruning_cpp(
            model, sparsity=sparsity, global_sparsity=config == "global"
        )
        if cost(pruned, feed, kind) <= limit:
            best, high = pruned, sparsity
        elif step == 0:
            least = cost(pruned, feed, kind) / limit * float(part)
            sys.exit(f"keeps {least:.2f} of the {kind} at sparsity {MOST}")
        else:
            low = sparsity
    count = len(next(iter(feed.values())))
    batches = [{k: v[i : i + 1] for k, v in feed.items()} for i in range(count)]
    onnx.save(apply_pruning_finetune(model, best, calibration_data=batches), target)


if __name__ == "__main__":
    main()
