"""The masked original: the dense model in which what was pruned counts for nothing.

Cutting a channel equals zeroing it wherever it is summed over. So a pruned model must give the
same outputs as the dense model with a ``Mul(mask)`` in front of every node that contracts a pruned
axis. Where a node computes statistics over a pruned axis (LayerNormalization) the mask is no
equivalent: there the axis is gathered down to what stays, and its output spread out again.

This finds every mistake in which index goes where. It holds before any recovery of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.analyze import Dependency
from onnxslim.analysis.dependency.builder import RawSite
from onnxslim.analysis.dependency.groups import Indices, Kept, Role
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.edit import constant_array, get_input, is_op


def masked_original(dependency: Dependency, kept: Kept) -> ir.Model:
    """A copy of the analysed model in which everything pruned is masked.

    Args:
        dependency: Of the dense model, which is not changed.
        kept: The decision.
    """
    copy = duplicate(dependency.model)
    twins = dict(zip(dependency.model.graph, copy.graph, strict=True))
    work = _Masking(copy, dependency, kept)
    for site in dependency.builder.sites:
        removed = work.removed(site.value, site.axis)
        if removed is None or site.value.const_value is not None:
            continue
        if site.role is Role.CONSUME:
            work.mask(site, twins[site.node])
        elif site.role is Role.STATISTIC:
            work.gather(site, twins[site.node])
    for site in dependency.builder.sites:
        if site.role is Role.CONSUME and is_op(site.node, "LSTM", "GRU", "RNN"):
            work.zero_recurrence(site, twins[site.node])
    work.spread()
    return copy


@dataclass
class _Masking:
    model: ir.Model
    dependency: Dependency
    kept: Kept
    count: int = 0
    masks: dict[tuple[str, int], ir.Value] = field(default_factory=dict)
    narrowed: dict[ir.Node, tuple[ir.Node, int]] = field(default_factory=dict)

    def removed(self, value: ir.Value, axis: int) -> Indices | None:
        """Kept indices of an axis that loses something, else None."""
        return self.kept.axes.get(value.name or "", {}).get(axis)

    def constant(self, array: np.ndarray, dtype: ir.DataType | None = None) -> ir.Value:
        """A new initializer."""
        self.count += 1
        name = f"onnxslim_mask_{self.count}"
        tensor = ir.Tensor(array, dtype=dtype, name=name)
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )
        self.model.graph.register_initializer(value)
        return value

    def node(
        self, op: str, inputs: Sequence[ir.Value | None], attributes: dict[str, int]
    ) -> ir.Node:
        """A new node, not placed yet."""
        self.count += 1
        node = ir.node(op, inputs, attributes)
        node.name = f"onnxslim_mask_{self.count}"
        node.outputs[0].name = f"{node.name}_out"
        return node

    def mask(self, site: RawSite, twin: ir.Node) -> None:
        """Multiply an axis by 0 where it was pruned, for one reader."""
        index = self.removed(site.value, site.axis)
        assert index is not None
        for position, value in enumerate(site.node.inputs):
            own = get_input(twin, position)
            if value is not site.value or own is None:
                continue
            key = (own.name or "", site.axis)
            if key not in self.masks:
                self.masks[key] = self._masked(own, site, index)
            twin.replace_input_with(position, self.masks[key])

    def _masked(self, own: ir.Value, site: RawSite, index: Indices) -> ir.Value:
        rank = len(site.value.shape or ())
        array = np.zeros(len(site.labels))
        array[index] = 1
        shaped = array.reshape([-1 if i == site.axis else 1 for i in range(rank)])
        dtype = site.value.dtype or ir.DataType.FLOAT
        mask = self.constant(shaped.astype(dtype.numpy()), dtype)
        mul = self.node("Mul", [own, mask], {})
        producer = own.producer()
        if producer is None or producer.graph is None:
            self.model.graph.insert_before(self.model.graph[0], [mul])
        else:
            producer.graph.insert_after(producer, [mul])
        return mul.outputs[0]

    def gather(self, site: RawSite, twin: ir.Node) -> None:
        """Let a node see only what stays of an axis that it computes statistics over."""
        index = self.removed(site.value, site.axis)
        assert index is not None and twin.graph is not None
        picked = self.constant(index)
        for position, value in enumerate(site.node.inputs):
            own = get_input(twin, position)
            if own is None or value is None:
                continue
            if value is site.value:
                node = self.node("Gather", [own, picked], {"axis": site.axis})
                twin.graph.insert_before(twin, [node])
                twin.replace_input_with(position, node.outputs[0])
            elif (array := constant_array(value)) is not None:
                cut = self.kept.take(value.name or "", array)
                if cut.shape != array.shape and not own.is_graph_input():
                    twin.replace_input_with(position, self.constant(cut, value.dtype))
        self.narrowed[twin] = (site.node, site.axis)

    def spread(self) -> None:
        """Give outputs of narrowed nodes their old width, with zeros."""
        for twin, (node, axis) in self.narrowed.items():
            for before, value in zip(node.outputs, twin.outputs, strict=True):
                index = self.removed(before, axis)
                if index is not None:
                    self._spread(twin, value, index, axis, _size(before, axis))

    def _spread(self, twin: ir.Node, value: ir.Value, index: Indices, axis: int, size: int) -> None:
        assert twin.graph is not None
        first = self.node("Gather", [value, self.constant(np.zeros(1, np.int64))], {"axis": axis})
        zero = self.node("Sub", [first.outputs[0], first.outputs[0]], {})
        wide = self.node("Concat", [value, zero.outputs[0]], {"axis": axis})
        back = np.full(size, len(index), dtype=np.int64)
        back[index] = np.arange(len(index))
        out = self.node("Gather", [wide.outputs[0], self.constant(back)], {"axis": axis})
        name = value.name
        value.replace_all_uses_with(out.outputs[0], replace_graph_outputs=True)
        first.replace_input_with(0, value)
        wide.replace_input_with(0, value)
        value.name, out.outputs[0].name = f"{name}_narrow", name
        value.shape = None
        twin.graph.insert_after(twin, [first, zero, wide, out])

    def zero_recurrence(self, site: RawSite, twin: ir.Node) -> None:
        """A hidden unit that was pruned is summed over inside the operator, by ``R``."""
        if site.node.inputs[2] is not site.value:
            return
        index = self.removed(site.value, 2)
        array = constant_array(site.value)
        if index is None or array is None:
            return
        zeroed = np.zeros_like(array)
        zeroed[:, :, index] = array[:, :, index]
        twin.replace_input_with(2, self.constant(zeroed, site.value.dtype))


def _size(value: ir.Value, axis: int) -> int:
    size = None if value.shape is None else value.shape[axis]
    assert isinstance(size, int), "a pruned axis has a known size"
    return size
