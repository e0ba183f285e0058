"""Structural verification: is this still a well-formed ONNX model?

Checked after every pass that changed something: names are unique and defined before use (SSA,
scoping, topological order), the use-def chains agree with the graphs, operators exist in the
opset imported, with the right number of inputs and outputs, their required attributes and types
that the operator's schema allows, and the interface of the main graph is what was loaded.

All of it is linear in the number of nodes and needs no runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.schema import STANDARD_DOMAINS, Schema, get_schema
from onnxslim.graph.signature import SIGNATURE, Signature, signature


def verify_structure(model: ir.Model, *, limit: int = 20) -> list[str]:
    """Everything that is wrong with a model, in graph order; empty when it is well-formed.

    Args:
        model: The model; functions that it still has are checked as scopes of their own.
        limit: Stop after this many problems.
    """
    found: list[str] = []
    for problem in _problems(model):
        found.append(problem)
        if len(found) >= limit:
            break
    return found


def _problems(model: ir.Model) -> Iterator[str]:
    checker = _Checker(model)
    yield from checker.interface()
    yield from checker.graph(model.graph, set(), frozenset())
    for function in model.functions.values():
        yield from checker.function(function)


class _Checker:
    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.opsets = dict(model.graph.opset_imports)
        self.functions = set(model.functions)

    def interface(self) -> Iterator[str]:
        """The main graph's inputs and outputs: named, unique, those that were loaded."""
        graph = self.model.graph
        for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
            seen: set[str] = set()
            for value in values:
                if not value.name:
                    yield f"a graph {kind} has no name"
                elif value.name in seen:
                    yield f"graph {kind} {value.name!r} is listed twice"
                seen.add(value.name or "")
        if SIGNATURE in graph.meta:
            promised = signature(self.model)
            yield from _differing("input", promised.input_names, _fed(graph, promised))
            yield from _differing("output", promised.output_names, [v.name for v in graph.outputs])

    def function(self, function: ir.Function) -> Iterator[str]:
        outer, self.opsets = self.opsets, {**self.opsets, **function.opset_imports}
        yield from self.graph(function.graph, set(), frozenset())
        self.opsets = outer

    def graph(
        self, graph: ir.Graph, visible: set[ir.Value], names: frozenset[str]
    ) -> Iterator[str]:
        """One scope and those inside it; ``visible`` are the outer values defined so far."""
        own: set[ir.Value] = set(graph.inputs)
        taken = {v.name for v in graph.inputs if v.name}
        for name, value in graph.initializers.items():
            if value.name != name:
                yield f"initializer {value.name!r} is registered as {name!r}"
            own.add(value)
            taken.add(name)
        for node in graph:
            if any(v is not None and v not in own and v not in visible for v in node.inputs):
                yield from self._inputs(node, own, visible)
            yield from self._outputs(node, taken, names)
            for inner in edit.subgraphs(node):
                yield from self.graph(inner, own | visible, names | frozenset(taken))
            own.update(node.outputs)
            yield from self._operator(node)
        for value in graph.outputs:
            if value not in own and value not in visible:
                yield f"graph output {value.name!r} is written by no node of its graph"

    def _inputs(self, node: ir.Node, own: set[ir.Value], visible: set[ir.Value]) -> Iterator[str]:
        for value in node.inputs:
            if value is None or value in own or value in visible:
                continue
            producer = value.producer()
            if producer is not None and producer.graph is node.graph:
                yield f"{_label(node)} reads {value.name!r} before it is written"
            else:
                yield f"{_label(node)} reads {value.name!r}, which nothing in scope defines"

    @staticmethod
    def _outputs(node: ir.Node, taken: set[str], outer: frozenset[str]) -> Iterator[str]:
        for value in node.outputs:
            if not value.name:
                if value.uses():
                    yield f"{_label(node)} has a used output without a name"
                continue
            if value.name in taken or value.name in outer:
                yield f"{_label(node)} writes {value.name!r}, a name that is already taken"
            taken.add(value.name)

    def _operator(self, node: ir.Node) -> Iterator[str]:
        if self.functions and node.op_identifier() in self.functions:
            return
        version = self.opsets.get(node.domain)
        if version is None:
            domain = node.domain or "ai.onnx"
            yield f"{_label(node)} is of domain {domain!r}, which the model does not import"
            return
        schema = get_schema(node.domain, node.op_type, version)
        if schema is None:
            if node.domain in STANDARD_DOMAINS:
                where = f"opset {version} of domain {node.domain or 'ai.onnx'!r}"
                yield f"{_label(node)}: there is no operator {node.op_type} in {where}"
            return
        yield from _arity(node, schema)
        names = node.attributes.data.keys()
        if not schema.attributes.issuperset(names) or not names >= schema.required:
            yield from _attributes(node, schema)
        kinds = tuple(map(_type_text, node.inputs))
        if not _fits(schema, kinds):
            yield from _types(node, schema)


def _fed(graph: ir.Graph, promised: Signature) -> list[str | None]:
    """Inputs without those that an IR version below 4 lists for initializers."""
    listed = {port.name for port in promised.listed} - set(promised.input_names)
    return [value.name for value in graph.inputs if value.name not in listed]


def _differing(kind: str, promised: Sequence[str], found: Sequence[str | None]) -> Iterator[str]:
    if list(promised) != list(found):
        yield f"the graph {kind}s are {list(found)}, but were {list(promised)}"


def _label(node: ir.Node) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type} node"


def _arity(node: ir.Node, schema: Schema) -> Iterator[str]:
    given = len(node.inputs)
    while given and node.inputs[given - 1] is None:
        given -= 1
    if not schema.min_inputs <= len(node.inputs) or given > schema.max_inputs:
        expected = f"{schema.min_inputs} to {schema.max_inputs}"
        yield f"{_label(node)} has {len(node.inputs)} inputs, expected {expected}"
    if not schema.min_outputs <= len(node.outputs) <= schema.max_outputs:
        expected = f"{schema.min_outputs} to {schema.max_outputs}"
        yield f"{_label(node)} has {len(node.outputs)} outputs, expected {expected}"


def _attributes(node: ir.Node, schema: Schema) -> Iterator[str]:
    for name in schema.required:
        if name not in node.attributes:
            yield f"{_label(node)} lacks its attribute {name!r}"
    for name in node.attributes:
        if name not in schema.attributes:
            yield f"{_label(node)} has an attribute {name!r} that its operator does not have"


@lru_cache(maxsize=4096)
def _fits(schema: Schema, kinds: tuple[str | None, ...]) -> bool:
    """Whether inputs of these types are what the schema takes: the same few come all the time."""
    return next(_misfits(schema, kinds), None) is None


def _types(node: ir.Node, schema: Schema) -> Iterator[str]:
    """Inputs whose type the schema excludes, or which differ where one type letter binds them."""
    for problem in _misfits(schema, tuple(map(_type_text, node.inputs))):
        yield f"{_label(node)}: {problem}"


def _misfits(schema: Schema, kinds: Sequence[str | None]) -> Iterator[str]:
    bound: dict[str, str] = {}
    allowed = dict(schema.constraints)
    for index, text in enumerate(kinds):
        kind = schema.input_type(index)
        if kind is None or text is None:
            continue
        if kind in allowed:
            if text not in allowed[kind]:
                yield f"input {index} is {text}, which the operator does not take"
            heterogeneous = schema.variadic_input and not schema.homogeneous
            if heterogeneous and index >= len(schema.input_types) - 1:
                continue
            if bound.setdefault(kind, text) != text:
                yield f"input {index} is {text}, another input {bound[kind]}"
        elif text != kind:
            yield f"input {index} is {text}, expected {kind}"


def _type_text(value: ir.Value | None) -> str | None:
    """``tensor(float)`` as schemas spell types; None when unknown or not a plain tensor."""
    if value is None:
        return None
    kind = value.type
    return _SPELLING[kind.dtype] if isinstance(kind, ir.TensorType) else None


_IRREGULAR = {"FLOAT": "tensor(float)", "DOUBLE": "tensor(double)", "UNDEFINED": None}
_SPELLING: Mapping[ir.DataType, str | None] = {
    kind: _IRREGULAR.get(kind.name, f"tensor({kind.name.lower()})") for kind in ir.DataType
}
