"""What a written model is: nodes, initializer bytes, interface, error and latency."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxslim.errors import OnnxSlimError
from onnxslim.graph.load import load
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import specs_from
from onnxslim.runtime.worker import Worker
from onnxslim.verify.compare import leaves

RELATIVE, ABSOLUTE = 1e-3, 1e-6
"""A result is correct within either: relative to the output's peak, or outright."""

_BITS = {
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.UINT32: 32,
    onnx.TensorProto.COMPLEX64: 64,
    onnx.TensorProto.COMPLEX128: 128,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.INT16: 16,
    onnx.TensorProto.UINT16: 16,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.FLOAT4E2M1: 4,
}


@dataclass
class Size:
    """Nodes without Constant, bytes of initializers and Constants; subgraphs included."""

    nodes: int = 0
    bytes: int = 0
    operators: dict[str, int] = field(default_factory=dict)


def size_of(path: Path) -> Size:
    """Count one file; external data is not read."""
    size = Size()
    model = onnx.load(path, load_external_data=False)
    _count(model.graph, size)
    return size


def _count(proto: onnx.GraphProto, size: Size) -> None:
    size.bytes += sum(_bytes(tensor) for tensor in proto.initializer)
    for node in proto.node:
        if node.op_type == "Constant":
            size.bytes += sum(_bytes(a.t) for a in node.attribute if a.HasField("t"))
        else:
            size.nodes += 1
            size.operators[node.op_type] = size.operators.get(node.op_type, 0) + 1
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _count(inner, size)


def _bytes(tensor: onnx.TensorProto) -> int:
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    return (int(np.prod(tensor.dims)) * _BITS.get(tensor.data_type, 8) + 7) // 8


@dataclass
class Verdict:
    """How far a result is from the original; ``problem`` when it cannot be compared."""

    relative: float | None = None
    absolute: float | None = None
    problem: str = ""

    @property
    def correct(self) -> bool:
        """Within the limits."""
        if self.relative is None or self.absolute is None:
            return False
        return self.relative <= RELATIVE or self.absolute <= ABSOLUTE


class Judge:
    """Runs one original and its simplifications in ONNX Runtime, in a process of its own."""

    def __init__(self, worker: Worker, original: Path, seed: int = 0) -> None:
        self._worker, self._original = worker, original
        self._session = worker.session(original)
        specs = specs_from(self._session.inputs)
        self.feeds = plan_feeds(specs, load(original), self._runs, seed=seed).feeds
        self._answers = [self._session.run(feed) for feed in self.feeds]

    def _runs(self, feed: Any) -> str | None:
        try:
            self._session.run(feed)
        except OnnxSlimError as error:
            return str(error)
        return None

    def verdict(self, candidate: Path) -> Verdict:
        """The worst error over all feeds and outputs."""
        try:
            with self._worker.session(candidate) as session:
                problem = self._interface(session)
                if problem:
                    return Verdict(problem=problem)
                worst = Verdict(0.0, 0.0)
                for feed, answer in zip(self.feeds, self._answers, strict=True):
                    given = session.run(feed)
                    for name, value in answer.items():
                        _compare(value, given[name], worst)
                return worst if self.feeds else Verdict(problem="no input was accepted")
        except OnnxSlimError as error:
            return Verdict(problem=str(error).replace("\n", " ")[:160])

    def _interface(self, session: Session) -> str:
        for what in ("inputs", "outputs"):
            before = [(s.name, str(s.dtype)) for s in getattr(self._session, what)]
            after = [(s.name, str(s.dtype)) for s in getattr(session, what)]
            if before != after:
                odd = [item for item in (*before, *after) if (item in before) != (item in after)]
                return f"{what} {odd or after} are not the original's"[:160]
        return ""

    def latencies(self, candidate: Path, rounds: int, seconds: float) -> tuple[list[float], ...]:
        """Seconds per run at ENABLE_ALL of original, candidate and original again, interleaved."""
        feed = self.feeds[0]
        paths = (self._original, candidate, self._original)
        sessions = [self._worker.session(p, optimization="all") for p in paths]
        times: tuple[list[float], ...] = ([], [], [])
        once = statistics.median(sessions[0].time(feed, runs=5, warmup=3))
        sessions[1].time(feed, runs=5, warmup=3)
        sessions[2].time(feed, runs=5, warmup=3)
        runs = max(1, min(200, int(seconds / rounds / 3 / max(once, 1e-6))))
        for turn in range(rounds):
            for i in range(3):
                k = (turn + i) % 3
                times[k].extend(sessions[k].time(feed, runs=runs, warmup=0))
        for session in sessions:
            session.close()
        return times


def _compare(reference: Any, candidate: Any, worst: Verdict) -> None:
    pairs = (list(leaves(reference)), list(leaves(candidate)))
    if [a.shape for a in pairs[0]] != [a.shape for a in pairs[1]]:
        worst.relative = worst.absolute = float("inf")
        worst.problem = "an output has another shape"
        return
    for x, y in zip(*pairs, strict=True):
        if x.dtype.kind in "OSU":
            absolute = relative = 0.0 if np.array_equal(x, y) else float("inf")
        else:
            a, b = x.astype(np.float64), y.astype(np.float64)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            difference = np.where(same, 0.0, np.abs(a - b))
            absolute = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
            finite = np.abs(a[np.isfinite(a)])
            peak = float(finite.max(initial=0.0))
            relative = absolute / peak if peak else absolute
        worst.absolute = max(worst.absolute or 0.0, absolute)
        worst.relative = max(worst.relative or 0.0, relative)
