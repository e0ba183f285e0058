"""How well does a table of layer latencies predict a narrower model?

For convolutional chains at several widths: the table is measured on the widest one, the narrower
ones are predicted from it and then really run beside it (``onnxslim bench``, interleaved).

    python benchmarks/latency_table.py
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

import onnxslim
from onnxslim.api.latency import latency_table

NETS = (
    ("3x3 chain, 56 pixels", (32, 32, 64, 64, 128, 128), 56, False),
    ("3x3 and depthwise, 28 pixels", (64, 64, 128, 128, 256), 28, True),
    ("3x3 chain, 24 pixels", (16, 16, 32, 32, 64, 64), 24, False),
)
PARTS = (1.0, 0.75, 0.5, 0.3)


def chain(widths: Sequence[int], size: int, depthwise: bool) -> onnx.ModelProto:
    """Convolutions with activations, a pool and a classifier."""
    rng = np.random.default_rng(0)
    nodes, initializers = [], []

    def weight(name: str, *shape: int) -> str:
        array = (rng.standard_normal(shape) * 0.05).astype(np.float32)
        initializers.append(numpy_helper.from_array(array, name))
        return name

    def add(op: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    x, channels = "x", 3
    for i, width in enumerate(widths):
        kernel = weight(f"w{i}", width, channels, 3, 3)
        steps = [2, 2] if i in (2, 4) else [1, 1]
        x = add("Conv", [x, kernel], f"conv{i}", pads=[1, 1, 1, 1], strides=steps)
        x = add("Relu", [x], f"relu{i}")
        if depthwise:
            kernel = weight(f"d{i}", width, 1, 3, 3)
            x = add("Conv", [x, kernel], f"deep{i}", pads=[1, 1, 1, 1], group=width)
            x = add("HardSwish", [x], f"swish{i}")
        channels = width
    x = add("Flatten", [add("GlobalAveragePool", [x], "pool")], "flat")
    add("Gemm", [x, weight("fc", channels, 10)], "y")
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", 1, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", 1, [1, 10])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def widths_of(widths: Sequence[int], depthwise: bool) -> dict[str, tuple[int, int]]:
    """Input and output channels by layer."""
    found, channels = {}, 3
    for i, width in enumerate(widths):
        found[f"conv{i}"] = (channels, width)
        if depthwise:
            found[f"deep{i}"] = (width, width)
        channels = width
    return {**found, "y": (channels, 10)}


def main() -> None:
    """Print predicted and measured ratios."""
    errors: dict[str, list[float]] = {"multiples of 8": [], "other widths": []}
    print("| net | widths | predicted | measured | 95 % |")
    print("|---|---|---:|---:|---|")
    for name, full, size, depthwise in NETS:
        wide = chain(full, size, depthwise)
        table = latency_table(wide)
        whole = table.predict_model({})
        for part in PARTS:
            even = [max(8, round(w * part / 8) * 8) for w in full]
            odd = [max(3, int(w * part) - 1) for w in full]
            for kind, narrow in (("multiples of 8", even), ("other widths", odd)):
                report = onnxslim.bench([wide, chain(narrow, size, depthwise)])
                timing = report.models[1].timing
                ratio = table.predict_model(widths_of(narrow, depthwise)) / whole
                errors[kind].append(abs(ratio - timing.ratio))
                print(
                    f"| {name} | {', '.join(map(str, narrow))} | {ratio:.2f} | {timing.ratio:.2f}"
                    f" | {timing.low:.2f} to {timing.high:.2f} |"
                )
    for kind, found in errors.items():
        print(f"{kind}: error of the ratio, mean {statistics.mean(found):.2f}, "
              f"largest {max(found):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
