"""How long `onnxslim diff` takes on large models: the whole command, in seconds of processor time.

Copies of a residual network of about N nodes: renamed and reordered, with one operator changed,
without any BatchNormalization, with every weight changed. `per node` is the time of the largest
divided by that of the smallest, per node: 1.0 is linear growth.

python benchmarks/diff_speed.py [--nodes 6000 12000 24000] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
from diff import ROOT, Builder, changed, node_of
from onnx import numpy_helper

from tests.report import variants

_PER_BLOCK = 8
"""Nodes of one block of the network."""


def _one(model: onnx.ModelProto) -> onnx.ModelProto:
    outputs = [n.output[0] for n in model.graph.node if n.op_type == "Relu"]

    def edit(found: onnx.ModelProto) -> None:
        node_of(found, outputs[len(outputs) // 2]).op_type = "Sigmoid"

    return changed(model, edit)


def _without(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every BatchNormalization bypassed."""
    found, names, kept = variants.copy(model), {}, []
    for node in found.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        if node.op_type == "BatchNormalization":
            names[node.output[0]] = node.input[0]
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del found.graph.node[:]
    found.graph.node.extend(kept)
    return found


def _weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight of a convolution changed."""
    found = variants.copy(model)
    for tensor in found.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))
    return found


CASES = {
    "the same, renamed and reordered": lambda m: variants.reordered(variants.renamed(m)),
    "one operator": _one,
    "no BatchNormalization": _without,
    "all weights": _weights,
}


def seconds(first: Path, second: Path) -> float:
    """Processor time of the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "onnxslim", "diff", str(first), str(second)],
        cwd=ROOT, stdout=subprocess.DEVNULL, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode > 1:
        raise SystemExit(f"exit code {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[6000, 12000, 24000])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows: dict[str, list[float]] = {name: [] for name in CASES}
    counts = []
    with tempfile.TemporaryDirectory(prefix="bench_diff_") as folder:
        paths = Path(folder, "a.onnx"), Path(folder, "b.onnx")
        for nodes in options.nodes:
            model = Builder(1).model(round(nodes / _PER_BLOCK))
            counts.append(len(model.graph.node))
            onnx.save(model, paths[0])
            for name, case in CASES.items():
                onnx.save(case(model), paths[1])
                rows[name].append(seconds(*paths))
                print(f"{counts[-1]:6} nodes  {name:32} {rows[name][-1]:5.1f} s", flush=True)
    growth = counts[-1] / counts[0]
    lines = [f"| changed | {' | '.join(f'{n} nodes' for n in counts)} | per node |"]
    lines.append(f"|---|{'---:|' * (len(counts) + 1)}")
    for name, found in rows.items():
        cells = " | ".join(f"{s:.1f} s" for s in found)
        lines.append(f"| {name} | {cells} | {found[-1] / found[0] / growth:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
