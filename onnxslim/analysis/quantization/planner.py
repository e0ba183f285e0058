"""Plans a quantization: a layer runs on integers where it pays, and integers flow between layers.

Two facts of ONNX Runtime decide the placement for CPUs (measured, ``docs/quantization.md``):

* a Conv runs on integers only when a QuantizeLinear follows it (a Relu, or a Clip from 0, between
  them is absorbed); a MatMul or Gemm also gives floats, which is faster and closer;
* any other operator is worth integers only between such layers.

So the tensors around quantized Convs and before quantized MatMuls become integers, and *carriers*
between them are grown to the largest set in which every carrier reads and feeds integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx_ir as ir

from onnxslim.analysis.quantization import recognize
from onnxslim.analysis.quantization.carriers import Carriers, is_dequantized
from onnxslim.analysis.quantization.plan import Edge, Layer, Plan
from onnxslim.analysis.quantization.recognize import Found
from onnxslim.analysis.quantization.targets import Target
from onnxslim.analysis.quantization.worth import Worth
from onnxslim.graph import edit

UNPAYING = "would not pay"
"""Why a layer that could run on integers does not."""

_MOVED_PAST = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze")

Choice = Callable[[ir.Node], str]
"""Says of a layer ``""`` (as planned), ``"include"`` or ``"exclude"``."""


def make_plan(
    model: ir.Model,
    target: Target,
    choose: Choice | None = None,
    bindings: Mapping[str, int] | None = None,
) -> Plan:
    """Plan the quantization of a model with inferred shapes; the model is not changed.

    Args:
        model: What is to be quantized, simplified.
        target: For what.
        choose: The user's word on a layer.
        bindings: Sizes of symbolic dimensions, for what a layer costs.
    """
    return _Planner(model, target, choose or (lambda node: ""), bindings or {}).plan()


class _Planner:
    def __init__(
        self, model: ir.Model, target: Target, choose: Choice, bindings: Mapping[str, int]
    ) -> None:
        self.model, self.target, self.choose, self.bindings = model, target, choose, bindings
        self.found: list[Found] = []
        self.inner: list[Layer] = []
        self.chosen: set[ir.Node] = set()
        self.bounds: dict[ir.Value, tuple[float | None, float | None]] = {}

    def plan(self) -> Plan:
        for graph in edit.all_graphs(self.model):
            for node in graph:
                found = recognize.find(node)
                if found is not None and graph is self.model.graph:
                    self.found.append(self._judged(found))
                elif found is not None:
                    self.inner.append(_refused(found, "it is in a subgraph"))
        self._weigh()
        integers = [f for f in self.found if not f.refusal]
        wanted = self._wanted(integers)
        carriers = Carriers(self.model, self.target, wanted, self.bounds, self.chosen)
        grown = carriers.grow()
        builder = _Edges(self, integers, wanted, carriers)
        if self.target.shortcuts:
            builder.shortcuts(integers)
        edges = builder.build()
        layers = [self._layer(f, edges) for f in self.found]
        return Plan(
            self.target,
            (*layers, *self.inner),
            edges,
            {n.outputs[0].name or "": n.op_type for n in grown},
        )

    def _weigh(self) -> None:
        """Refuse the layers that do not pay."""
        if self.target.costs is None:
            return
        able = [f for f in self.found if not f.refusal]
        forced = [f for f in able if self.choose(f.node) == "include"]
        wanted = self._wanted(able)
        carriers = Carriers(self.model, self.target, wanted, self.bounds)
        worth = Worth(self.target.costs, self.bindings)
        self.chosen = worth.choose(able, carriers.set, carriers.results, forced)
        self.found = [
            f if f.refusal or f.node in self.chosen else replace(f, refusal=UNPAYING)
            for f in self.found
        ]

    def _judged(self, found: Found) -> Found:
        """The layer with the user's word, its size and its constants taken into account."""
        word = self.choose(found.node)
        if word == "exclude":
            return replace(found, refusal="excluded")
        if found.refusal:
            return found
        if found.data.dtype not in (None, ir.DataType.FLOAT):
            return replace(found, refusal="its input is not float")
        if edit.constant_tensor(found.data) is not None:
            return replace(found, refusal="its input is constant")
        if not self.target.vectors and _is_vector_product(found):
            return replace(found, refusal="a product with a single vector")
        for value in (found.weight, found.bias):
            if value is not None and not recognize.is_finite(value):
                return replace(found, refusal="a weight is infinite or NaN")
        return found

    def _wanted(self, integers: list[Found]) -> dict[ir.Value, None]:
        """The tensors that quantized layers need as integers, in graph order."""
        self.bounds.clear()
        wanted: dict[ir.Value, None] = {}
        for found in integers:
            wanted[found.data] = None
            if self.target.placement == "between" and found.closed:
                assert found.result is not None
                wanted[found.result] = None
                self.bounds[found.result] = (found.low, found.high)
        return wanted

    def _layer(self, found: Found, edges: Mapping[str, Edge]) -> Layer:
        if found.refusal:
            tensor, reader = self._guarded(found, edges)
            return replace(_refused(found, found.refusal), guard=tensor, guarded=reader)
        return Layer(
            key=found.key,
            name=recognize.describe(found),
            op=found.node.op_type,
            quantized=True,
            data=found.data.name or "",
            weight="" if found.weight is None else found.weight.name or "",
            axis=found.axis,
            bias="" if found.bias is None else found.bias.name or "",
            bias_key="" if found.bias_node is None else found.bias_node.outputs[0].name or "",
            integer_bias=self.target.integer_bias and _bias_fuses(found),
            result="" if found.result is None else found.result.name or "",
        )

    def _guarded(self, found: Found, edges: Mapping[str, Edge]) -> tuple[str, str]:
        """The integers that this float layer reads, and who reads them, if it feeds integers too.

        ONNX Runtime would quantize it then; it also moves a DequantizeLinear past movements.
        """
        if not self.target.guard or found.node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            return "", ""
        value = found.node.outputs[0]
        while (after := edit.sole_consumer(value)) is not None and edit.is_op(
            after, "Relu", "Clip"
        ):
            value = after.outputs[0]
        if value.name not in edges and found.node.outputs[0].name not in edges:
            return "", ""
        reader, data = found.node, found.data
        while (edge := edges.get(data.name or "")) is None or edge.readers is not None:
            before = data.producer()
            if before is None or not edit.is_op(before, *_MOVED_PAST) or before.inputs[0] is None:
                return "", ""
            reader, data = before, before.inputs[0]
        return edge.tensor, reader.outputs[0].name or ""


def _refused(found: Found, reason: str) -> Layer:
    return Layer(
        found.key,
        recognize.describe(found),
        edit.op_id(found.node),
        False,
        reason,
        data=found.data.name or "" if found.node.inputs and found.node.inputs[0] else "",
        result=found.key,
    )


def _bias_fuses(found: Found) -> bool:
    """Whether a bias is worth an int32: always inside the layer; behind a MatMul when it fuses.

    ONNX Runtime makes a Gemm of MatMul and Add where shapes are static, and that Gemm runs on
    integers with an int32 bias only; else it fuses the float bias with what follows.
    """
    if found.bias is None:
        return False
    return found.bias_node is None or edit.static_shape(found.data) is not None


def _is_vector_product(found: Found) -> bool:
    """Whether a Gemm or MatMul has one row or one column."""
    if found.node.op_type not in recognize.LINEAR:
        return False
    shape = edit.static_shape(found.weight) or (0, 0)
    rows = edit.static_shape(found.data)
    return shape[found.axis or 0] == 1 or (rows is not None and math.prod(rows[:-1]) == 1)


class _Edges:
    """From tensors to edges: bounds, shared scales, readers."""

    def __init__(
        self,
        planner: _Planner,
        integers: list[Found],
        wanted: Mapping[ir.Value, None],
        carriers: Carriers,
    ) -> None:
        self.planner = planner
        self.keep: dict[ir.Value, None] = dict(wanted)
        self.readers: dict[ir.Value, dict[str, None]] = {}
        self.like: dict[ir.Value, ir.Value] = {}
        self.made: set[ir.Value] = set()
        for found in integers:
            self.readers.setdefault(found.data, {})[found.key] = None
            if found.result in planner.bounds:
                self.made.add(found.result)
        for node, inputs in carriers.set.items():
            self._carrier(node, inputs, carriers.results[node])

    def _carrier(
        self, node: ir.Node, inputs: tuple[ir.Value, ...], results: tuple[ir.Value, ...]
    ) -> None:
        key = node.outputs[0].name or ""
        for value in inputs:
            self.keep[value] = None
            self.readers.setdefault(value, {})[key] = None
        for value in results:
            self.keep[value] = None
            self.made.add(value)
            if Carriers.preserves(node):
                self.like[value] = inputs[0]
            bounds = recognize.rectifier(value.producer())
            if bounds is not None:
                self.planner.bounds.setdefault(value, bounds)

    def shortcuts(self, integers: list[Found]) -> None:
        """Quantize what an Add adds to the result of a quantized Conv that it alone reads."""
        results = [f.node.outputs[0] for f in integers if f.node.op_type == "Conv"]
        alone = {v: edit.sole_consumer(v) for v in results}
        for result, after in alone.items():
            if after is None or not edit.is_op(after, "Add"):
                continue
            own = 0 if after.inputs[0] is result else 1
            other = after.inputs[1 - own]
            if other is None or edit.is_constant(other) or (own == 1 and alone.get(other)):
                continue  # of two such results, one stays float
            self.keep[other] = None
            self.readers.setdefault(other, {})[after.outputs[0].name or ""] = None

    def build(self) -> dict[str, Edge]:
        order = self._order()
        kept = [v for v in self.keep if not is_dequantized(v)]
        return {v.name or "": self._edge(v) for v in sorted(kept, key=lambda v: order[v])}

    def _order(self) -> dict[ir.Value, int]:
        order: dict[ir.Value, int] = {}
        for value in (*self.planner.model.graph.inputs, *self.keep):
            if value.producer() is None:
                order.setdefault(value, len(order))
        for node in self.planner.model.graph:
            for value in node.outputs:
                order.setdefault(value, len(order))
        return order

    def _edge(self, value: ir.Value) -> Edge:
        root = value
        while root in self.like:
            root = self.like[root]
        low, high = self.planner.bounds.get(value, (None, None))
        producer = value.producer()
        fixed = value in self.made and edit.is_op(producer, "Sigmoid")
        if fixed:
            low, high = 0.0, 255 / 256
        shape = edit.shape_of(value) or ()
        size = shape[1] if len(shape) > 1 else None
        return Edge(
            tensor=value.name or "",
            like=root.name or "",
            low=low,
            high=high,
            fixed=fixed,
            readers=None if value in self.made else tuple(self.readers.get(value, ())),
            axis_size=size if isinstance(size, int) else None,
        )
