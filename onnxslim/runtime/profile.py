"""ONNX Runtime's profile of a model: which nodes ran, nested how, for how long.

Profiles name the nodes of the graph as ONNX Runtime rewrote it;
:mod:`onnxslim.analysis.attribution` finds the nodes of the model that they come from.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class RunNode:
    """A node of the graph that ONNX Runtime runs.

    Args:
        name: As ONNX Runtime calls it.
        op: Operator, with its domain unless it is a standard one.
        inputs: Names of tensors.
        outputs: Names of tensors.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class NodeTime:
    """How long a node took in one run.

    Args:
        name: As ONNX Runtime calls it.
        op: Operator type without domain.
        depth: How many subgraphs it is in.
        ms: In a typical run (all iterations of a loop together).
    """

    name: str
    op: str
    depth: int
    ms: float


@dataclass(frozen=True)
class Profile:
    """What one model did.

    Args:
        nodes: Main graph as run, in the order of the file.
        times: Every node that ran, in the order of the first run.
        run_ms: Each run as a whole, profiling included.
    """

    nodes: tuple[RunNode, ...]
    times: tuple[NodeTime, ...]
    run_ms: tuple[float, ...]

    @property
    def kernel_ms(self) -> float:
        """All nodes of the main graph together."""
        return sum(t.ms for t in self.times if t.depth == 0)


def profile_of(said: Mapping[str, Any]) -> Profile:
    """Read what the child says."""
    nodes = tuple(
        RunNode(n["name"], n["op"], tuple(n["inputs"]), tuple(n["outputs"])) for n in said["nodes"]
    )
    times = tuple(NodeTime(t[0], t[1], int(t[2]), float(t[3])) for t in said["times"])
    return Profile(nodes, times, tuple(map(float, said["run_ms"])))


# ------------------------------------------------------------------ in the child


def read(path: Path, warmup: int) -> dict[str, Any]:
    """Times from a profile file, warm-up runs left out.

    Returns:
        ``times``: ``[name, op, depth, milliseconds]`` each; ``run_ms``.
    """
    events = [e for e in json.loads(path.read_text(encoding="utf-8")) if "dur" in e]
    runs = sorted(
        (e for e in events if e["cat"] == "Session" and e["name"] == "model_run"),
        key=lambda e: e["ts"],
    )[warmup:]
    nodes = sorted(
        (e for e in events if e["cat"] == "Node" and e["name"].endswith(_SUFFIX)),
        key=lambda e: (e["ts"], -e["dur"]),
    )
    sums: dict[tuple[str, str, int], list[float]] = {}
    for index, run in enumerate(runs):
        start, end = run["ts"], run["ts"] + run["dur"]
        for event, depth in _nested([e for e in nodes if start <= e["ts"] <= end]):
            key = (event["name"].removesuffix(_SUFFIX), event["args"]["op_name"], depth)
            sums.setdefault(key, [0.0] * len(runs))[index] += event["dur"] / 1000
    times = [[*key, typical(values)] for key, values in sums.items()]
    return {"times": times, "run_ms": [run["dur"] / 1000 for run in runs]}


def typical(values: Sequence[float]) -> float:
    """The mean of the lower half but for the lowest tenth: disturbances only ever add time.

    It is also finer than the microseconds that ONNX Runtime counts in.
    """
    order = sorted(values)
    return statistics.fmean(order[len(order) // 10 : len(order) // 2 + 1])


class Clock:
    """Times calls.

    Args:
        alone: Everything runs in the calling thread: when the system took the processor away
            (an involuntary context switch), the thread's processor time is taken instead of the
            time that passed.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone and hasattr(resource, "RUSAGE_THREAD")

    def time(self, call: Callable[..., object], *args: object) -> float:
        """Seconds of ``call(*args)``."""
        lost, used = self._lost(), time.thread_time()
        start = time.perf_counter()
        call(*args)
        passed = time.perf_counter() - start
        if self._alone and self._lost() != lost:
            return min(passed, time.thread_time() - used)
        return passed

    def _lost(self) -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if self._alone else 0


def _nested(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Events with their depth: a node runs inside another when its span lies in the other's."""
    open_ends: list[tuple[float, bool]] = []
    for event in events:
        start, end = event["ts"], event["ts"] + event["dur"]
        while open_ends and open_ends[-1][0] <= start:
            open_ends.pop()
        while open_ends and not open_ends[-1][1]:
            open_ends.pop()  # a node without a subgraph: the clock is coarse, it is a neighbour
        yield event, len(open_ends)
        open_ends.append((end, event["args"]["op_name"] in _HOLDERS))


_HOLDERS = frozenset(("If", "Loop", "Scan", "SequenceMap"))
