"""Where the sizes that a shape input asks for are written down.

The size of a pruned axis may stand as a number in the shape of a Reshape or Expand. It can be
rewritten when the shape is a constant, or a Concat with constant pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor, ints, is_op, static_shape


@dataclass(frozen=True, eq=False)
class Entry:
    """One element of a shape.

    Attributes:
        number: What it says; None where it is computed.
        piece: Which input of the Concat it stands in (0 for a constant).
        offset: Where in that piece.
    """

    number: int | None
    piece: int
    offset: int


def shape_entries(value: ir.Value | None) -> list[Entry] | None:
    """The elements of a shape input; None when it cannot be taken apart."""
    if value is None:
        return None
    numbers = ints(value)
    if numbers is not None:
        return [Entry(n, 0, i) for i, n in enumerate(numbers)]
    producer = value.producer()
    if producer is None or not is_op(producer, "Concat"):
        return None
    found: list[Entry] = []
    for index, piece in enumerate(producer.inputs):
        entries = _piece(piece, index)
        if entries is None:
            return None
        found += entries
    return found


def _piece(piece: ir.Value | None, index: int) -> list[Entry] | None:
    if constant_tensor(piece) is not None:
        numbers = ints(piece)
        return None if numbers is None else [Entry(n, index, i) for i, n in enumerate(numbers)]
    dims = static_shape(piece)
    if dims is None or len(dims) != 1:
        return None
    return [Entry(None, index, i) for i in range(dims[0])]
