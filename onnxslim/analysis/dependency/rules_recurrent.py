"""Rules of LSTM, GRU and RNN: the hidden units are one group, the same in both directions.

``W`` is (directions, gates*H, I), ``R`` (directions, gates*H, H), ``B`` (directions, 2*gates*H),
``P`` (directions, 3*H); ``Y`` (steps, directions, N, H), states (directions, N, H). With layout 1
batch comes first. Both directions remove the same units, which keeps ``Y`` rectangular.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.builder import Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.graph.edit import attr, get_input


def recurrent(gates: int) -> Callable[[Builder, ir.Node], None]:
    """The rule of an operator with this many gates."""

    def rule(b: Builder, node: ir.Node) -> None:
        x, w, r = (get_input(node, i) for i in range(3))
        data, weight, inner = b.axes(x), b.axes(w), b.axes(r)
        hidden = int(attr(node, "hidden_size", 0))
        if data is None or weight is None or inner is None or len(data) != 3 or not hidden:
            b.fail(node, "its shapes are unknown")
            return
        if not (b.is_constant(w) and b.is_constant(r)):
            b.fail(node, "its weights are computed")
            return
        b.unite(data[2], weight[2], node)
        b.site(node, Role.CONSUME, x, 2)
        b.site(node, Role.CONSUME, w, 2)
        _hidden(b, node, gates, hidden)
        labels = b.axes(r)
        assert labels is not None
        out = labels[2]
        steps, batch = (1, 0) if attr(node, "layout", 0) else (0, 1)
        whole = [data[0], data[1]]
        if attr(node, "layout", 0):
            shapes = ([whole[batch], whole[steps], None, out], [whole[batch], None, out])
        else:
            shapes = ([whole[steps], None, whole[batch], out], [None, whole[batch], out])
        for position, output in enumerate(node.outputs):
            b.set_axes(output, shapes[0] if position == 0 else shapes[1])

    return rule


def _hidden(b: Builder, node: ir.Node, gates: int, hidden: int) -> None:
    r = get_input(node, 2)
    axes = b.axes(r)
    assert axes is not None
    units = axes[2]
    if units is None:
        return
    _tied(b, node, 1, 1, gates, Role.PRODUCE)
    _tied(b, node, 2, 1, gates, Role.PRODUCE)
    b.site(node, Role.CONSUME, r, 2)
    _tied(b, node, 3, 1, 2 * gates, Role.PRODUCE)
    _tied(b, node, 7, 1, 3, Role.PRODUCE)
    for index in (5, 6):
        state = get_input(node, index)
        if state is None:
            continue
        own = b.axes(state)
        if own is not None and own[-1] is not None:
            b.unite(units, own[-1], node)
            if b.is_constant(state):
                b.site(node, Role.SCALE, state, len(own) - 1)
        elif len(units) > 1:
            b.freeze(units, f"an initial state of {node.name or node.op_type} stays whole")


def _tied(b: Builder, node: ir.Node, index: int, axis: int, times: int, role: Role) -> None:
    """An axis that holds the hidden units once per gate."""
    value = get_input(node, index)
    own, units = b.axes(value), (b.axes(get_input(node, 2)) or [None])[-1]
    if own is None or own[axis] is None or units is None:
        return
    b.unite(np.tile(units, times), own[axis], node)
    b.site(node, role, value, axis)


RULES = {"GRU": recurrent(3), "LSTM": recurrent(4), "RNN": recurrent(1)}
