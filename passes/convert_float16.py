"""Let a model compute in float16: weights and activations take half the memory.

Every float32 slot of a node whose operator also takes float16 becomes float16; a Cast stands
wherever a float16 value meets a float32 slot. Bodies of If, Loop and Scan are converted inside and
keep float32 at their borders. What float16 cannot hold stays float32 with the nodes that compute
with it: constants above 65504 (attention masks) or so small that they become zero (epsilons),
numbers made of integers (positions, sizes), and tensors whose peak on sample data is too large.

Runtimes differ in what they compute in float16: ONNX Runtime's CPU provider casts most operators
back to float32, so there the gain is the file; GPUs and ARM gain speed.

Source: IEEE 754-2008 binary16 (11 bits of precision, 6.0e-8 to 65504).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.peaks import measure_peaks
from onnxslim.analysis.quantization.select import Selection
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.signature import retype_ports
from onnxslim.passes._half_plan import BLOCKED, LARGEST, SMALLEST, make_plan
from onnxslim.passes._half_slots import FLOAT, HALF, Slots
from onnxslim.passes._unread import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class ConvertFloat16(Pass):
    """Convert float32 computation to float16, with Casts at the borders.

    Kept in float32: operators on the block list or without float16, what is asked for, constants
    and tensors that float16 cannot hold, and numbers that only come from integers.

    Args:
        keep_io_types: Inputs and outputs of the model stay float32.
        block: Operators that stay float32.
        include: Only what matches one of these globs is converted.
        exclude: What matches one of these globs stays float32.
        limit: A tensor above this on sample data stays float32.
    """

    name: ClassVar[str] = "convert-float16"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    keep_io_types: bool = False
    block: tuple[str, ...] = BLOCKED
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: float = LARGEST / 2

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Convert every node that can be."""
        peaks = measure_peaks(model, ctx.worker, ctx.calibration) if ctx.calibration else {}
        said = Selection(model, self.include, self.exclude)
        plan = make_plan(model, said, block=self.block, peaks=peaks, limit=self.limit)
        if not plan.slots:
            return 0
        for node, reason in plan.kept.items():
            ctx.skip(node, reason)
        job = _Converter(model, ctx, plan.slots)
        if not self.keep_io_types:
            job.inputs(peaks, self.limit)
        job.graph(model.graph)
        job.outputs(peaks, keep=self.keep_io_types)
        drop_unread(job.constants, ctx)
        infer_shapes(model)
        ctx.reindex()
        return len(plan.slots)


class _Converter:
    """One conversion of one model, in place."""

    def __init__(self, model: ir.Model, ctx: PassContext, slots: Mapping[ir.Node, Slots]) -> None:
        self.model, self.ctx, self.slots = model, ctx, slots
        self.half: set[ir.Value] = set()
        self.casts: dict[tuple[int, ir.Value, ir.DataType], ir.Value] = {}
        self.constants: dict[ir.Value, ir.Value] = {}
        self.named: set[str] = set()

    def inputs(self, peaks: Mapping[str, float], limit: float) -> None:
        """Float inputs of the model become float16 themselves."""
        chosen = []
        for value in self.model.graph.inputs:
            if value.dtype != FLOAT or value.is_initializer() or value.name is None:
                continue
            if peaks.get(value.name, 0.0) > limit:
                self.ctx.warnings.append(
                    f"input {value.name} stays float32: it reaches {peaks[value.name]:.3g}"
                )
                continue
            self._retype(value)
            chosen.append(value.name)
        retype_ports(self.model, chosen, HALF)

    def _retype(self, value: ir.Value) -> None:
        value.type = ir.TensorType(HALF)
        self.half.add(value)

    def graph(self, graph: ir.Graph) -> None:
        """Convert the nodes of a graph and of the bodies in it; a body ends in float32."""
        for node in list(graph):
            self._node(node, self.slots.get(node, Slots((), ())))
            for body in edit.subgraphs(node):
                self.graph(body)
                for index, value in enumerate(body.outputs):
                    if value in self.half:
                        body.outputs[index] = self._output_cast(value, FLOAT, body)

    def _node(self, node: ir.Node, slots: Slots) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and index in slots.inputs:
                node.replace_input_with(index, self._as_half(value, node))
            elif value is not None and value in self.half:
                node.replace_input_with(index, self._cast(value, FLOAT, node))
        for index in slots.outputs:
            self._retype(node.outputs[index])
        if slots.outputs and edit.is_op(node, "Cast"):
            node.attributes["to"] = ir.AttrInt64("to", HALF.value)

    def _as_half(self, value: ir.Value, node: ir.Node) -> ir.Value:
        if value in self.half:
            return value
        tensor = edit.constant_tensor(value)
        if tensor is None:
            return self._cast(value, HALF, node)
        if value not in self.constants:
            owner = value.graph
            graph = owner if isinstance(owner, ir.Graph) else self.model.graph
            self.constants[value] = self.ctx.constant(graph, value.name, self._narrow(value))
        return self.constants[value]

    def _narrow(self, value: ir.Value) -> np.ndarray:
        array = edit.constant_array(value)
        assert array is not None
        with np.errstate(all="ignore"):
            narrow = array.astype(np.float16)
        lost = int(np.count_nonzero((narrow == 0) & (array != 0)))
        if lost:
            self.ctx.warnings.append(
                f"{value.name}: {lost} of {array.size} numbers become 0, below {SMALLEST:.2g}"
            )
        return narrow

    def _cast(
        self,
        value: ir.Value,
        dtype: ir.DataType,
        reader: ir.Node | None,
        body: ir.Graph | None = None,
    ) -> ir.Value:
        """``value`` as ``dtype`` for a reader: one Cast per graph, before the first reader."""
        graph = body if reader is None else reader.graph
        assert graph is not None
        key = (id(graph), value, dtype)
        if key not in self.casts:
            node = ir.node("Cast", [value], {"to": dtype.value})
            out = node.outputs[0]
            out.name = self.ctx.names.value(value.name or "cast")
            out.type, out.shape = ir.TensorType(dtype), value.shape
            owner = value.producer() or reader
            node.name = self.ctx.names.node(None if owner is None else owner.name, "Cast")
            sources = () if owner is None else owner.meta.get(edit.SOURCE, ())
            node.meta[edit.SOURCE] = sources
            if reader is None:
                graph.append(node)
            else:
                graph.insert_before(reader, node)
            self.casts[key] = out
        return self.casts[key]

    def outputs(self, peaks: Mapping[str, float], *, keep: bool) -> None:
        """Float outputs stay float32, or become float16, under their names."""
        graph, wanted = self.model.graph, FLOAT if keep else HALF
        renamed = []
        for index, value in enumerate(graph.outputs):
            if value.dtype != FLOAT and value not in self.half:
                continue
            if value.dtype == FLOAT and peaks.get(value.name or "", 0.0) > LARGEST and not keep:
                self.ctx.warnings.append(f"output {value.name} stays float32: it is too large")
                continue
            if value.dtype != wanted and value.producer() is not None:
                graph.outputs[index] = self._output_cast(value, wanted, graph)
            if graph.outputs[index].dtype == HALF:
                renamed.append(graph.outputs[index].name or "")
        retype_ports(self.model, renamed, HALF)

    def _output_cast(self, value: ir.Value, dtype: ir.DataType, graph: ir.Graph) -> ir.Value:
        """A Cast that takes over the name, under which the output was declared."""
        out = self._cast(value, dtype, None, graph)
        if value.name not in self.named:
            name, value.name = value.name, out.name
            out.name = name
            self.named.add(value.name or "")
        return out
