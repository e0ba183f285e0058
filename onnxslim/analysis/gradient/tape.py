"""Which way a loss goes back to the weights, and going it.

A value is *complete* when every node that carries it to a target has a rule: only then is the
gradient that arrives at it all of it, and weights with anything less are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient import (  # noqa: F401 (they register their rules)
    rules_elementwise,
    rules_linear,
    rules_movement,
    rules_norm,
    rules_pooling,
)
from onnxslim.analysis.gradient.rule import ENDS, Array, Call, rule_of
from onnxslim.graph import edit
from onnxslim.graph.reach import ancestors

WEIGHTS: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset((1, 2)),
    "Conv": frozenset((1, 2)),
    "ConvTranspose": frozenset((1, 2)),
    "Gemm": frozenset((1, 2)),
    "InstanceNormalization": frozenset((1, 2)),
    "LayerNormalization": frozenset((1, 2)),
    "MatMul": frozenset((0, 1)),
    "PRelu": frozenset((1,)),
}
"""Inputs that are weights when they are constant, by operator."""

OLDEST = 9
"""Operators mean something else before this opset; there are no weights then."""


class Tape:
    """The nodes between the weights of a model's main graph and some of its values.

    Args:
        model: The model; its weights may change, its nodes may not.
        targets: Values of the main graph that the loss is a function of.
    """

    def __init__(self, model: ir.Model, targets: Iterable[ir.Value]) -> None:
        self.opset = model.graph.opset_imports.get("", 1)
        self.targets = list(targets) if self.opset >= OLDEST else []
        self.ancestors = ancestors(self.targets)
        if not all(_repeats(node) for node in self.ancestors):
            self.targets, self.ancestors = [], set()
        order = [node for node in model.graph if node in self.ancestors]
        complete = self._complete(order, model.graph)
        self.weights = [
            value
            for value in model.graph.initializers.values()
            if complete[value] and self._is_weight(value)
        ]
        self._active: set[ir.Value] = set(self.weights)
        self.nodes: list[ir.Node] = []
        for node in order:
            if not any(v in self._active for v in node.inputs if v is not None):
                continue
            own = [v for v in node.outputs if complete.get(v, False) and _is_float(v)]
            if rule_of(node) is not None and own:
                self._active.update(own)
                self.nodes.append(node)
        self.nodes.reverse()

    @property
    def needed(self) -> list[ir.Value]:
        """Values that :meth:`backward` reads, the constant ones left out; the targets first."""
        found: dict[ir.Value, None] = dict.fromkeys(self.targets)
        for node in self.nodes:
            whole = edit.is_op(node, "Split")  # it puts all parts together again
            own = [v for v in node.outputs if whole or v.uses() or v in found]
            for value in (*node.inputs, *own):
                if value is not None and not value.is_initializer():
                    found[value] = None
        return list(found)

    def _complete(self, order: Sequence[ir.Node], graph: ir.Graph) -> dict[ir.Value, bool]:
        """For every value on the way, whether all of its gradient comes back."""
        found: dict[ir.Value, bool] = {}

        def whole(value: ir.Value) -> bool:
            for use in value.uses():
                node = use.node
                if node.graph is not graph:
                    return False  # inside a subgraph
                if node not in self.ancestors or _ends(node):
                    continue
                known = rule_of(node)
                if known is None or not known.passes(use.idx):
                    return False
                if not all(found.get(v, True) for v in node.outputs):
                    return False
            return True

        for node in reversed(order):
            for value in node.outputs:
                found[value] = whole(value)
        for value in (*graph.inputs, *graph.initializers.values()):
            found[value] = whole(value)
        return found

    def _is_weight(self, value: ir.Value) -> bool:
        tensor, uses = value.const_value, value.uses()
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or not tensor.size:
            return False
        if value.is_graph_input() or value.is_graph_output():
            return False
        if not all(_weighs(use.node, use.idx) for use in uses):
            return False
        return any(use.node in self.ancestors for use in uses)

    def backward(self, values: Mapping[str, Any], grads: Mapping[str, Array]) -> dict[str, Array]:
        """Gradients of the weights.

        Args:
            values: Of :attr:`needed` and of every constant, by name.
            grads: dL/dy of the targets, by name.

        Returns:
            dL/dw by name of the weight, shaped like it; a weight without influence is left out.
        """
        known: dict[ir.Value, Array] = {}
        for target in self.targets:
            if str(target.name) in grads:
                known[target] = grads[str(target.name)]
        for node in self.nodes:
            own = [known.pop(v, None) for v in node.outputs]
            rule = rule_of(node)
            if rule is None or all(g is None for g in own):
                continue
            call = Call(
                node,
                [None if v is None else _array(v, values) for v in node.inputs],
                [values.get(str(v.name)) for v in node.outputs],
                [
                    np.zeros_like(values[str(v.name)]) if g is None and v.name in values else g
                    for v, g in zip(node.outputs, own, strict=True)
                ],
                [v is not None and v in self._active for v in node.inputs],
                self.opset,
            )
            for index, gradient in rule.rule(call).items():
                value = node.inputs[index]
                if value is None or not call.wanted[index]:
                    continue
                known[value] = known[value] + gradient if value in known else gradient
        return {str(w.name): known[w] for w in self.weights if w in known}


def _array(value: ir.Value, values: Mapping[str, Any]) -> Any:
    found = values.get(str(value.name))
    if found is None and value.is_initializer() and value.const_value is not None:
        return value.const_value.numpy()
    return found


def _ends(node: ir.Node) -> bool:
    """Whether small changes of a node's inputs change nothing behind it."""
    if edit.is_op(node, "Cast"):
        return not _is_float(node.outputs[0])
    return not node.domain and node.op_type in ENDS


def _repeats(node: ir.Node) -> bool:
    """Whether a node gives the same every time, as far as it can be known."""
    return bool(node.domain) or edit.is_deterministic(node)


def _is_float(value: ir.Value) -> bool:
    """A tensor of floating-point numbers."""
    kind = value.dtype if isinstance(value.type, ir.TensorType) else None
    return kind is not None and kind.is_floating_point()


def _weighs(node: ir.Node, index: int) -> bool:
    """Whether an input of a node is a place for weights: of a layer, or the bias of a MatMul."""
    if node.domain:
        return False
    if node.op_type == "Add":
        other = node.inputs[1 - index]
        return (
            other is not None
            and _is_layer(other.producer())
            and edit.rank_of(node.inputs[index]) == 1  # more axes: masks, positions
        )
    return index in WEIGHTS.get(node.op_type, frozenset())


def _is_layer(node: ir.Node | None) -> bool:
    """A MatMul with a constant, so that a constant added to it is a bias, no mask."""
    if node is None or not edit.is_op(node, "MatMul"):
        return False
    return any(v is not None and v.is_initializer() for v in node.inputs)
