"""What ONNX Runtime makes of a quantized model: what runs on integers, how close, how fast."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.logits import Softmax
from onnxslim.graph import edit
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed
from onnxslim.verify.compare import Stats, is_float, leaves

INTEGER_OPS = frozenset(
    (
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    )
)
"""Operators of ONNX Runtime that multiply integers."""

LAYER = "onnxslim.layer"
"""``node.meta`` key: key of the layer that a node stands for, where its output has another name."""

_WEIGHT_INPUT = {"MatMulIntegerToFloat": 1, "QGemm": 3, "QLinearConv": 3, "QLinearMatMul": 3}
_TAPS = 16
_ROUNDS, _QUANTILE = 8, 0.2


@dataclass(frozen=True)
class Census:
    """What runs on integers.

    Attributes:
        integer: Keys of the layers that do.
        float: Keys of the layers that were quantized but run on floats all the same.
        surplus: Layers that ONNX Runtime quantized by itself, by node name.
        operators: Operators of the optimized graph and how many there are.
    """

    integer: tuple[str, ...]
    float: tuple[str, ...]
    surplus: tuple[str, ...]
    operators: Mapping[str, int]


def stored_weights(model: ir.Model, keys: Iterable[str]) -> dict[str, str]:
    """Name of the integer weight of each layer, by the layer's key; others are left out."""
    nodes = {n.meta.get(LAYER, n.outputs[0].name): n for n in model.graph if n.outputs}
    found = {}
    for key in keys:
        node = nodes.get(key)
        weight = None if node is None else _integer_weight(node)
        if weight is not None and weight.name:
            found[key] = weight.name
    return found


def _integer_weight(node: ir.Node) -> ir.Value | None:
    weight = edit.get_input(node, _WEIGHT_INPUT.get(node.op_type, 1))
    producer = None if weight is None else weight.producer()
    if producer is not None and edit.is_op(producer, "DequantizeLinear"):
        return producer.inputs[0]
    return weight if node.op_type in _WEIGHT_INPUT else None


def census(
    nodes: Sequence[Mapping[str, Any]],
    weights: Mapping[str, str],
    given: Collection[str] = (),
) -> Census:
    """Compare the graph that ONNX Runtime runs with what was planned.

    Args:
        nodes: The optimized graph (``Worker.optimized``).
        weights: Name of the integer weight of each planned layer, by key.
        given: Names of weights that were integers before.
    """
    users: Counter[str] = Counter()
    surplus = []
    ours = set(weights.values())
    for node in nodes:
        if node["op"].split(":")[-1] not in INTEGER_OPS:
            continue
        mine = [name for name in node["inputs"] if name in ours]
        users.update(mine[:1])
        if not mine and not set(given).intersection(node["inputs"]):
            surplus.append(node["name"])
    integer: list[str] = []
    floats: list[str] = []
    for key, weight in weights.items():
        (integer if users[weight] else floats).append(key)
        users[weight] -= 1
    operators = Counter(node["op"] for node in nodes)
    return Census(tuple(integer), tuple(floats), tuple(surplus), dict(sorted(operators.items())))


def layer_sqnr(
    reference: Session,
    candidate: Session,
    pairs: Mapping[str, tuple[str, str]],
    feeds: Sequence[Feed],
) -> dict[str, float]:
    """SQNR of inner tensors in dB.

    Args:
        reference: Of the float model.
        candidate: Of the quantized model.
        pairs: By key, a tensor's name in the reference and in the candidate.
        feeds: A few.
    """
    found: dict[str, float] = {}
    keys = list(pairs)
    for start in range(0, len(keys), _TAPS):
        part = keys[start : start + _TAPS]
        stats = {key: Stats() for key in part}
        mine = [pairs[key][0] for key in part]
        theirs = [pairs[key][1] for key in part]
        with reference.exposing(mine) as a, candidate.exposing(theirs) as b:
            for feed in feeds:
                left, right = a.run(feed, mine), b.run(fed(b, feed), theirs)
                for key in part:
                    stats[key].add(left[pairs[key][0]], right[pairs[key][1]])
        found |= {key: item.sqnr_db for key, item in stats.items() if not item.problem}
    return found


def speedup(
    reference: Session, candidate: Session, feed: Mapping[str, Any], runs: int = 0
) -> tuple[float, float]:
    """Seconds of both, measured alternately: the 20 % quantile, as other programs only ever add.

    Args:
        reference: Of the float model.
        candidate: Of the quantized model.
        feed: One sample.
        runs: Runs of each per round; 0 chooses as many as take about 50 ms.
    """
    first = min(reference.time(feed, 2, 2))
    other = fed(candidate, feed)
    candidate.time(other, 1, 2)
    count = runs or max(1, min(50, int(0.05 / max(first, 1e-6))))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        times[0].extend(reference.time(feed, count, 0))
        times[1].extend(candidate.time(other, count, 0))
    first, second = (float(np.quantile(found, _QUANTILE)) for found in times)
    return first, second


def fed(session: Session, feed: Mapping[str, Any]) -> dict[str, Any]:
    """The feed as a model wants it: in float16 where the type of its inputs was changed."""
    types = {spec.name: spec.dtype for spec in session.inputs}
    return {name: _as(array, types.get(name)) for name, array in feed.items()}


def _as(array: Any, dtype: Any) -> Any:
    same = getattr(array, "dtype", None) == dtype
    if same or not (isinstance(dtype, np.dtype) and dtype.kind == "f" and is_float(array)):
        return array
    return array.astype(dtype)


class Judged:
    """SQNR of the outputs on some feeds, against answers that are kept.

    Args:
        session: Of the float model.
        feeds: Held-back samples.
        softmaxes: Those that give an output, by its name.
    """

    def __init__(
        self,
        session: Session,
        feeds: Sequence[Feed],
        softmaxes: Mapping[str, Softmax] = MappingProxyType({}),
    ) -> None:
        self.feeds, self.softmaxes = list(feeds), softmaxes
        self.answers = [session.run(feed) for feed in self.feeds]
        self.names = [spec.name for spec in session.outputs]
        floats = [n for n in self.names if any(is_float(x) for x in leaves(self.answers[0][n]))]
        self.judged = floats or self.names

    def stats(self, session: Session) -> dict[str, Stats]:
        """Differences per output; another type of floats (float16) is no difference of its own."""
        return self.compared(session)[0]

    def compared(self, session: Session) -> tuple[dict[str, Stats], float]:
        """Differences per output, and how close all are in dB: by logits where there is a Softmax.

        The second is for choices: it does not hang on the samples that lie between classes.
        """
        stats = {name: Stats() for name in self.names}
        inner = {name: Stats() for name in self.softmaxes if name in stats}
        for feed, answer in zip(self.feeds, self.answers, strict=True):
            found = session.run(fed(session, feed))
            for name in self.names:
                wanted = getattr(answer[name], "dtype", None)
                given = _as(found[name], wanted)
                stats[name].add(answer[name], given)
                if name in inner:
                    logits = self.softmaxes[name].logits
                    inner[name].add(logits(answer[name]), logits(given))
        return stats, self.sqnr({**stats, **inner})

    def sqnr(self, stats: Mapping[str, Stats]) -> float:
        """Mean over the float outputs that say something, in dB; at most 100 each."""
        values = [stats[n].sqnr_db for n in self.judged if not stats[n].vacuous]
        values = values or [stats[n].sqnr_db for n in self.judged]
        return statistics.fmean(max(-100.0, min(100.0, v)) for v in values)
