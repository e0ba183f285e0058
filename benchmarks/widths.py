"""How long convolutions of different widths take in ONNX Runtime: why pruned widths are multiples.

    python benchmarks/widths.py

Four convolutions with Relu, one thread, batch 1; the 10th percentile of interleaved runs. Prints a
Markdown table in milliseconds.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxslim.runtime.worker import Worker

WIDTHS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
SHAPES = ((3, 14), (1, 14), (3, 28))
DEPTH, TURNS = 4, 40


def chain(width: int, kernel: int, size: int) -> bytes:
    """A model of equal convolutions."""
    rng = np.random.default_rng(width)
    nodes, weights, x = [], [], "x"
    for i in range(DEPTH):
        array = rng.standard_normal((width, width, kernel, kernel)).astype(np.float32)
        weights.append(numpy_helper.from_array(array / (kernel * width**0.5), f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(width, np.float32), f"b{i}"))
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [x, f"w{i}", f"b{i}"], [f"c{i}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        x = f"r{i}"
    shape = [1, width, size, size]
    graph = helper.make_graph(
        nodes,
        "widths",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return made.SerializeToString()


def main() -> None:
    """Print the table."""
    print(f"| kernel, image | {' | '.join(map(str, WIDTHS))} |")
    print(f"|---|{'---:|' * len(WIDTHS)}")
    with Worker() as worker:
        for kernel, size in SHAPES:
            sessions = {
                w: worker.session(chain(w, kernel, size), optimization="all", threads=1)
                for w in WIDTHS
            }
            feeds = {w: {"x": np.ones((1, w, size, size), np.float32)} for w in WIDTHS}
            times: dict[int, list[float]] = {w: [] for w in WIDTHS}
            for _ in range(TURNS):
                for width, session in sessions.items():
                    times[width] += session.time(feeds[width], runs=5, warmup=1)
            low = [sorted(t)[len(t) // 10] * 1e3 for t in times.values()]
            print(f"| {kernel}, {size} | {' | '.join(f'{t:.3f}' for t in low)} |")
            for session in sessions.values():
                session.close()


if __name__ == "__main__":
    main()
