"""What passes ask about shapes: provably equal shapes, broadcasts that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.analysis.shapes import infer_node
from onnxslim.analysis.values import VALUES
from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """True when two values certainly have the same dimensions in every run."""
    left, right = edit.shape_of(a), edit.shape_of(b)
    return left is not None and right is not None and same_dims(left, right)


def same_dims(left: Sequence[int | ir.SymbolicDim], right: Sequence[int | ir.SymbolicDim]) -> bool:
    """True when two lists of dimensions are certainly equal in every run."""
    return len(left) == len(right) and all(map(dims.known_equal, left, right))


def broadcast_keeps(x: ir.Value, shape: Sequence[int]) -> bool:
    """True when broadcasting a constant of ``shape`` against ``x`` certainly keeps x's shape.

    A symbolic dimension may be 1 at run time: there a constant of any other size would enlarge it.
    """
    if not shape:
        return True
    own = edit.shape_of(x)
    if own is None or len(shape) > len(own):
        return False
    aligned = own[len(own) - len(shape) :]
    return all(
        c == 1 or (isinstance(d, int) and c == d) for c, d in zip(shape, aligned, strict=True)
    )


def is_filled_with(array: np.ndarray, number: float) -> bool:
    """True when every element equals ``number`` (and there is at least one)."""
    return array.size > 0 and array.dtype.kind != "O" and bool((array == number).all())


def tensor_bytes(value: ir.Value) -> int | None:
    """Size of a value in bytes from its inferred type and shape; None when not known."""
    shape = edit.static_shape(value)
    if shape is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return None
    count = 1
    for size in shape:
        count *= size
    return -(-count * value.dtype.bitwidth // 8)


def refresh(nodes: Iterable[ir.Node]) -> None:
    """Infer nodes again, and their readers as long as something new comes out."""
    waiting = list(dict.fromkeys(nodes))
    while waiting:
        node = waiting.pop()
        before = _outcome(node)
        infer_node(node)
        if _outcome(node) != before:
            waiting.extend(node.successors())


def _outcome(node: ir.Node) -> list[tuple[object, ...]]:
    return [(v.dtype, edit.shape_of(v), v.meta.get(VALUES)) for v in node.outputs]


def drop_unread(nodes: Iterable[ir.Node], ctx: PassContext) -> None:
    """Remove those nodes that nothing reads any more, then what only they read."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.graph is None or any(map(edit.use_count, node.outputs)):
            continue
        waiting.extend(node.predecessors())
        ctx.remove(node)
