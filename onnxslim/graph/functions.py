"""Model-local functions: named once, not recursive, and of a bearable size when inlined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from onnxslim.graph.messages import refuse, show
from onnxslim.graph.scopes import graphs_of

MOST_NODES = 1_000_000
"""Nodes that a model may have once all functions are inlined."""

_Key = tuple[str, str, str]


def check_functions(model: onnx.ModelProto, label: str) -> None:
    """Check the functions of a model whose domains are already normalised.

    Raises:
        UnsupportedModelError: On a double, recursive or exponentially large function.
    """
    if not model.functions:
        return
    bodies: dict[_Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in bodies:
            raise refuse(label, f"two functions {show(function.name)}", "one of that name")
        if not function.name:
            raise refuse(label, "a function without a name", "every function to have one")
        bodies[key] = function
    calls = {key: _nodes_and_calls(function.node, bodies) for key, function in bodies.items()}
    sizes = _sizes(calls, label)
    own, called = _nodes_and_calls(model.graph.node, bodies)
    total = own + sum(sizes[key] for key in called)
    if total > MOST_NODES:
        raise refuse(
            label, f"{total:.3g} nodes when its functions are inlined", f"at most {MOST_NODES}"
        )


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    pending = [*nodes]
    while pending:
        node = pending.pop()
        yield node
        for graph in graphs_of(node):
            pending.extend(graph.node)


def _nodes_and_calls(
    nodes: Iterable[onnx.NodeProto], functions: dict[_Key, onnx.FunctionProto]
) -> tuple[int, list[_Key]]:
    own, called = 0, []
    for node in _all_nodes(nodes):
        key = (node.domain, node.op_type, node.overload)
        if key in functions:
            called.append(key)
        else:
            own += 1
    return own, called


def _sizes(calls: dict[_Key, tuple[int, list[_Key]]], label: str) -> dict[_Key, int]:
    """Nodes of each function when everything it calls is inlined (depth first, no recursion)."""
    sizes: dict[_Key, int] = {}
    for first in calls:
        path: dict[_Key, None] = {}
        stack = [first]
        while stack:
            key = stack[-1]
            if key in sizes:
                stack.pop()
                continue
            own, called = calls[key]
            waiting = [callee for callee in called if callee not in sizes]
            if not waiting:
                sizes[key] = own + sum(sizes[callee] for callee in called)
                path.pop(key, None)
                stack.pop()
                continue
            path[key] = None
            for callee in waiting:
                if callee in path:
                    raise refuse(label, f"function {show(callee[1])} calls itself", "no recursion")
            stack.append(waiting[0])
    return sizes
