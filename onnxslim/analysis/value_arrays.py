"""Contents of small integer tensors as object arrays, and how rules read and write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shape_context import VALUES, NodeContext, element_count, known_values

Array = np.ndarray[Any, np.dtype[np.object_]]

_LIMITS = {
    ir.DataType.INT64: (-(2**63), 2**63 - 1),
    ir.DataType.INT32: (-(2**31), 2**31 - 1),
    ir.DataType.BOOL: (0, 1),
}


def note(out: ir.Value, found: Array) -> None:
    """Keep content that fits the output's type and size and of which something is known."""
    if out.dtype not in _LIMITS or element_count(out) != found.size:
        return
    low, high = _LIMITS[out.dtype]
    elements = found.reshape(-1).tolist()
    kept = tuple(e if not isinstance(e, int) or low <= e <= high else None for e in elements)
    if not kept or any(e is not None for e in kept):
        out.meta[VALUES] = kept


def array_of(elements: Any, shape: tuple[int, ...]) -> Array:
    flat = np.empty(len(elements), dtype=object)
    flat[:] = elements
    return flat.reshape(shape)


def _content(value: ir.Value | None, elements: Any) -> Array | None:
    if value is None or elements is None or value.shape is None:
        return None
    shape = tuple(d for d in value.shape if isinstance(d, int))
    if len(shape) != len(value.shape) or math.prod(shape) != len(elements):
        return None
    return array_of(elements, shape)


def known(ctx: NodeContext, index: int = 0) -> Array | None:
    """Content of an input of which something is known."""
    value = ctx.value(index)
    return _content(value, known_values(value))


def anything(ctx: NodeContext, index: int) -> Array | None:
    """Content of an input, all None when nothing is known but its shape."""
    return _content(ctx.value(index), ctx.elements(index))


def element_wise(function: Callable[..., Any], *arrays: Array) -> Array | None:
    """Element by element over broadcast arrays."""
    try:
        parts = np.broadcast_arrays(*arrays)
    except ValueError:
        return None
    flat = (part.reshape(-1) for part in parts)
    return array_of([function(*items) for items in zip(*flat, strict=True)], parts[0].shape)
