"""Print what the command needs on very large models, against the limits we hold ourselves to.

Not run in CI: seconds and bytes depend on the machine. It needs about 4 GB of free disk::

    .venv/bin/python benchmarks/limits.py [--only CASE] [--gigabytes 1.6]

* chain: 20,000 nodes that add and negate, all merged into one; start of the program and
  verification included.
* chain-noops: 20,000 nodes, half of them to be removed.
* chain-tanh: 20,000 contractions, nothing to do; the output is a constant, so that the
  verification looks for telling tensors before it.
* external: a model whose weights lie beside it; peak of *anonymous* memory (mapped files do not
  count) of the command and all processes it starts, sampled every 20 ms (Linux only).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COMMAND = [sys.executable, "-m", "onnxslim", "optimize"]
CASES = ("chain", "chain-noops", "chain-tanh", "external")
NODES = 20_000
SECONDS = 6.0  # the whole command on a chain
HALVES = {"plus": 0.5, "minus": -0.5}
WIDTH = 5_000  # one square float32 weight: 100 MB


@dataclass
class Measured:
    """One run of the command."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    exit_code: int
    stderr: str
    document: dict[str, Any]


class AnonymousMemory(threading.Thread):
    """Peak of RssAnon, summed over a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._done = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._done.wait(0.02):
            self.peak = max(self.peak, sum(self._sizes()))

    def stop(self) -> int:
        """Stop sampling; return the peak in bytes."""
        self._done.set()
        self.join()
        return self.peak

    def _sizes(self) -> list[int]:
        parents, sizes = {}, {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except OSError:  # it ended while we looked
                continue
            pid = int(fields["Pid"])
            parents[pid] = int(fields["PPid"])
            sizes[pid] = int(fields.get("RssAnon", "0 kB").split()[0]) * 1024
        family = {self._pid}
        while more := {p for p, parent in parents.items() if parent in family} - family:
            family |= more
        return [sizes.get(pid, 0) for pid in sorted(family)]


def measure(model: Path, *options: str) -> Measured:
    """Run the command on a model, to a file beside it."""
    out = model.with_name("out.onnx")
    command = [*COMMAND, str(model), "-o", str(out), "--force", "--json", *options]
    begin, cpu = time.perf_counter(), cpu_seconds()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    memory = AnonymousMemory(process.pid)
    memory.start()
    stdout, stderr = process.communicate()
    seconds = time.perf_counter() - begin
    document = json.loads(stdout) if stdout.strip() else {}
    cpu = cpu_seconds() - cpu
    return Measured(seconds, cpu, memory.stop(), process.returncode, stderr.strip(), document)


def cpu_seconds() -> float:
    """Return the processor time of all ended children: what other programs cannot disturb."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def value(name: str) -> onnx.ValueInfoProto:
    """Return a float value of shape (batch, 8)."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8])


def write_chain(path: Path, *, noops: bool) -> None:
    """Write a chain of nodes that forgets nothing of its input (a chain of contractions would end
    in a constant); with ``noops``, every second node has no effect.
    """
    halves = [numpy_helper.from_array(np.full(8, v, np.float32), n) for n, v in HALVES.items()]
    nodes, last = [], "x"
    for index in range(NODES):
        name = "y" if index == NODES - 1 else f"v{index}"
        half = "plus" if index % 4 == 0 else "minus"
        if index % 2 == 0:
            nodes.append(helper.make_node("Add", [last, half], [name], f"n{index}"))
        else:
            kind = "Identity" if noops else "Neg"
            nodes.append(helper.make_node(kind, [last], [name], f"n{index}"))
        last = name
    graph = helper.make_graph(nodes, "chain", [value("x")], [value("y")], halves)
    onnx.save(_model(graph), str(path))


def write_contractions(path: Path) -> None:
    """Write a chain of Tanh nodes."""
    names = ["x", *(f"v{index}" for index in range(1, NODES)), "y"]
    nodes = [helper.make_node("Tanh", [a], [b]) for a, b in itertools.pairwise(names)]
    onnx.save(_model(helper.make_graph(nodes, "tanh", [value("x")], [value("y")])), str(path))


def write_external(path: Path, layers: int) -> None:
    """Write ``layers`` MatMuls of 100 MB each, with something to remove between them."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(np.sqrt(WIDTH))
    nodes, tensors = [], []
    with open(path.with_suffix(".bin"), "wb") as file:
        for index in range(layers):
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            facts = {"location": path.stem + ".bin", "offset": file.tell(), "length": weight.nbytes}
            for key, fact in facts.items():
                tensor.external_data.add(key=key, value=str(fact))
            tensors.append(tensor)
            np.roll(weight, index + 1, axis=0).tofile(file)
            last = f"h{index - 1}" if index else "x"
            nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"m{index}"]))
            nodes.append(helper.make_node("Identity", [f"m{index}"], [f"i{index}"]))
            out = "y" if index == layers - 1 else f"h{index}"
            nodes.append(helper.make_node("Tanh", [f"i{index}"], [out]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", WIDTH]) for n in "xy")
    path.write_bytes(
        _model(helper.make_graph(nodes, "external", [x], [y], tensors)).SerializeToString()
    )


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def line(case: str, got: Measured, seconds: float | None, gigabytes: float | None) -> str:
    """Return one line of the table, the limit beside each figure."""
    anonymous = f"{got.peak_bytes / 1e9:.2f} GB" if got.peak_bytes else "not measured"
    limits = [
        f"{got.seconds:.1f} s, {got.cpu_seconds:.1f} s of CPU"
        + (f" (at most {seconds:g})" if seconds else ""),
        f"anonymous {anonymous}" + (f" (at most {gigabytes:g})" if gigabytes else ""),
    ]
    sizes = [dict(got.document.get(k) or {}).get("nodes") for k in ("before", "after")]
    check = dict(got.document.get("verification") or {})
    done = f"nodes {sizes[0]} -> {sizes[1]}, verified {check.get('level')} ok={check.get('ok')}"
    ok = got.exit_code == 0 and check.get("ok")
    ok = ok and (seconds is None or got.seconds <= seconds)
    ok = ok and (gigabytes is None or got.peak_bytes <= gigabytes * 1e9)
    verdict = "ok" if ok else f"NOT OK (exit {got.exit_code}) {got.stderr[-300:]}"
    return f"{case:12s} {', '.join(limits)}; {done}; {verdict}"


def main() -> None:
    """Make the models in a temporary folder, run the command on each, print a line per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--gigabytes", type=float, default=1.6)
    parser.add_argument("--folder", type=Path, help="where to put the models (default: temporary)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        for case in CASES:
            if args.only not in (None, case):
                continue
            model = Path(name) / f"{case}.onnx"
            if case == "external":
                write_external(model, max(1, round(args.gigabytes * 10)))
                print(line(case, measure(model), None, 0.5), flush=True)
                continue
            if case == "chain-tanh":
                write_contractions(model)
            else:
                write_chain(model, noops=case == "chain-noops")
            print(line(case, measure(model), SECONDS, None), flush=True)


if __name__ == "__main__":
    main()
