"""What each recovery brings: accuracy after L2 pruning by ratio, with and without it.

    python benchmarks/recovery.py [--models NAME ...] [--ratios 0.3 0.5] [--samples 64 256]

Reads models and data from ONNXSLIM_CORPUS (models/NAME.onnx, data/NAME.calib.npz, .test.npz).
Prints a Markdown table; CPU seconds are those of this process and vary with what else runs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import load
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.spec import parse_pass
from onnxslim.runtime.worker import Worker

NAMES = ("mnist5k_resnet14", "mnist5k_resnet20", "mnist5k_groupvgg", "gunpoint_tcn")
WAYS = (
    "none",
    "correct-bias without data",
    "merge-channels without data",
    "correct-bias",
    "reestimate-batchnorm",
    "match-moments",
    "reconstruct-weights{rounds=0, priors=false}",
    "reconstruct-weights{priors=false}",
    "reconstruct-weights",
    "reconstruct-weights + distill-weights",
)
BATCH = 32

Array = np.ndarray[Any, np.dtype[Any]]


def accuracy(model: ir.Model, folder: Path, name: str, worker: Worker) -> float:
    """Per cent of the test samples that are right."""
    with np.load(folder / "data" / f"{name}.test.npz") as test:
        x, y = test["input"], test["y"]
    with worker.session(to_proto(model).SerializeToString(), optimization="all") as session:
        key = session.inputs[0].name
        found = [
            next(iter(session.run({key: x[i : i + 100]}).values())) for i in range(0, len(x), 100)
        ]
    return float((np.concatenate(found).argmax(axis=-1) == y).mean() * 100)


def feeds(folder: Path, name: str, key: str, samples: int) -> list[dict[str, Array]]:
    """The first calibration samples of a seeded order, in batches."""
    with np.load(folder / "data" / f"{name}.calib.npz") as data:
        x = data["input"]
    x = x[np.sort(np.random.default_rng(0).permutation(len(x))[:samples])]
    return [{key: x[i : i + BATCH]} for i in range(0, len(x), BATCH)]


def trials(
    folder: Path, name: str, ratio: float, samples: int, worker: Worker
) -> Iterator[tuple[str, float, float]]:
    """Way, accuracy, CPU seconds."""
    for way in WAYS:
        model = load(folder / "models" / f"{name}.onnx")
        infer_shapes(model, worker=worker)
        ctx = PassContext(model, worker=worker)
        parse_pass(f"prune-channels{{ratio={ratio}, criterion=l2}}").run(model, ctx)
        infer_shapes(model, worker=worker)
        start = time.process_time()
        if way != "none":
            if not way.endswith("without data"):
                key = str(model.graph.inputs[0].name)
                ctx.calibration = feeds(folder, name, key, samples)
            for part in way.removesuffix(" without data").split(" + "):
                parse_pass(part).run(model, ctx)
        seconds = time.process_time() - start
        yield way, accuracy(model, folder, name, worker), seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(NAMES))
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.3, 0.5])
    parser.add_argument("--samples", nargs="+", type=int, default=[64, 256])
    asked = parser.parse_args()
    corpus = os.environ.get("ONNXSLIM_CORPUS")
    if corpus is None:
        raise SystemExit("set ONNXSLIM_CORPUS to the folder that holds models/ and data/")
    folder = Path(corpus)
    folder = folder.parent if folder.name == "models" else folder
    print("| model | channels cut | samples | recovery | accuracy | CPU s |")
    print("|---|---|---|---|---|---|")
    with Worker() as worker:
        for name in asked.models:
            for ratio in asked.ratios:
                for samples in asked.samples:
                    for way, score, seconds in trials(folder, name, ratio, samples, worker):
                        cells = (
                            name,
                            f"{ratio:.0%}",
                            samples,
                            way,
                            f"{score:.1f}",
                            f"{seconds:.1f}",
                        )
                        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
