"""Prunes with onnxsim to a part of the arithmetic; runs in that tool's own environment.

python _prune_onnxsim.py MODEL CALIB.npz OUT CONFIG MACS
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
from _prune_macs import macs_of
from onnxsim import apply_pruning_finetune, onnx_simplifier, simplify

STEPS = 7
MOST = 0.95


def main() -> None:
    """Bisect the sparsity, repair, write."""
    source, calibration, target, config, part = sys.argv[1:6]
    model, _ = simplify(onnx.load(source))  # folds BatchNormalization, which it cannot prune
    with np.load(calibration) as archive:
        feed = {name: archive[name] for name in archive.files}
    limit = float(part) * macs_of(model, feed)
    low, high, best = 0.0, MOST, None
    for step in range(STEPS + 1):
        sparsity = MOST if step == 0 else (low + high) / 2
        pruned = onnx_simplifier.apply_structured_pruning_cpp(
            model, sparsity=sparsity, global_sparsity=config == "global"
        )
        if macs_of(pruned, feed) <= limit:
            best, high = pruned, sparsity
        elif step == 0:
            least = macs_of(pruned, feed) / limit * float(part)
            sys.exit(f"keeps {least:.2f} of the arithmetic at sparsity {MOST}")
        else:
            low = sparsity
    count = len(next(iter(feed.values())))
    batches = [{k: v[i : i + 1] for k, v in feed.items()} for i in range(count)]
    onnx.save(apply_pruning_finetune(model, best, calibration_data=batches), target)


if __name__ == "__main__":
    main()
