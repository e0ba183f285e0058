"""Which nodes of a model the nodes that ONNX Runtime really runs come from.

ONNX Runtime merges and replaces nodes, but results that it keeps keep their names, and a node in
its own memory layout is called after the tensor that it stands for. A node that it runs therefore
stands for every node of the model between the tensors it still has and the tensor that it computes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis.cost import node_macs
from onnxslim.analysis.layers import layer_name
from onnxslim.graph.edit import is_op, op_id
from onnxslim.runtime.profile import Profile, RunNode

_FOLLOWERS = frozenset(
    ("Add", "BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Sum",
     "Tanh")
)  # fmt: skip
_LEADERS = frozenset(
    ("AveragePool", "Conv", "FusedConv", "FusedGemm", "Gemm", "GlobalAveragePool", "MatMul",
     "MaxPool")
)  # fmt: skip
_SUFFIX = re.compile(r"(_nchwc|_quant|_token_\d+)+$")


@dataclass(frozen=True)
class LayerTime:
    """The time of one node of the model, with what was merged into it.

    Args:
        name: Of the node with the multiply-accumulates, else of the one whose result was computed.
        op: Its operator.
        ms: Milliseconds in a run.
        sources: Names of all nodes of the model that this time is for.
        executed: ``(name, operator, milliseconds)`` of what ran, changes of layout included.
    """

    name: str
    op: str
    ms: float
    sources: tuple[str, ...]
    executed: tuple[tuple[str, str, float], ...]


def attribute(model: ir.Model, profile: Profile) -> list[LayerTime]:
    """Times by node of the main graph, in the order they ran; what has no origin stands for itself.

    Args:
        model: The model that was run, as given.
        profile: What ran.
    """
    run = {node.name: node for node in profile.nodes}
    anchors = origins(model, profile.nodes)
    kept = {value for values in anchors.values() for value in values}
    groups: dict[str, list[tuple[str, str, float]]] = {}
    heads: dict[str, ir.Value] = {}
    for time in profile.times:
        if time.depth:
            continue
        values = anchors.get(time.name, ())
        key = layer_name(_producer(values[0])) if values else time.name
        if values:
            heads.setdefault(key, values[0])
        op = run[time.name].op if time.name in run else time.op
        groups.setdefault(key, []).append((time.name, op, time.ms))
    members = {key: _between(head, kept) for key, head in heads.items()}
    _hand_back(members, heads, groups)
    found = []
    for key, executed in groups.items():
        total = sum(ms for _, _, ms in executed)
        head = heads.get(key)
        if head is None:
            found.append(LayerTime(key, executed[0][1], total, (), tuple(executed)))
            continue
        merged = members[key]
        heavy = [node for node in merged if node_macs(node) != 0]
        main = heavy[0] if len(heavy) == 1 else _producer(head)
        names = tuple(layer_name(node) for node in merged)
        found.append(LayerTime(layer_name(main), op_id(main), total, names, tuple(executed)))
    return found


def _hand_back(
    members: dict[str, list[ir.Node]],
    heads: Mapping[str, ir.Value],
    groups: Mapping[str, Sequence[tuple[str, str, float]]],
) -> None:
    """Give what a kernel cannot have done itself to the kernel before it.

    A node whose result several kernels read was computed once, before them; and kernels of
    convolutions, products and pools take over what follows them (an Add, an activation), never what
    comes before.
    """
    readers: dict[ir.Node, list[str]] = {}
    for key, nodes in members.items():
        for node in nodes:
            readers.setdefault(node, []).append(key)
    home = {_producer(head): key for key, head in heads.items()}
    turn = {key: index for index, key in enumerate(groups)}
    for node, keys in sorted(readers.items(), key=lambda item: min(turn[k] for k in item[1])):
        kernels = {op.split(":")[-1] for key in keys for _, op, _ in groups[key]}
        late = node.op_type in _FOLLOWERS and bool(kernels & _LEADERS)
        if node in home or not (len(keys) > 1 or late):
            continue
        makers = [v.producer() for v in node.inputs if v is not None]
        before = [home[m] for m in makers if m is not None and m in home]
        if before:
            owner = max(before, key=turn.__getitem__)
            for key in keys:
                members[key] = [n for n in members[key] if n is not node]
            members[owner].append(node)
            home[node] = owner


def origins(model: ir.Model, nodes: Sequence[RunNode]) -> dict[str, tuple[ir.Value, ...]]:
    """For each node that runs, the values of the model that it computes.

    A node that only changes a memory layout or type counts for what it reads or hands on.
    """
    values = {v.name: v for node in model.graph for v in node.outputs if v.name}
    named = {n.name: n.outputs for n in model.graph if n.name}
    made: dict[str, ir.Value] = {}
    found: dict[str, tuple[ir.Value, ...]] = {}
    waiting: list[RunNode] = []
    for node in nodes:
        own = tuple(values[name] for name in node.outputs if name in values)
        own = own or _by_name(node.name, values, named)
        if not own:
            own = tuple(made[name] for name in node.inputs[:1] if name in made)
        if own:
            found[node.name] = own
            made.update(dict.fromkeys((o for o in node.outputs if o), own[0]))
        else:
            waiting.append(node)
    readers = {name: node.name for node in reversed(nodes) for name in node.inputs}
    for node in reversed(waiting):
        reader = next((readers[o] for o in node.outputs if o in readers), None)
        if reader in found:
            found[node.name] = found[reader]
    return found


def _by_name(
    name: str, values: dict[str, ir.Value], named: dict[str, Sequence[ir.Value]]
) -> tuple[ir.Value, ...]:
    for stem in (name, _SUFFIX.sub("", name)):
        if stem in values:
            return (values[stem],)
        if stem in named:
            return tuple(v for v in named[stem] if v.name)[:1]
    return ()


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None  # values come from nodes only
    return node


def _between(head: ir.Value, kept: set[ir.Value]) -> list[ir.Node]:
    """Nodes behind ``head`` back to values that are still computed, in graph order."""
    seen: dict[ir.Node, None] = {}
    stack = [_producer(head)]
    while stack:
        node = stack.pop()
        if node in seen or is_op(node, "Constant"):
            continue
        seen[node] = None
        for value in node.inputs:
            maker = None if value is None or value in kept else value.producer()
            if maker is not None:
                stack.append(maker)
    return list(reversed(seen))
