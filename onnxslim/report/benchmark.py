"""The answer of ``bench``: how long models take, beside each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnxslim.analysis.attribution import LayerTime
from onnxslim.analysis.timing import Timing


@dataclass(frozen=True)
class Benched:
    """One model.

    Args:
        path: The file, or ``model 2`` for one from memory.
        timing: Its times.
        load_ms: Loading it in ONNX Runtime, once.
        bytes: Size of the file with its external data.
        layers: Time by node of the model, when asked for.
        kernel_ms: All nodes together in the profiled runs.
    """

    path: str
    timing: Timing
    load_ms: float
    bytes: int
    layers: tuple[LayerTime, ...] | None = None
    kernel_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """``layers`` have ``ms`` and ``share`` of the time of all nodes."""
        t = self.timing
        document: dict[str, Any] = {
            "path": self.path,
            "median_ms": round(t.median_ms, 6),
            "p10_ms": round(t.p10_ms, 6),
            "p90_ms": round(t.p90_ms, 6),
            "ratio_to_first": round(t.ratio, 6),
            "ratio_interval": [round(t.low, 6), round(t.high, 6)],
            "runs": t.runs,
            "load_ms": round(self.load_ms, 3),
            "bytes": self.bytes,
        }
        if self.layers is not None:
            total = self.kernel_ms or 0.0
            document["kernel_ms"] = round(total, 6)
            document["layers"] = [_layer(layer, total) for layer in self.layers]
        return document


def _layer(layer: LayerTime, total: float) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "ms": round(layer.ms, 6),
        "share": round(layer.ms / total, 6) if total else None,
        "sources": list(layer.sources),
        "executed": [{"name": n, "op": op, "ms": round(ms, 6)} for n, op, ms in layer.executed],
    }


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Args:
        provider: Where.
        threads: Inside an operator.
        optimization: ONNX Runtime's level.
        models: In the order given.
        inputs: Per input ``type`` and ``shape`` that were fed.
        rounds: How often every model had its turn.
        cpus: Processors that the runs were kept on; empty when they were not.
        machine: ``cpu``, ``cpus``, ``system``, ``onnxruntime``.
        samples: How many different feeds had their turns.
        warnings: What a person should know.
    """

    provider: str
    threads: int
    optimization: str
    models: tuple[Benched, ...]
    inputs: dict[str, dict[str, Any]]
    rounds: int
    cpus: tuple[int, ...] = ()
    machine: dict[str, Any] = field(default_factory=dict)
    samples: int = 1
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of the contract."""
        return {
            "schema": 1,
            "command": "bench",
            "provider": self.provider,
            "threads": self.threads,
            "optimization": self.optimization,
            "inputs": self.inputs,
            "samples": self.samples,
            "rounds": self.rounds,
            "cpus": list(self.cpus),
            "machine": self.machine,
            "models": [model.to_json() for model in self.models],
            "warnings": list(self.warnings),
        }
