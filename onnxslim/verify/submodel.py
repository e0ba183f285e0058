"""Parts of a model as models: the piece between tensors, or all that needs no unknown operator.

Works on ``ModelProto`` because its only use is to be run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 1 << 30
"""Larger files (external weights aside) are not parsed: no piece of them is built."""

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")

_UNKNOWN = re.compile(
    r"is not a registered function/op|No Op registered for|NOT_IMPLEMENTED"
    r"|Could not find an implementation for|is not a registered",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?:implementation for|Op registered for|Fatal error:)\s+(?:the node\s+\S+:)?"
    r"(?:(?P<domain>[\w.\-]+):)?(?P<op>\w+)"
)


def is_unknown_operator(message: str) -> bool:
    """Whether a runtime's refusal means that it lacks an operator, not that the model is bad."""
    return _UNKNOWN.search(message) is not None


def named_operator(message: str) -> str | None:
    """The operator type that a refusal names, if any."""
    found = _NAMED.search(message)
    return found["op"] if found else None


def read(source: Path | bytes) -> onnx.ModelProto:
    """Reads a model; external weights stay references (sessions get their folder)."""
    import onnx

    if isinstance(source, bytes):
        model = onnx.ModelProto()
        model.ParseFromString(source)
        return model
    return onnx.load_model(str(source), load_external_data=False)


def is_small(source: Path | bytes) -> bool:
    """Whether a model, external weights aside, may be parsed to build a piece of it."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return size <= MAX_BYTES


def reads(node: onnx.NodeProto) -> list[str]:
    """Names a node reads, those its subgraphs capture included (shadowed ones too)."""
    found = dict.fromkeys(name for name in node.input if name)
    stack = [node]
    for current in stack:
        for attribute in current.attribute:
            for graph in (attribute.g, *attribute.graphs):
                found.update(dict.fromkeys(v.name for v in graph.output))
                for inner in graph.node:
                    found.update(dict.fromkeys(name for name in inner.input if name))
                    stack.append(inner)
    return list(found)


def extract(
    model: onnx.ModelProto, inputs: Mapping[str, np.dtype], outputs: Iterable[str]
) -> onnx.ModelProto:
    """The piece that computes ``outputs`` from ``inputs`` (and the model's own inputs)."""
    from onnx import helper

    wanted = list(dict.fromkeys(outputs))
    producer = {name: node for node in model.graph.node for name in node.output if name}
    needed: set[str] = set(wanted)
    queue = [name for name in wanted if name not in inputs]
    used: set[int] = set()
    for name in queue:
        node = producer.get(name)
        if node is None or id(node) in used:
            continue
        used.add(id(node))
        for before in reads(node):
            if before not in needed:
                needed.add(before)
                if before not in inputs:
                    queue.append(before)
    piece = _shell(model, (n for n in model.graph.node if id(n) in used))
    for name, dtype in inputs.items():
        if name in needed:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            piece.graph.input.append(helper.make_tensor_value_info(name, kind, None))
    piece.graph.input.extend(v for v in model.graph.input if v.name in needed)
    piece.graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    sparse = model.graph.sparse_initializer
    piece.graph.sparse_initializer.extend(t for t in sparse if t.values.name in needed)
    _declare_outputs(piece, model, wanted)
    return piece


@dataclass(frozen=True)
class Cut:
    """What is left of a model without the operators that the runtime lacks.

    Args:
        model: The rest, or None when nothing is left.
        removed: ``name (op)`` of the nodes taken out, those that depend on them included.
        unknown: The operators that were missing.
        frontier: Values that the removed part reads: now outputs.
    """

    model: onnx.ModelProto | None
    removed: tuple[str, ...]
    unknown: tuple[str, ...]
    frontier: tuple[str, ...]


def cut_unknown(model: onnx.ModelProto, operators: Iterable[str], *, foreign: bool = True) -> Cut:
    """Takes out every node of these operator types, and all behind them.

    Args:
        model: Left as it is.
        operators: Operator types.
        foreign: Also those of domains that neither the runtime nor the model knows.
    """
    types = set(operators)
    functions = {(f.domain, f.name) for f in model.functions}
    lost: set[str] = set()
    removed, kept = [], []
    unknown: dict[str, None] = {}
    edge: dict[str, None] = {}
    for node in model.graph.node:
        missing = _is_missing(node, types, functions, foreign)
        if missing:
            unknown[f"{node.domain}:{node.op_type}" if node.domain else node.op_type] = None
        if missing or any(name in lost for name in reads(node)):
            lost.update(name for name in node.output if name)
            removed.append(node)
        else:
            kept.append(node)
    alive = {name for node in kept for name in node.output if name}
    for node in removed:
        edge.update(dict.fromkeys(name for name in reads(node) if name in alive))
    labels = tuple(f"{n.name or ', '.join(n.output)} ({n.op_type})" for n in removed)
    wanted = [v.name for v in model.graph.output if v.name not in lost]
    wanted += [name for name in edge if name not in wanted]
    if not wanted or not removed:
        return Cut(None, labels, tuple(unknown), tuple(edge))
    rest = extract(model, {}, wanted)
    # Inputs stay declared, so that one feed serves the whole model and its part.
    have = {v.name for v in rest.graph.input}
    rest.graph.input.extend(v for v in model.graph.input if v.name not in have)
    return Cut(rest, labels, tuple(unknown), tuple(edge))


def _is_missing(
    node: onnx.NodeProto, types: set[str], functions: set[tuple[str, str]], foreign: bool
) -> bool:
    stack = [node]
    for current in stack:
        local = (current.domain, current.op_type) in functions
        strange = foreign and current.domain not in KNOWN_DOMAINS
        if not local and (current.op_type in types or strange):
            return True
        for attribute in current.attribute:
            for graph in (attribute.g, *attribute.graphs):
                stack.extend(graph.node)
    return False


def _shell(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    import onnx

    piece = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    piece.opset_import.extend(model.opset_import)
    piece.functions.extend(model.functions)
    piece.graph.name = model.graph.name or "piece"
    piece.graph.node.extend(nodes)
    return piece


def _declare_outputs(piece: onnx.ModelProto, model: onnx.ModelProto, names: list[str]) -> None:
    import onnx

    known = {v.name: v for v in model.graph.output}
    for name in names:
        # Without a type the runtime infers it.
        piece.graph.output.append(known.get(name) or onnx.ValueInfoProto(name=name))
