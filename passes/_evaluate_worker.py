"""Evaluate nodes on constants in ONNX Runtime: one small model for all of them, in the child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import MissingRuntimeError, WorkerError
from onnxslim.passes._facts import tensor_bytes
from onnxslim.pipeline.context import PassContext

_ATTEMPTS = 24
_MAX_INPUT = 256 << 20

MAX_BYTES = 64 << 20
"""Of all results of one request."""


class Batch:
    """Nodes to be evaluated together.

    Args:
        ctx: Gives the worker and the opset.
        constants: Arrays of values known so far.
        seconds: CPU time of one request.
    """

    def __init__(
        self,
        ctx: PassContext,
        constants: Mapping[ir.Value, np.ndarray],
        seconds: float,
    ) -> None:
        self._ctx = ctx
        self._constants = constants
        self._seconds = seconds
        self._attempts = 0

    def run(
        self, nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]
    ) -> tuple[dict[ir.Value, np.ndarray], dict[ir.Node, str]]:
        """Values of ``wanted``, and the producers of those that failed with the reason.

        Args:
            nodes: All nodes needed that have no numpy result, in topological order.
            wanted: Outputs of theirs.
        """
        found: dict[ir.Value, np.ndarray] = {}
        failed: dict[ir.Node, str] = {}
        waiting = _parts(wanted)[::-1]
        while waiting:
            part = waiting.pop()
            reason = self._try(_cone(nodes, part), part, found)
            if reason is None:
                continue
            if len(part) > 1 and self._attempts < _ATTEMPTS:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
                continue
            for value in part:
                producer = value.producer()
                assert producer is not None
                failed[producer] = reason
        return found, failed

    def _try(
        self, nodes: Sequence[ir.Node], part: Sequence[ir.Value], found: dict[ir.Value, np.ndarray]
    ) -> str | None:
        """Evaluate; returns why it failed."""
        self._attempts += 1
        names: dict[ir.Value, str] = {}
        model = _model(nodes, part, self._constants, names, self._ctx)
        if model is None:
            return "its inputs are too large"
        label = f"constant {part[0].name}" if len(part) == 1 else f"{len(part)} constants"
        try:
            results = self._ctx.worker.evaluate(
                model, seconds=self._seconds, max_bytes=MAX_BYTES, label=label
            )
        except MissingRuntimeError:
            return "ONNX Runtime is not installed"
        except WorkerError as error:
            return f"ONNX Runtime could not evaluate it ({error.reason})"
        for value in part:
            array = results.get(names[value])
            if not isinstance(array, np.ndarray):
                return "the result is no tensor"
            found[value] = array
        return None


def _parts(wanted: Sequence[ir.Value]) -> list[list[ir.Value]]:
    """The values, in order, in lists that one request may return."""
    parts: list[list[ir.Value]] = []
    room = 0
    for value in wanted:
        size = tensor_bytes(value) or 0
        if not parts or size > room:
            parts.append([])
            room = MAX_BYTES
        parts[-1].append(value)
        room -= size
    return parts


def _cone(nodes: Sequence[ir.Node], part: Sequence[ir.Value]) -> list[ir.Node]:
    """Those of ``nodes`` that ``part`` depends on, order kept."""
    inside = set(nodes)
    needed: set[ir.Node] = set()
    waiting = [p for p in (v.producer() for v in part) if p is not None]
    while waiting:
        node = waiting.pop()
        if node in inside and node not in needed:
            needed.add(node)
            waiting.extend(node.predecessors())
    return [node for node in nodes if node in needed]


def _model(
    nodes: Sequence[ir.Node],
    part: Sequence[ir.Value],
    constants: Mapping[ir.Value, np.ndarray],
    names: dict[ir.Value, str],
    ctx: PassContext,
) -> bytes | None:
    """A ModelProto without inputs; values are renamed, their scopes may differ."""
    graph = onnx.GraphProto(name="constants")
    size = 0
    for node in nodes:
        for value in node.inputs:
            if value is None or value in names:
                continue
            names[value] = f"v{len(names)}"
            tensor = ir.tensor(constants[value], name=names[value])
            size += tensor.nbytes
            if size > _MAX_INPUT:
                return None
            graph.initializer.append(ir.to_proto(tensor))
        proto = ir.to_proto(node)
        for value in node.outputs:
            names[value] = f"v{len(names)}" if value.name else ""
        del proto.input[:], proto.output[:], proto.metadata_props[:]
        proto.input.extend("" if v is None else names[v] for v in node.inputs)
        proto.output.extend(names[v] for v in node.outputs)
        graph.node.append(proto)
    for value in part:
        info = graph.output.add(name=names[value])
        info.type.tensor_type.elem_type = 0 if value.dtype is None else value.dtype.value
    model = onnx.ModelProto(ir_version=max(8, min(ctx.model.ir_version, 10)), graph=graph)
    model.opset_import.add(domain="", version=ctx.opset)
    return bytes(model.SerializeToString())
