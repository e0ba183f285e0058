"""Changes as entries fit for JSON."""

from __future__ import annotations

from typing import Any

from onnxslim.graph.signature import Port
from onnxslim.report.diff.flow import Const, Output, Source, Vertex, constant_of, type_name
from onnxslim.report.diff.hunks import is_decoder
from onnxslim.report.diff.labels import input_name
from onnxslim.report.diff.script import Boundary, ConstantChange, shown_source
from onnxslim.report.diff.weights import compare, describe

Entry = dict[str, Any]


def node_entry(vertex: Vertex) -> Entry:
    """A node without a pair."""
    attributes = {key: str(value)[:80] for key, value in vertex.attributes.items()}
    constants = [c for c in map(constant_of, vertex.inputs) if c is not None]
    return {
        "name": vertex.path,
        "op": vertex.op,
        "inputs": [shown_source(s) for s in vertex.inputs],
        "outputs": list(vertex.outputs),
        "attributes": attributes,
        "parameters": sum(c.size for c in constants if c.is_weight),
    }


def constant_entry(change: ConstantChange) -> Entry:
    """A constant that took the place of another, and how it differs."""
    a, b = change.a, change.b
    found: Entry = {"name": (b or a).name}  # type: ignore[union-attr]
    if a is not None:
        found["was"] = describe(a)
    if b is not None:
        found["is"] = describe(b)
    if a is not None and b is not None:
        found.update(compare(a, b))
    found["uses"] = [_use(y, i) for _, y, i in change.uses]
    return found


def _use(vertex: Vertex, slot: int) -> Entry:
    role = input_name(vertex.op, vertex.version, slot)
    return {"node": vertex.path, "op": vertex.op, "input": slot, "role": role}


def input_entry(item: Boundary) -> Entry:
    """An input that was computed and is constant now, or the other way round.

    ``tensors`` is what is stored on either side, where both sides store something: a weight, and
    the numbers that ``DequantizeLinear`` makes it of.
    """
    found = {**_use(item.b, item.slot), "was": shown_source(item.was), "is": shown_source(item.now)}
    stored = [_stored(source) for source in (item.was, item.now)]
    if any(is_decoder(s.node) for s in (item.was, item.now) if isinstance(s, Output)):
        found["tensors"] = [
            None if c is None else {"dtype": c.dtype, "shape": [int(d) for d in c.shape]}
            for c in stored
        ]
    return found


def _stored(source: Source) -> Const | None:
    """A constant, or the one that a decoder reads."""
    if isinstance(source, Output) and is_decoder(source.node):
        return constant_of(source.node.inputs[0])
    return constant_of(source)


def port_entry(port: Port) -> Entry:
    """An input or output of a model."""
    dtype = None if port.dtype is None else type_name(port.dtype)
    shape = port.shape
    return {"name": port.name, "dtype": dtype, "shape": None if shape is None else list(shape)}
