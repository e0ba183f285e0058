"""Recognize the parts of a normalization: an inverse root, a mean of squares, scale and bias."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._pattern import scalar_beside
from onnxslim.pipeline.context import PassContext

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@dataclass
class Root:
    """``numerator / sqrt(mean + epsilon)``."""

    numerator: ir.Value
    mean: ir.Value
    epsilon: float
    nodes: list[ir.Node] = field(default_factory=list)


def read_root(last: ir.Node) -> Root | None:
    """A Div by a Sqrt, or a Mul with the reciprocal of one or with a power of -1/2."""
    if edit.is_op(last, "Div"):
        top, below = last.inputs
        root = _producer(below, last, "Sqrt")
        return None if top is None or root is None else _add_epsilon(root, top, [last, root])
    for index in (0, 1):
        top, factor = last.inputs[index], last.inputs[1 - index]
        found = None if top is None else _inverse(factor, last)
        if top is not None and found is not None:
            root, nodes = found
            return _add_epsilon(root, top, [last, *nodes])
    return None


def _inverse(value: ir.Value | None, last: ir.Node) -> tuple[ir.Node, list[ir.Node]] | None:
    """The Sqrt or Pow under ``1 / sqrt(..)`` or ``(..) ** -0.5``, and the nodes of it."""
    node = _producer(value, last, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Pow":
        return (node, [node]) if scalar_beside(node, 1) == -0.5 else None
    if node.op_type == "Div" and scalar_beside(node, 0) != 1.0:
        return None
    root = _producer(node.inputs[-1], last, "Sqrt")
    return None if root is None else (root, [node, root])


def _add_epsilon(root: ir.Node, top: ir.Value, nodes: list[ir.Node]) -> Root | None:
    add = _producer(root.inputs[0], root, "Add")
    if add is None:
        return None
    for index in (0, 1):
        epsilon, mean = scalar_beside(add, index), add.inputs[1 - index]
        if epsilon is not None and mean is not None and epsilon >= 0:
            return Root(top, mean, epsilon, [*nodes, add])
    return None


def read_square(mean: ir.Node) -> tuple[ir.Value, list[ir.Node]] | None:
    """What a ReduceMean averages the squares of, and the node that squares."""
    node = _producer(mean.inputs[0], mean, "Pow", "Mul")
    base = None if node is None else node.inputs[0]
    if node is None or base is None:
        return None
    squares = scalar_beside(node, 1) == 2.0 if node.op_type == "Pow" else node.inputs[1] is base
    return (base, [node]) if squares else None


def read_mean(value: ir.Value | None, graph: object, opset: int) -> tuple[ir.Node, int] | None:
    """A ReduceMean over the last axes that keeps them: its node and how many axes."""
    node = None if value is None else value.producer()
    if node is None or not edit.is_op(node, "ReduceMean") or node.graph is not graph:
        return None
    if not edit.attr(node, "keepdims", 1):
        return None
    axes = edit.attr(node, "axes") if opset < 18 else edit.ints(edit.get_input(node, 1))
    rank = edit.rank_of(node.inputs[0])
    if not axes or rank is None:
        return None
    axes = sorted(a % rank for a in axes)
    return (node, len(axes)) if axes == list(range(rank - len(axes), rank)) else None


def _producer(value: ir.Value | None, reader: ir.Node, *ops: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    if node is None or not edit.is_op(node, *ops) or node.graph is not reader.graph:
        return None
    return node


@dataclass
class Ending:
    """What follows the division: a Cast back, a scale and a bias, as far as they are there."""

    last: ir.Node
    scale: ir.Value | None = None
    bias: ir.Value | None = None
    nodes: list[ir.Node] = field(default_factory=list)


def read_ending(core: ir.Node, sizes: tuple[int, ...], narrow: ir.DataType | None) -> Ending | None:
    """Follow the only reader of a normalized value through Cast, Mul and Add.

    Args:
        core: The node that divides by the root.
        sizes: Sizes of the normalized axes.
        narrow: The type that must be cast back to first, if any.
    """
    found = Ending(core)
    if narrow is not None:
        cast = edit.sole_consumer(core.outputs[0])
        if cast is None or not edit.is_op(cast, "Cast") or cast.outputs[0].dtype != narrow:
            return None
        _extend(found, cast)
    scale = _vector(found.last, "Mul", sizes)
    if scale is not None:
        found.scale = scale[1]
        _extend(found, scale[0])
        bias = _vector(found.last, "Add", sizes)
        if bias is not None:
            found.bias = bias[1]
            _extend(found, bias[0])
    return found


@dataclass(frozen=True)
class Frame:
    """What is around a normalization.

    Attributes:
        x: What is normalized: in float16 when that is only widened for it.
        sizes: Sizes of the normalized axes.
        ending: What follows the division.
        casts: The Cast that widens.
    """

    x: ir.Value
    sizes: tuple[int, ...]
    ending: Ending
    casts: tuple[ir.Node, ...] = ()


def read_frame(core: ir.Node, x: ir.Value, axes: int) -> Frame | str | None:
    """Cast, scale and bias around the normalization of the last axes of ``x``; or why not.

    Args:
        core: The node that divides by the root.
        x: What is normalized there.
        axes: Over how many axes.
    """
    if x.dtype not in FLOATS:
        return None
    sizes = tuple(d for d in (edit.shape_of(x) or ())[-axes:] if isinstance(d, int))
    if len(sizes) != axes:
        return "the size of a normalized axis is not known"
    cast = x.producer()
    if cast is not None and edit.is_op(cast, "Cast") and cast.graph is core.graph:
        wide = cast.inputs[0]
        if wide is not None and wide.dtype == ir.DataType.FLOAT16:
            ending = read_ending(core, sizes, wide.dtype)
            if ending is not None:
                return Frame(wide, sizes, ending, (cast,))
    ending = read_ending(core, sizes, None)  # no Cast back: the float is normalized
    return None if ending is None else Frame(x, sizes, ending)


def _extend(found: Ending, node: ir.Node) -> None:
    found.nodes.append(node)
    found.last = node


def _vector(node: ir.Node, op: str, sizes: tuple[int, ...]) -> tuple[ir.Node, ir.Value] | None:
    """The only reader when it multiplies or adds a constant of exactly the normalized sizes."""
    value = node.outputs[0]
    reader = edit.sole_consumer(value)
    if reader is None or not edit.is_op(reader, op) or reader.graph is not node.graph:
        return None
    other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
    tensor, rank = edit.constant_tensor(other), edit.rank_of(value)
    if tensor is None or other is None or rank is None or len(tensor.shape) > rank:
        return None
    shape = tuple(tensor.shape.numpy())
    lead = len(shape) - len(sizes)
    if lead < 0 or shape[lead:] != sizes or set(shape[:lead]) - {1}:
        return None
    return reader, other


def as_vector(value: ir.Value | None, frame: Frame, ctx: PassContext) -> ir.Value:
    """The constant in the shape of the normalized axes; ones when there is none."""
    sizes, dtype, graph = frame.sizes, frame.x.dtype, frame.ending.last.graph
    assert graph is not None and dtype is not None
    array = np.ones(sizes, dtype.numpy()) if value is None else edit.constant_array(value)
    assert array is not None
    if value is not None and array.shape == sizes:
        return value
    return ctx.constant(graph, "scale" if value is None else value.name, array.reshape(sizes))
