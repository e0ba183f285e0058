"""Where the sizes that a shape input asks for come from, and whether they can be rewritten.

The size of a pruned axis may stand as a number in the shape of a Reshape or Expand: in a constant,
in a constant piece of a Concat, or as the known result of other shape arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis.shape_context import known_values
from onnxslim.graph.edit import constant_tensor, ints, is_op, static_shape


@dataclass(frozen=True, eq=False)
class Entry:
    """One element of a shape.

    Attributes:
        number: What it is; None where that is not known.
        piece: The input of the Concat in which it is written; None where it is computed.
    """

    number: int | None
    piece: int | None


def shape_entries(value: ir.Value | None) -> list[Entry] | None:
    """The elements of a shape input; None when not even their number is known."""
    if value is None:
        return None
    numbers = ints(value)
    if numbers is not None:
        return [Entry(n, 0) for n in numbers]
    known = known_values(value)
    found = _pieces(value)
    if found is None or known is None or len(known) != len(found):
        return found if known is None else [Entry(_int(k), None) for k in known]
    return [
        Entry(_int(k), None) if e.number is None else e for e, k in zip(found, known, strict=True)
    ]


def _int(element: object) -> int | None:
    return element if isinstance(element, int) else None


def _pieces(value: ir.Value) -> list[Entry] | None:
    producer = value.producer()
    if producer is None or not is_op(producer, "Concat"):
        return None
    found: list[Entry] = []
    for index, piece in enumerate(producer.inputs):
        dims = static_shape(piece)
        if constant_tensor(piece) is not None:
            numbers = ints(piece)
            if numbers is None:
                return None
            found += [Entry(n, index) for n in numbers]
        elif dims is not None and len(dims) == 1:
            found += [Entry(None, None)] * dims[0]
        else:
            return None
    return found
