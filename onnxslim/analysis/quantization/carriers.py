"""Operators that carry integers from one quantized layer to the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import onnx_ir as ir

from onnxslim.analysis.quantization import recognize
from onnxslim.analysis.quantization.targets import Target
from onnxslim.graph import edit

_PRESERVING = frozenset(
    (
        "DepthToSpace",
        "Flatten",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
_BINARY = ("Add", "Mul")
_MIXED = ("Add", "Concat", "Mul")
_GATES = ("Sigmoid", "HardSigmoid")


class Carriers:
    """The largest set of operators that read integers only and feed something that wants them.

    A Relu (or Clip from 0) that alone reads such an operator is absorbed by it.

    Args:
        model: Read only.
        target: Which operators may carry.
        wanted: The tensors that are integers anyway.
        made: Those of them that integer layers give.
        chosen: Operators that may quantize some of their inputs for themselves.
    """

    def __init__(
        self,
        model: ir.Model,
        target: Target,
        wanted: Mapping[ir.Value, None],
        made: Collection[ir.Value],
        chosen: Collection[ir.Node] = (),
    ) -> None:
        self.wanted, self.made, self.chosen = wanted, made, chosen
        self.results: dict[ir.Node, tuple[ir.Value, ...]] = {}
        self.set: dict[ir.Node, tuple[ir.Value, ...]] = {}
        taken: set[ir.Node] = set()
        for node in model.graph:
            if node.domain or node.op_type not in (*target.operators, "Conv") or node in taken:
                continue
            after = _absorbed(node)
            if after is not None:
                taken.add(after)
            inputs = None if node.op_type == "Conv" else _inputs(node)
            if inputs is not None:
                self.set[node] = inputs
                self.results[node] = tuple(node.outputs) if after is None else (after.outputs[0],)

    @staticmethod
    def preserves(node: ir.Node) -> bool:
        """Whether the operator moves elements only: its result has the scale of its input."""
        return node.op_type in _PRESERVING

    @staticmethod
    def may_be_float(node: ir.Node) -> bool:
        """Whether an operator may be the first to want one of its inputs quantized."""
        return node.op_type in _MIXED

    def grow(self) -> dict[ir.Node, tuple[ir.Value, ...]]:
        """The carriers with their data inputs, in graph order; ``results`` has what they give."""
        while True:
            have = {v for n in self.set for v in self.results[n]} | set(self.wanted)
            kept = {n: i for n, i in self.set.items() if self._stays(n, i, have)}
            if len(kept) == len(self.set):
                return kept
            self.set = kept

    def _stays(self, node: ir.Node, inputs: tuple[ir.Value, ...], have: set[ir.Value]) -> bool:
        if self.preserves(node) and inputs[0] not in self.made:
            if not any(inputs[0] in self.results[n] for n in self.set):
                return False  # better done in float, and quantized then
        if not any(v in self.wanted or self._read(v) for v in self.results[node]):
            return False
        missing = [v for v in inputs if v not in have]
        if not missing:
            return True
        if len(missing) == len(inputs) or not self.may_be_float(node):
            return False
        gate = node.op_type == "Mul"
        return node in self.chosen or all(
            recognize.is_finite(v) or (gate and _is_gate(v)) for v in missing
        )

    def _read(self, value: ir.Value) -> bool:
        return any(u.node in self.set and value in self.set[u.node] for u in value.uses())


def _absorbed(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that becomes part of this operator, or None."""
    if node.op_type in _PRESERVING or not node.outputs:
        return None
    after = edit.sole_consumer(node.outputs[0])
    same = after is not None and after.graph is node.graph
    return after if same and recognize.rectifier(after) is not None else None


def _is_gate(value: ir.Value) -> bool:
    """A factor per channel (squeeze and excitation): small, and it has a range of its own."""
    return edit.is_op(value.producer(), *_GATES)


def _inputs(node: ir.Node) -> tuple[ir.Value, ...] | None:
    """The float inputs that carry data; None when this node cannot run on integers."""
    check = _CHECKS.get(node.op_type)
    if check is not None and not check(node):
        return None
    count = len(node.inputs) if node.op_type in (*_BINARY, "Concat") else 1
    data = node.inputs[:count]
    found = tuple(v for v in data if v is not None)
    if len(found) != len(data) or any(v.dtype not in (None, ir.DataType.FLOAT) for v in found):
        return None
    if any(edit.is_constant(v) and not recognize.is_finite(v) for v in found):
        return None
    return None if node.op_type in _PRESERVING and is_dequantized(found[0]) else found


def is_dequantized(value: ir.Value) -> bool:
    """Whether a tensor comes out of a DequantizeLinear that the model already has."""
    return edit.is_op(value.producer(), "DequantizeLinear")


def _one_output(node: ir.Node) -> bool:
    return len([v for v in node.outputs if v.name]) == 1


def _pool(node: ir.Node) -> bool:
    return _one_output(node) and edit.rank_of(node.inputs[0]) in (None, 4)


def _resize(node: ir.Node) -> bool:
    return edit.attr(node, "mode", "nearest") == "nearest" and edit.get_input(node, 1) is None


def _clip(node: ir.Node) -> bool:
    return recognize.rectifier(node) is not None


def _mul(node: ir.Node) -> bool:
    """x * HardSigmoid(x) is HardSwish: closer, and as fast, in floats."""
    a, b = node.inputs[0], node.inputs[1]
    for gate, other in ((a, b), (b, a)):
        producer = None if gate is None else gate.producer()
        if edit.is_op(producer, "HardSigmoid") and producer is not None:
            if producer.inputs[0] is other:
                return False
    return True


_CHECKS: Mapping[str, Callable[[ir.Node], bool]] = {
    "Clip": _clip,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _pool,
    "Mul": _mul,
    "Resize": _resize,
}
