"""Ask onnx's C++ shape inference, in the child process, about one operator without a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import onnx
import onnx_ir as ir

from onnxslim.analysis.shape_context import MAX_VALUES
from onnxslim.analysis.symbols import Symbols
from onnxslim.errors import WorkerError
from onnxslim.graph.edit import constant_tensor, subgraphs
from onnxslim.graph.schema import STANDARD_DOMAINS, get_schema


class ShapeWorker(Protocol):
    """The part of the worker that is used here."""

    def infer_shapes(self, model: bytes) -> bytes:
        """A serialized model with value_info."""


class Fallback:
    """One-node models made of the asked node's input types; answers are kept by question."""

    def __init__(self, worker: ShapeWorker, opsets: Mapping[str, int]) -> None:
        self.worker = worker
        self._opsets = dict(opsets)
        self._answers: dict[bytes, list[onnx.TypeProto | None]] = {}

    def ask(self, node: ir.Node, symbols: Symbols) -> None:
        """Set the outputs' types and static dimensions; other dimensions are fresh symbols."""
        version = self._opsets.get(node.domain)
        if node.domain not in STANDARD_DOMAINS or version is None:
            return
        if get_schema(node.domain, node.op_type, version) is None or any(subgraphs(node)):
            return
        question = self._question(node).SerializeToString(deterministic=True)
        if question not in self._answers:
            self._answers[question] = self._answer(question)
        for out, kind in zip(node.outputs, self._answers[question], strict=False):
            if kind is None or not kind.HasField("tensor_type"):
                continue
            tensor = kind.tensor_type
            if tensor.elem_type:
                out.type = ir.TensorType(ir.DataType(tensor.elem_type))
            if tensor.HasField("shape"):
                known = [d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim]
                pairs = zip(tensor.shape.dim, known, strict=True)
                dims = [d.dim_value if k else symbols.fresh() for d, k in pairs]
                out.shape = ir.Shape(dims, frozen=True)

    def _question(self, node: ir.Node) -> onnx.ModelProto:
        """The node alone, its inputs ``i0``..., its outputs ``o0``...; small constants kept."""
        inputs, initializers = [], []
        names = [f"i{k}" if value is not None else "" for k, value in enumerate(node.inputs)]
        for name, value in zip(names, node.inputs, strict=True):
            tensor = constant_tensor(value)
            if value is None:
                continue
            if tensor is not None and tensor.size <= MAX_VALUES:
                proto = ir.to_proto(tensor)
                proto.name = name
                initializers.append(proto)
                continue
            info = onnx.ValueInfoProto(name=name)
            if value.dtype is not None and isinstance(value.type, ir.TensorType):
                info.type.tensor_type.elem_type = int(value.dtype)
                if value.shape is not None:
                    shape = info.type.tensor_type.shape
                    for dim in value.shape:
                        added = shape.dim.add()
                        if isinstance(dim, int):
                            added.dim_value = dim
            inputs.append(info)
        outputs = [onnx.ValueInfoProto(name=f"o{k}") for k in range(len(node.outputs))]
        proto_node = onnx.NodeProto(
            op_type=node.op_type,
            domain=node.domain,
            input=names,
            output=[o.name for o in outputs],
            attribute=[ir.to_proto(a) for a in node.attributes.values()],
        )
        graph = onnx.GraphProto(name="question", node=[proto_node], input=inputs, output=outputs)
        graph.initializer.extend(initializers)
        opsets = [onnx.OperatorSetIdProto(domain=d, version=v) for d, v in self._opsets.items()]
        return onnx.ModelProto(ir_version=10, graph=graph, opset_import=opsets)

    def _answer(self, question: bytes) -> list[onnx.TypeProto | None]:
        try:
            answer = onnx.ModelProto.FromString(self.worker.infer_shapes(question))
        except WorkerError:
            return []  # the library refused or died: the outputs stay unknown
        found = {v.name: v.type for v in (*answer.graph.output, *answer.graph.value_info)}
        return [found.get(o.name) for o in answer.graph.output]
