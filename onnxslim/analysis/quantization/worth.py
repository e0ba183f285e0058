"""Which layers are worth integers: a minimum cut between time saved and time spent converting.

Every layer takes ``f`` ns on floats and ``i`` ns on integers; a tensor that passes between the two
kinds has to be converted, once. The total over all choices

    sum f (float layers) + sum i (integer layers) + sum conversions

is submodular, so that its minimum is a minimum cut (Picard 1976, "Maximal closure of a graph";
Kolmogorov and Zabih 2004, "What energy functions can be minimized via graph cuts").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, product
from onnxslim.analysis.quantization.carriers import Carriers
from onnxslim.analysis.quantization.recognize import Found
from onnxslim.analysis.quantization.targets import Costs
from onnxslim.analysis.symbols import substitute
from onnxslim.graph import edit

_FLOAT, _INTEGER = "float", "integer"


class Worth:
    """Chooses among layers.

    Args:
        costs: Of the target.
        sizes: Of symbolic dimensions in one sample.
    """

    def __init__(self, costs: Costs, sizes: Mapping[str, int]) -> None:
        self.costs = costs
        self.sizes: dict[str, Dim] = dict(sizes)

    def choose(
        self,
        layers: Sequence[Found],
        carriers: Mapping[ir.Node, tuple[ir.Value, ...]],
        results: Mapping[ir.Node, tuple[ir.Value, ...]],
        forced: Iterable[Found] = (),
    ) -> set[ir.Node]:
        """The layers and carriers that should run on integers.

        Args:
            layers: Those that can.
            carriers: Operators between them that can, with their data inputs.
            results: What the carriers give.
            forced: Layers that are to run on integers whatever it costs.
        """
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from((_INTEGER, _FLOAT))
        kept = {id(found) for found in forced}
        makers: dict[ir.Value, object] = {}
        readers: dict[ir.Value, list[object]] = {}
        for found in layers:
            gain = math.inf if id(found) in kept else self.gain(found)
            graph.add_edge(_INTEGER, found.node, capacity=max(gain, 0.0))
            graph.add_edge(found.node, _FLOAT, capacity=max(-gain, 0.0))
            readers.setdefault(found.data, []).append(found.node)
            if found.closed and found.result is not None:
                makers[found.result] = found.node
        for node, inputs in carriers.items():
            for value in inputs:
                if not edit.is_constant(value):
                    readers.setdefault(value, []).append(node)
            makers.update(dict.fromkeys(results[node], node))
        for node, inputs in carriers.items():
            if not Carriers.may_be_float(node):  # it is better done in float before quantizing
                graph.add_edge(node, makers.get(inputs[0], _FLOAT), capacity=math.inf)
        for value in dict.fromkeys((*makers, *readers)):
            self._tensor(graph, value, makers.get(value, _FLOAT), readers.get(value, []))
        _, (chosen, _) = networkx.minimum_cut(graph, _INTEGER, _FLOAT)
        return {node for node in chosen if isinstance(node, ir.Node)}

    def _tensor(
        self, graph: object, value: ir.Value, maker: object, readers: Sequence[object]
    ) -> None:
        """Conversions of one tensor: one each way, however many read it."""
        add = graph.add_edge  # type: ignore[attr-defined]
        others = len(value.uses()) > len(readers) or value.is_graph_output()
        price = self.conversion(value, between=maker is not _FLOAT and not others)
        if maker is not _FLOAT and (others or readers):
            out = ("dequantize", value)
            add(maker, out, capacity=price)
            for reader in (*readers, *([_FLOAT] if others else [])):
                add(out, reader, capacity=math.inf)
        if edit.is_op(value.producer(), "MaxPool"):
            price += self.costs.pooled * (self.elements(value) or 0)
        into = ("quantize", value)
        for reader in readers:
            add(reader, into, capacity=math.inf)
        add(into, maker, capacity=price)

    def conversion(self, value: ir.Value, *, between: bool) -> float:
        """Price of quantizing or dequantizing a tensor; 0 when its size is unknown.

        Args:
            value: The tensor.
            between: Only layers and carriers make and read it.
        """
        costs, count = self.costs, self.elements(value)
        if count is None:
            return 0.0
        return costs.node + (costs.conversion + (costs.layout if between else 0.0)) * count

    def elements(self, value: ir.Value | None) -> int | None:
        """Elements of a tensor in one sample; None when unknown."""
        dims = edit.shape_of(value)
        if dims is None:
            return None
        try:
            count = substitute(product(dims), self.sizes)
        except ValueError:
            return None
        return count if isinstance(count, int) else None

    def gain(self, found: Found) -> float:
        """ns that integers save in this layer; infinite when its size is unknown."""
        shape = edit.static_shape(found.weight) or ()
        out = self.elements(found.node.outputs[0])
        if out is None or not shape:
            return math.inf
        if found.node.op_type == "Conv":
            return self._conv(shape, out, int(edit.attr(found.node, "group", 1)))
        return self._linear(shape, out, found.axis or 0)

    def _conv(self, shape: Sequence[int], out: int, group: int) -> float:
        costs, taps = self.costs, math.prod(shape[2:])
        if group > 1 and shape[1] == 1:
            slow = 1.0 if shape[0] % 4 == 0 else 10.0
            floating = costs.depthwise[0] + slow * costs.tap[0] * taps
            return out * (floating - costs.depthwise[1] - costs.tap[1] * taps)
        macs, positions = out * shape[1] * taps, out // shape[0]
        gathered = positions * taps * group * costs.patch if taps > 1 or group > 1 else 0.0
        floating = costs.float_mac * macs * self._padding(shape, group)
        if not _is_blocked(shape, group):
            floating += gathered / 2
        integer = costs.integer_mac * macs + gathered * (2 if shape[1] < 4 else 1)
        integer += costs.position * positions * group
        return floating - integer + (costs.float_element - costs.integer_element) * out

    @staticmethod
    def _padding(shape: Sequence[int], group: int) -> float:
        """How much slower a float convolution is for padding blocks of 16 channels, or for few."""
        outputs = -(-shape[0] // group // 16) * 16
        few = 1 + 12 / outputs
        if not _is_blocked(shape, group):
            return few
        inputs = max(shape[1], 16)
        return few * outputs * group / shape[0] * -(-inputs // 16) * 16 / inputs

    def _linear(self, shape: Sequence[int], out: int, axis: int) -> float:
        costs = self.costs
        weights, columns = math.prod(shape), shape[axis]
        macs = out // max(columns, 1) * weights
        floating = costs.float_mac * macs + costs.float_weight * weights
        integer = costs.integer_mac * macs + costs.integer_weight * weights
        return floating - integer - costs.float_element * out - costs.node


def _is_blocked(shape: Sequence[int], group: int) -> bool:
    """Whether ONNX Runtime runs this float convolution in blocks of channels."""
    if group > 1:
        return shape[1] % 16 == 0 and shape[0] // group % 16 == 0
    return shape[1] < 16 or shape[1] % 4 == 0
