"""How long a report of a large model takes to write and to open in headless Chromium.

python benchmarks/report_open.py [--nodes 6000 24000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import onnx
from onnx import helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnxslim
from onnxslim.api.reporting import write_report
from tests.report.chromium import Chromium, find


def chain(count: int, change: int | None = None) -> onnx.ModelProto:
    """Element-wise operators in a row with a residual Add every seventh; one of them changed."""
    nodes, last, skip = [], "x", "x"
    for i in range(count):
        name = f"block{i // 70}/layer{i}"
        op = "Softplus" if i == change else ("Relu", "Sigmoid", "Tanh", "Neg")[i % 4]
        inputs = [last, skip] if i % 7 == 6 else [last]
        nodes.append(helper.make_node("Add" if i % 7 == 6 else op, inputs, [f"t{i}"], name=name))
        last = f"t{i}"
        skip = last if i % 7 == 6 else skip
    ends = [helper.make_tensor_value_info(name, 1, ["N", 4]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[6000, 24000])
    args = parser.parse_args()
    if find() is None:
        raise SystemExit("Chromium is not installed")
    print("| nodes | report | CPU s to write | kB | s to open |")
    print("|---:|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, Chromium(Path(folder) / "profile") as browser:
        browser.call("Page.navigate", url="about:blank")
        for count in args.nodes:
            first, second = chain(count), chain(count, count // 2)
            documents = {
                "diff": (onnxslim.diff(first, second), second),
                "inspect": (onnxslim.inspect(first), None),
            }
            for name, (found, after) in documents.items():
                start = time.process_time()
                path = write_report(
                    Path(folder) / "r.html", found.to_json(), before=first, after=after,
                    delta=found if name == "diff" else None,
                )  # fmt: skip
                spent = time.process_time() - start
                start = time.perf_counter()
                browser.open(path)
                opened = time.perf_counter() - start
                size = path.stat().st_size / 1000
                print(f"| {count} | {name} | {spent:.1f} | {size:.0f} | {opened:.1f} |")
                assert not browser.complaints(), browser.complaints()


if __name__ == "__main__":
    main()
