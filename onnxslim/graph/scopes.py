"""Names in a model: every one defined once, before it is read, and seen by who reads it.

onnx_ir reads a graph that breaks these rules and gives it another meaning, so they are checked
on the protobuf. Two repairs are made: nodes that are out of order are sorted, and a name of a
subgraph that hides one of an outer graph is replaced by a new one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass

import onnx

from onnxslim.graph.messages import describe, refuse, show

DEEPEST = 30
"""Graphs nested deeper than this are refused: protobuf ends at 100 messages, 3 for each."""

_INPUT = -1
_BODIES = {
    "If": ("then_branch", "else_branch"),
    "Loop": ("body",),
    "Scan": ("body",),
    "SequenceMap": ("body",),
}


def check_names(model: onnx.ModelProto, label: str) -> bool:
    """Check the names of all graphs and functions; sort and rename where that repairs them.

    Returns:
        Whether something had to be sorted or renamed.

    Raises:
        UnsupportedModelError: On a name that is missing, double, undefined or circular.
    """
    checker = _Checker(model)
    checker.body(_graph_body(model.graph, f"{label}: graph"), [])
    for function in model.functions:
        where = f"{label}: function {show(function.name)}"
        for names in (function.input, function.output):
            _once(names, where, "function input or output")
        checker.body(_Body(where, function.node, list(function.input), [], function.output), [])
    return checker.is_repaired


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes, in order."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


@dataclass(frozen=True)
class _Body:
    """What a GraphProto and a FunctionProto have in common."""

    where: str
    nodes: MutableSequence[onnx.NodeProto]
    inputs: list[str]
    initializers: list[str]
    outputs: Sequence[str]
    graph: onnx.GraphProto | None = None


def _graph_body(graph: onnx.GraphProto, where: str) -> _Body:
    inputs = [info.name for info in graph.input]
    initializers = [tensor.name for tensor in _tensors(graph)]
    outputs = [info.name for info in graph.output]
    return _Body(where, graph.node, inputs, initializers, outputs, graph)


def _once(names: Iterable[str], where: str, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name or not isinstance(name, str):
            raise refuse(where, f"{what} named {show(name)}", "a name in UTF-8")
        if name in seen:
            raise refuse(where, f"two {what}s named {show(name)}", "every name once")
        seen.add(name)


class _Checker:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.is_repaired = False
        self._used: set[str] | None = None

    def body(self, body: _Body, outer: list[dict[str, int]]) -> dict[str, None]:
        """Check one graph or function; the names it reads from outside."""
        if len(outer) > DEEPEST:
            raise refuse(body.where, f"more than {DEEPEST} nested graphs", "fewer")
        if outer and body.graph is not None:
            body = self._unhide(body, outer)
        defined = _definitions(body)
        captured: dict[str, None] = {}
        needs: list[list[int]] = []
        in_order = True
        for index, node in enumerate(body.nodes):
            sources: list[int] = []
            for name in self._reads(node, body, [*outer, defined]):
                source = defined.get(name)
                if source is None:
                    self._seen_outside(name, node, body, outer)
                    captured[name] = None
                elif source != _INPUT:
                    sources.append(source)
                    in_order = in_order and source < index
            needs.append(sources)
        if not in_order:
            _sort(body, needs)
            self.is_repaired = True
        for name in body.outputs:
            if name not in defined:
                raise refuse(
                    body.where, f"output {show(name)} that nothing in it computes", "its producer"
                )
        return captured

    def _reads(
        self, node: onnx.NodeProto, body: _Body, scopes: list[dict[str, int]]
    ) -> Iterator[str]:
        for name in node.input:
            if name:
                yield name
        _check_bodies(node, body.where)
        for graph in graphs_of(node):
            where = f"{body.where}, {describe(node)}"
            inner = _graph_body(graph, where if len(where) < 200 else body.where)
            yield from self.body(inner, scopes)

    @staticmethod
    def _seen_outside(
        name: str, node: onnx.NodeProto, body: _Body, outer: list[dict[str, int]]
    ) -> None:
        if not isinstance(name, str):
            raise refuse(body.where, f"a name that is not UTF-8: {show(name)}", "UTF-8")
        if not any(name in scope for scope in outer):
            raise refuse(
                body.where,
                f"{describe(node)} reads {show(name)}, which is not defined",
                "an input, an initializer or the output of a node",
            )

    # -- names that hide others

    def _unhide(self, body: _Body, outer: list[dict[str, int]]) -> _Body:
        own = [*body.inputs, *body.initializers]
        own += [name for node in body.nodes for name in node.output if name]
        hiding = [name for name in dict.fromkeys(own) if any(name in scope for scope in outer)]
        if not hiding or body.graph is None:
            return body
        self.is_repaired = True
        _rename(body.graph, {name: self._fresh(name) for name in hiding}, body.where)
        return _graph_body(body.graph, body.where)

    def _fresh(self, name: str) -> str:
        if self._used is None:
            self._used = set(_all_names(self._model))
        number = 1
        while f"{name}_{number}" in self._used:
            number += 1
        self._used.add(f"{name}_{number}")
        return f"{name}_{number}"


def _definitions(body: _Body) -> dict[str, int]:
    where = body.where
    _once(body.inputs, where, "input")
    _once(body.initializers, where, "initializer")
    defined = dict.fromkeys((*body.inputs, *body.initializers), _INPUT)
    for index, node in enumerate(body.nodes):
        for name in node.output:
            if not isinstance(name, str):
                raise refuse(where, f"a name that is not UTF-8: {show(name)}", "UTF-8")
            if name in defined:
                first = "an input or initializer" if defined[name] == _INPUT else "another node"
                raise refuse(
                    where,
                    f"{describe(node)} writes {show(name)}, the name of {first}",
                    "every name to be written once",
                )
            if name:
                defined[name] = index
    return defined


def _check_bodies(node: onnx.NodeProto, where: str) -> None:
    wanted = _BODIES.get(node.op_type)
    if wanted is None or node.domain not in ("", "ai.onnx"):
        return
    present = [a.name for a in node.attribute if a.HasField("g") or a.ref_attr_name]
    for name in wanted:
        if name not in present:
            raise refuse(where, f"{describe(node)} without a graph {name}", "one")


def _sort(body: _Body, needs: list[list[int]]) -> None:
    """Put the nodes in topological order, otherwise as they were."""
    users: list[list[int]] = [[] for _ in needs]
    missing = [len(sources) for sources in needs]
    for index, sources in enumerate(needs):
        for source in sources:
            users[source].append(index)
    ready = [index for index, count in enumerate(missing) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users[index]:
            missing[user] -= 1
            if missing[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < len(needs):
        stuck = body.nodes[next(i for i, count in enumerate(missing) if count)]
        raise refuse(
            body.where,
            f"{describe(stuck)} in or after a cycle",
            "a graph without cycles",
        )
    nodes = list(body.nodes)
    del body.nodes[:]
    body.nodes.extend(nodes[index] for index in order)


def _rename(graph: onnx.GraphProto, new: dict[str, str], where: str) -> None:
    """Rename what ``graph`` itself defines; a reader before the definition means the outer one."""
    named = (*graph.input, *_tensors(graph))
    known = {info.name: new[info.name] for info in named if info.name in new}
    for node in graph.node:
        _replace(node.input, known)
        for inner in graphs_of(node):
            _rename_reads(inner, known, where)
        known.update((name, new[name]) for name in node.output if name in new)
        _replace(node.output, new)
    for info in (*named, *graph.output, *graph.value_info):
        info.name = new.get(info.name, info.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = new.get(annotation.tensor_name, annotation.tensor_name)
        for entry in annotation.quant_parameter_tensor_names:
            entry.value = new.get(entry.value, entry.value)


def _rename_reads(graph: onnx.GraphProto, new: dict[str, str], where: str) -> None:
    for name in _defined_names(graph):
        if name in new:
            raise refuse(
                where, f"the name {show(name)} three times in nested graphs", "different names"
            )
    for node in graph.node:
        _replace(node.input, new)
        for inner in graphs_of(node):
            _rename_reads(inner, new, where)


def _replace(names: MutableSequence[str], new: dict[str, str]) -> None:
    for index, name in enumerate(names):
        if name in new:
            names[index] = new[name]


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]


def _defined_names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (info.name for info in graph.input)
    yield from (tensor.name for tensor in _tensors(graph))
    for node in graph.node:
        yield from node.output


def _all_names(model: onnx.ModelProto) -> Iterator[str]:
    """Every name that some graph or function of the model defines or reads."""
    pending = [model.graph]
    nodes: list[onnx.NodeProto] = []
    for function in model.functions:
        yield from (*function.input, *function.output)
        nodes.extend(function.node)
    while pending or nodes:
        if pending:
            graph = pending.pop()
            yield from _defined_names(graph)
            nodes.extend(graph.node)
        else:
            node = nodes.pop()
            yield from (*node.input, *node.output)
            pending.extend(graphs_of(node))
