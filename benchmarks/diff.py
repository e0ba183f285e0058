"""Compare `onnxslim diff` with diffonnx, onnxsim's graph diff and Polygraphy on known changes.

A residual network with BatchNormalization, a Shape/Gather/Concat/Reshape chain and an If is built
here, and copies of it that are the same or differ in one known thing. A tool is right when it says
"the same" of the first kind and "different" of the second; and it names the change when what it
prints holds the node, tensor, attribute or version that was changed. Each tool runs as a command in
an environment of its own. `--large N` adds a model of N nodes: renamed and reordered, and with one
operator changed; `--markdown FILE` writes the table of docs/diff.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from _peers import _ONNX, _RUNTIME, Tool, environment, prepare
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.report import variants  # noqa: E402

_ONNXSIM = (
    "import sys, onnx; from onnxsim.model_info import diff_graphs, print_graph_diff;"
    "d = diff_graphs(*(onnx.load(p) for p in sys.argv[1:]));"
    "print(d);"
    "sys.exit(bool(d.removed_nodes or d.added_nodes or d.changed_nodes or d.removed_values"
    " or d.added_values))"
)
_POLYGRAPHY = (
    "import subprocess, sys, tempfile, os;"
    "d = tempfile.mkdtemp(); i, o = d + '/i.json', d + '/o.json';"
    "p = [os.path.dirname(sys.executable) + '/polygraphy', 'run'];"
    "m = ['--onnxrt', '--onnx-outputs', 'mark', 'all'];"
    "a = subprocess.run([*p, sys.argv[1], *m, '--save-inputs', i, '--save-outputs', o]);"
    "a.returncode and sys.exit(9);"
    "b = subprocess.run([*p, sys.argv[2], *m, '--load-inputs', i, '--load-outputs', o]);"
    "sys.exit(b.returncode)"
)
TOOLS = (
    Tool("onnxslim diff", "ours", ("python", "-m", "onnxslim", "diff"), (_RUNTIME, _ONNX)),
    Tool("diffonnx 1.0.2", "diffonnx", ("diffonnx", "-v"), ("diffonnx==1.0.2", _RUNTIME)),
    Tool(
        "onnxsim 0.8.1", "onnxsim", ("python", "-c", _ONNXSIM), ("onnxsim==0.8.1", _RUNTIME, _ONNX)
    ),
    Tool(
        "Polygraphy 0.53.6",
        "polygraphy",
        ("python", "-c", _POLYGRAPHY),
        ("polygraphy==0.53.6", _RUNTIME, _ONNX),
    ),
)


@dataclass(frozen=True)
class Variant:
    """A copy of the model.

    Args:
        name: In the table.
        model: The copy.
        token: What has to be named; empty when it is the same.
        other: What must not be named, because nothing happened to it.
    """

    name: str
    model: onnx.ModelProto
    token: str = ""
    other: str = r"conv0_0\.w"


@dataclass(frozen=True)
class Answer:
    """What a tool said: whether it is right, whether it names the change, how long it took."""

    text: str
    seconds: float


class Builder:
    """Builds the network."""

    def __init__(self, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.counts: Counter[str] = Counter()

    def weight(self, name: str, *shape: int, positive: bool = False) -> str:
        array = self.draw.standard_normal(shape).astype(np.float32) * 0.3
        self.weights.append(
            numpy_helper.from_array(np.abs(array) + 0.5 if positive else array, name)
        )
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        name = f"{op}_{self.counts[op]}"
        self.counts[op] += 1
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def block(self, number: int, x: str, before: int, after: int) -> str:
        y = x
        for part in range(2):
            key = f"{number}_{part}"
            y = self.node(
                "Conv",
                [y, self.weight(f"conv{key}.w", after, before if part == 0 else after, 3, 3)],
                f"conv{key}",
                pads=[1] * 4,
            )
            scales = [self.weight(f"bn{key}.{p}", after, positive=p in "sv") for p in "sbmv"]
            y = self.node("BatchNormalization", [y, *scales], f"bn{key}", epsilon=1e-5)
            if part == 0:
                y = self.node("Relu", [y], f"relu{key}")
        if before == after:
            y = self.node("Add", [y, self.node("Identity", [x], f"skip{number}")], f"add{number}")
        return self.node("Relu", [y], f"relu{number}")

    def model(self, blocks: int = 8) -> onnx.ModelProto:
        x = "x"
        for number in range(blocks):
            x = self.block(number, x, 3 if number == 0 else 8, 8)
        pooled = self.node("GlobalAveragePool", [x], "pooled")
        shape = self.node("Shape", [pooled], "shape")
        self.weights.append(numpy_helper.from_array(np.array(0), "zero"))
        self.weights.append(numpy_helper.from_array(np.array([-1]), "rest"))
        batch = self.node("Gather", [shape, "zero"], "batch")
        self.weights.append(numpy_helper.from_array(np.array([0]), "axis"))
        row = self.node("Unsqueeze", [batch, "axis"], "row")
        target = self.node("Concat", [row, "rest"], "target", axis=0)
        flat = self.node("Reshape", [pooled, target], "flat")
        gemm = self.node("Gemm", [flat, self.weight("gemm.w", 8, 10)], "gemm")
        self.weights.append(numpy_helper.from_array(np.array(True), "yes"))
        value = helper.make_tensor_value_info
        branches = {
            f"{which}_branch": helper.make_graph(
                [helper.make_node(op, [gemm], [f"{which}_out"], name=f"{which}_{op}")],
                which,
                [],
                [value(f"{which}_out", onnx.TensorProto.FLOAT, None)],
            )
            for which, op in (("then", "Relu"), ("else", "Tanh"))
        }
        chosen = self.node("If", ["yes"], "chosen", **branches)
        self.node("Softmax", [chosen], "y", axis=-1)
        graph = helper.make_graph(
            self.nodes,
            "network",
            [value("x", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
            [value("y", onnx.TensorProto.FLOAT, [1, 10])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def changed(model: onnx.ModelProto, edit: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    """A copy with one edit."""
    found = variants.copy(model)
    edit(found)
    return found


def node_of(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if output in n.output)


def _weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "conv5_0.w")
    array = numpy_helper.to_array(tensor).copy()
    array[1, 2, 1, 1] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _epsilon(model: onnx.ModelProto) -> None:
    node_of(model, "bn3_0").attribute[0].f = 1e-3


def _branch(model: onnx.ModelProto) -> None:
    attribute = next(a for a in node_of(model, "chosen").attribute if a.name == "else_branch")
    attribute.g.node[0].op_type = "Sigmoid"


def _edge(model: onnx.ModelProto) -> None:
    node_of(model, "relu6_0").input[0] = "conv6_0"


def _operator(model: onnx.ModelProto) -> None:
    node_of(model, "relu4").op_type = "Sigmoid"


def _input(model: onnx.ModelProto) -> None:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 64


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def _external(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    path = folder / "external.onnx"
    onnx.save(
        variants.copy(model), path, save_as_external_data=True, location="external.bin",
        size_threshold=0,
    )  # fmt: skip
    return onnx.load(path, load_external_data=False)


def cases(model: onnx.ModelProto, folder: Path) -> list[Variant]:
    """All variants of the small model."""
    hidden = variants.reordered(variants.renamed(model, 1), 1)
    return [
        Variant("renamed", variants.renamed(model)),
        Variant("reordered", variants.reordered(model)),
        Variant("renamed and reordered", hidden),
        Variant("other storage", variants.restored(model)),
        Variant("external data", _external(model, folder)),
        Variant("one weight element", changed(model, _weight), r"conv5_0\.w|Conv_10"),
        Variant("epsilon of a node", changed(model, _epsilon), "epsilon"),
        Variant("operator", changed(model, _operator), "Sigmoid"),
        Variant("operator in a branch", changed(model, _branch), "Sigmoid"),
        Variant("edge", changed(model, _edge), r"Relu_12|relu6_0"),
        Variant("input shape", changed(model, _input), "64"),
        Variant("opset", changed(model, _opset), "18"),
        Variant(
            "one weight element, renamed",
            variants.reordered(variants.renamed(changed(model, _weight), 2), 2),
            r"conv5_0\.w|Conv_10|1 of 576 elements",
        ),
        Variant("optimized", _optimized(model, folder), "folded into Conv", "nothing"),
    ]


def _optimized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    source, target = folder / "source.onnx", folder / "target.onnx"
    onnx.save(model, source)
    words = [sys.executable, "-m", "onnxslim", "optimize", str(source), "-o", str(target), "-q"]
    subprocess.run([*words, "--force"], check=True, cwd=ROOT, timeout=600)
    return onnx.load(target)


def large(nodes: int) -> tuple[onnx.ModelProto, list[Variant]]:
    """A model of about ``nodes`` nodes, the same with other names, and with another operator."""
    model = Builder(1).model(nodes * 2 // 15)
    middle = [n.output[0] for n in model.graph.node if n.op_type == "Relu"][nodes // 15]

    def edit(found: onnx.ModelProto) -> None:
        node_of(found, middle).op_type = "Sigmoid"

    count = len(model.graph.node)
    return model, [
        Variant(f"{count} nodes, renamed, reordered", variants.reordered(variants.renamed(model))),
        Variant(f"{count} nodes, one operator", changed(model, edit), "Sigmoid"),
    ]


def ask(tool: Tool, envs: Path, paths: tuple[Path, Path], variant: Variant, limit: float) -> Answer:
    """Run one tool on one pair and judge what it says."""
    program = envs / tool.env / "bin" / tool.command[0]
    words = [str(program), *tool.command[1:], *map(str, paths)]
    start = time.monotonic()
    try:
        done = subprocess.run(
            words, env=environment(), capture_output=True, text=True, timeout=limit, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return Answer(f"> {limit:.0f} s", limit)
    seconds = time.monotonic() - start
    return Answer(judge(tool, done.returncode, done.stdout, done.stderr, variant), seconds)


def judge(tool: Tool, code: int, text: str, errors: str, variant: Variant) -> str:
    """``right``, ``right, not named``, ``wrong`` or ``crash``."""
    if tool.env == "diffonnx":
        counts = re.findall(r"(\d+)/(\d+)", text)
        static = [c for c in counts if c]
        if not static:
            return "crash"
        differs = any(have != all_ for have, all_ in static)
        crashed = "Traceback" in errors
    else:
        if "Traceback" in errors and code not in (0, 1):
            return "crash"
        crashed = code not in (0, 1)
        differs = code == 1
    if crashed:
        return "crash"
    if differs != bool(variant.token):
        return "wrong"
    told = _changes(tool, text)
    if not variant.token or re.search(variant.token, told) and not re.search(variant.other, told):
        return "right"
    return "right, not named"


def _changes(tool: Tool, text: str) -> str:
    """The part of the output that speaks of differences."""
    if tool.env == "diffonnx":
        return text[text.find("Mismatched Items") :]
    if tool.env == "polygraphy":
        return "\n".join(line for line in text.splitlines() if "FAILED" in line or "[E]" in line)
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "onnxslim-bench")
    parser.add_argument("--large", type=int, default=0, metavar="N")
    parser.add_argument("--limit", type=float, default=150, help="seconds for one comparison")
    parser.add_argument("--only", nargs="*", help="names of environments")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tools = tuple(t for t in TOOLS if not options.only or t.env in options.only)
    prepare(tools, options.envs)
    random.seed(0)
    rows: dict[str, dict[str, Answer]] = {}
    with tempfile.TemporaryDirectory(prefix="bench_diff_") as name:
        folder = Path(name)
        model = Builder().model()
        jobs = [(model, v) for v in cases(model, folder)]
        if options.large:
            big, more = large(options.large)
            jobs += [(big, v) for v in more]
        for base, variant in jobs:
            paths = folder / "a.onnx", folder / "b.onnx"
            onnx.save(base, paths[0])
            onnx.save(variant.model, paths[1])
            rows[variant.name] = {}
            for tool in tools:
                answer = ask(tool, options.envs, paths, variant, options.limit)
                rows[variant.name][tool.name] = answer
                print(f"{variant.name:36} {tool.name:18} {answer.text:18} {answer.seconds:6.1f} s")
    print(table(rows, tools))
    if options.markdown:
        options.markdown.write_text(table(rows, tools), encoding="utf-8")
    if options.json:
        data = {k: {t: vars(a) for t, a in v.items()} for k, v in rows.items()}
        options.json.write_text(json.dumps(data, indent=1), encoding="utf-8")
    if os.environ.get("CI") and any(r[TOOLS[0].name].text != "right" for r in rows.values()):
        sys.exit(1)


def table(rows: dict[str, dict[str, Answer]], tools: tuple[Tool, ...]) -> str:
    """Markdown."""
    names = [t.name for t in tools]
    lines = [f"| variant | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for variant, answers in rows.items():
        cells = [answers[n].text for n in names]
        if "nodes" in variant:
            cells = [f"{answers[n].text} ({answers[n].seconds:.0f} s)" for n in names]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    total = [sum(a[n].text == "right" for a in rows.values()) for n in names]
    lines.append(f"| right of {len(rows)} | {' | '.join(map(str, total))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
