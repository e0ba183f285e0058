"""How close a quantized model stays, and how fast it is, in ONNX Runtime."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _data import Data

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime.session import Session
from onnxslim.runtime.worker import Worker

Feed = Mapping[str, Any]
JUDGED = 512


@dataclass
class Quality:
    """A model against the float one.

    Attributes:
        sqnr_db: Of all float outputs, the worst one.
        points: Accuracy in percent, or agreement with the float model without labels.
        difference: Points below the float model.
        right: Per sample, whether its label is found.
        same: Per sample, whether it gets the float model's class.
    """

    sqnr_db: float
    points: float
    difference: float
    right: npt.NDArray[np.bool_]
    same: npt.NDArray[np.bool_]


class Bench:
    """One original and its data."""

    def __init__(self, worker: Worker, original: Path, data: Data) -> None:
        self._worker, self._original, self._data = worker, original, data
        with worker.session(original) as session:
            first = session.inputs[0].shape[0] if session.inputs[0].shape else None
            self.size = first if isinstance(first, int) else 0
            self._wanted = self._outputs(session)
        self.right = self._right(self._wanted)
        self.dense = 100 * float(np.mean(self.right))

    def _feeds(self) -> Iterator[Feed]:
        arrays = self._data.test
        count = min(JUDGED, min(map(len, arrays.values()))) if self.size else _length(arrays)
        step = self.size or 50
        for start in range(0, count - (self.size or 1) + 1, step):
            yield {name: array[start : min(start + step, count)] for name, array in arrays.items()}

    def _outputs(self, session: Session) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for feed in self._feeds():
            for name, value in session.run(feed).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    found.setdefault(name, []).append(value)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _right(self, outputs: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        first = next(iter(outputs))
        given, labels = outputs[first], self._data.labels
        if labels is None or given.ndim != 2:
            labels = self._wanted[first].argmax(axis=-1)
        else:
            labels = labels[: len(given)]
        return np.asarray(given.argmax(axis=-1) == labels).ravel()

    def quality(self, candidate: Path) -> Quality | str:
        """Closeness, or why it cannot be run."""
        try:
            with self._worker.session(candidate, optimization="all") as session:
                outputs = self._outputs(session)
        except OnnxSlimError as error:
            return str(error).replace("\n", " ")[:100]
        if list(outputs) != list(self._wanted):
            return f"outputs {list(outputs)}"
        ratios = [_sqnr(self._wanted[name], outputs[name]) for name in outputs]
        right = self._right(outputs)
        points = 100 * float(np.mean(right))
        first = next(iter(outputs))
        same = (outputs[first].argmax(axis=-1) == self._wanted[first].argmax(axis=-1)).ravel()
        return Quality(min(ratios), points, self.dense - points, right, same)

    def ratios(self, candidates: Mapping[str, Path], seconds: float) -> dict[str, float]:
        """Time of each candidate over the original's at batch 1 and one thread, interleaved."""
        paths = {"": self._original, **candidates}
        batch = self.size or 1
        feed = {name: array[:batch] for name, array in self._data.test.items()}
        sessions = {n: self._worker.session(p, optimization="all") for n, p in paths.items()}
        once = statistics.median(sessions[""].time(feed, runs=5, warmup=3))
        rounds = 12
        runs = max(1, min(100, int(seconds / rounds / len(sessions) / max(once, 1e-6))))
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for turn in range(rounds):
            order = list(sessions)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                times[name] += sessions[name].time(feed, runs=runs, warmup=2)
        for session in sessions.values():
            session.close()
        low = {name: sorted(t)[len(t) // 10] for name, t in times.items()}
        return {name: low[name] / low[""] for name in candidates}


def _length(arrays: Mapping[str, Any]) -> int:
    return min(map(len, arrays.values()))


def _sqnr(wanted: Any, found: Any) -> float:
    if wanted.shape != found.shape:
        return float("-inf")
    noise = float(np.sum((wanted.astype(np.float64) - found) ** 2))
    signal = float(np.sum(wanted.astype(np.float64) ** 2))
    return 10 * float(np.log10(signal / noise)) if noise > 0 else float("inf")
