"""Fold a Pad into the convolution or pooling after it, whose own padding does the same.

    Conv, AveragePool that counts padding:   zeros            pads' = pads + Pad's
    AveragePool that does not, unpadded:     zeros            pads' = Pad's, count_include_pad = 1
    MaxPool:                                 lowest number, or zeros below numbers >= 0
    ConvInteger, QLinearConv:                the zero point of x

Only spatial axes, and nothing that a Pad takes away. A pooling pads by less than its kernel, so
that every window holds a number of x.

Source: ONNX operators Pad-18, Conv-11, AveragePool-19, MaxPool-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_CONVS = {"Conv": None, "ConvInteger": 2, "QLinearConv": 2}
"""Convolutions, and the input that holds the zero point of x."""

_POOLS = ("AveragePool", "MaxPool")


@dataclass(frozen=True)
class _Padding:
    """What a Pad adds: elements before and after per axis, and which number."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    number: float


@register
@dataclass(frozen=True)
class FoldPad(Pass):
    """Fold a Pad into the Conv, AveragePool or MaxPool that reads it.

    Skipped when something else reads the padded tensor too, when the padding is not constant, not
    of the number that the operator pads with, negative, or on batch or channels, when the operator
    derives its padding itself (``SAME_*``), and when a pooling would have a window of padding only.
    """

    name: ClassVar[str] = "fold-pad"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fold every Pad that only such operators read."""
        return sum(_fold(node, ctx) for node in ctx.nodes("Pad"))


def _fold(pad: ir.Node, ctx: PassContext) -> bool:
    x, out = pad.inputs[0], pad.outputs[0]
    readers = [use.node for use in out.uses()]
    padders = [node for node in readers if edit.is_op(node, *_CONVS, *_POOLS)]
    if x is None or not padders:
        return False
    if len(padders) < len(readers) or out.is_graph_output():
        return ctx.skip(pad, "the padded tensor has another reader")
    padding = _read(pad, padders[0], ctx.opset)
    if isinstance(padding, str):
        return ctx.skip(pad, padding)
    plans = []
    for node in padders:
        changes = _plan(node, pad, padding, ctx.opset)
        if isinstance(changes, str):
            return ctx.skip(pad, changes)
        plans.append(changes)
    for node, changes in zip(padders, plans, strict=True):
        kept = {name: item for name, item in node.attributes.items() if name not in changes}
        given = {name: item for name, item in changes.items() if item is not None}
        new = edit.new_node(
            node.op_type, [x, *node.inputs[1:]], {**kept, **given}, num_outputs=len(node.outputs)
        )
        ctx.replace([pad, node], new, list(zip(node.outputs, new.outputs, strict=True)))
    return True


def _read(pad: ir.Node, reader: ir.Node, opset: int) -> _Padding | str:
    """The constant padding on spatial axes, or why there is none."""
    if edit.attr(pad, "mode", "constant") != "constant":
        return "the Pad does not add a constant"
    number: Any = edit.attr(pad, "value", 0.0)
    if opset < 11:
        amounts = edit.attr(pad, "pads", edit.attr(pad, "paddings"))
    else:
        amounts = edit.ints(edit.get_input(pad, 1))
        value = edit.get_input(pad, 2)
        number = 0.0 if value is None else edit.scalar(value)
    if amounts is None or number is None:
        return "the padding is not known"
    before, after = _by_axis(pad, reader, [int(n) for n in amounts])
    if len(before) < 3:
        return "the axes of the padding are not known"
    if before[:2] != (0, 0) or after[:2] != (0, 0):
        return "batch or channels are padded"
    if min(before + after) < 0:
        return "the Pad takes elements away"
    return _Padding(before[2:], after[2:], float(number))


def _by_axis(
    pad: ir.Node, reader: ir.Node, amounts: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Amounts before and after for every axis; empty when the axes are not known."""
    half = len(amounts) // 2
    given = edit.get_input(pad, 3)
    if given is None:
        return tuple(amounts[:half]), tuple(amounts[half:])
    axes = edit.ints(given)
    rank = edit.rank_of(pad.inputs[0]) or edit.rank_of(pad.outputs[0]) or _rank(reader)
    if axes is None or rank is None or len(axes) != half:
        return (), ()
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, amounts[:half], amounts[half:], strict=True):
        before[axis] += first
        after[axis] += last
    return tuple(before), tuple(after)


def _rank(node: ir.Node) -> int | None:
    if edit.is_op(node, "Conv"):
        return edit.rank_of(edit.get_input(node, 1))
    kernel = edit.attr(node, "kernel_shape")
    return None if kernel is None else len(kernel) + 2


def _plan(node: ir.Node, pad: ir.Node, padding: _Padding, opset: int) -> dict[str, Any] | str:
    """Attributes to set (None: to remove), or why the operator cannot pad like this."""
    if node.graph is not pad.graph:
        return "the operator after the Pad is in another scope"
    if [i for i, value in enumerate(node.inputs) if value is pad.outputs[0]] != [0]:
        return "the padded tensor is a weight"
    own = _own_pads(node, len(padding.before))
    if own is None:
        return "the operator after the Pad derives its padding from the shape"
    total = np.add(own, (*padding.before, *padding.after)).tolist()
    changes: dict[str, Any] = {"pads": total, "auto_pad": None}
    if node.op_type in _CONVS:
        return _into_conv(node, padding, changes)
    if edit.attr(node, "ceil_mode", 0) or set(edit.attr(node, "dilations", (1,))) != {1}:
        return "the pooling rounds up or is dilated"
    kernel = list(edit.attr(node, "kernel_shape", ()))
    if len(kernel) * 2 != len(total) or any(p >= k for p, k in zip(total, kernel * 2, strict=True)):
        return "a pooling window would hold nothing but padding"
    if node.op_type == "MaxPool":
        return _into_max_pool(node, pad, padding, changes)
    return _into_average_pool(node, padding, changes, own, opset)


def _own_pads(node: ir.Node, spatial: int) -> list[int] | None:
    """The padding that the operator has already; None when it depends on the shape."""
    mode = edit.attr(node, "auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", ""):
        return None
    zeros = [0] * (2 * spatial)
    pads = zeros if mode == "VALID" else list(edit.attr(node, "pads", zeros))
    return pads if len(pads) == len(zeros) else None


def _into_conv(node: ir.Node, padding: _Padding, changes: dict[str, Any]) -> dict[str, Any] | str:
    index = _CONVS[node.op_type]
    given = None if index is None else edit.get_input(node, index)
    zero = 0.0 if given is None else edit.scalar(given)
    return changes if zero == padding.number else "the convolution pads with another number"


def _into_average_pool(
    node: ir.Node, padding: _Padding, changes: dict[str, Any], own: Sequence[int], opset: int
) -> dict[str, Any] | str:
    if padding.number != 0:
        return "the average would not be over zeros"
    if opset < 7:
        return "AveragePool does not count padding before opset 7"
    if any(own) and not edit.attr(node, "count_include_pad", 0):
        return "the pooling leaves its own padding out of the average"
    return {**changes, "count_include_pad": 1}


def _into_max_pool(
    node: ir.Node, pad: ir.Node, padding: _Padding, changes: dict[str, Any]
) -> dict[str, Any] | str:
    if any(value.name or value.uses() for value in node.outputs[1:]):
        return "the indices of a MaxPool count the padding"
    if padding.number == 0 and _is_nonnegative(pad.inputs[0]):
        return changes
    dtype = None if pad.inputs[0] is None else pad.inputs[0].dtype
    if dtype is None or padding.number != _lowest(dtype):
        return "a MaxPool pads with the lowest number"
    return changes


def _lowest(dtype: ir.DataType) -> float:
    return float(dtype.min) if dtype.is_integer() else -np.inf


def _is_nonnegative(value: ir.Value | None) -> bool:
    """True when no element can be below zero, by the operator that computes it."""
    node = None if value is None else value.producer()
    if edit.is_op(node, "Clip"):
        assert node is not None
        low = edit.scalar(edit.get_input(node, 1)) if len(node.inputs) > 1 else None
        low = edit.attr(node, "min") if low is None else low
        return low is not None and low >= 0
    return edit.is_op(node, "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs")
