"""How two constants differ: by how much, or which part of the one the other is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.report.diff.flow import Const

_CHUNK = 1 << 22
_SHOWN = 8
_LARGEST = 1 << 26
"""Elements of the largest constant that is looked at element by element for being a part."""


def describe(const: Const) -> dict[str, Any]:
    """Name, type, dimensions, and the elements when they are few."""
    found: dict[str, Any] = {
        "name": const.name,
        "dtype": const.dtype,
        "shape": [int(d) for d in const.shape],
    }
    if const.size <= _SHOWN:
        found["value"] = plain(const)
    elif const.tensor.dtype != ir.DataType.STRING and const.size <= _LARGEST:
        flat = const.array().reshape(-1)
        if flat[0] == flat[-1] and bool((flat == flat[0]).all()):
            found["fill"] = _jsonable(flat[0].item())
    return found


def plain(const: Const) -> Any:
    """The elements as nested lists for JSON; what JSON has no number for as text."""
    array = const.array()
    kind = array.dtype.kind
    if kind in "biu" or (kind == "f" and np.isfinite(array).all()):
        return array.tolist()
    return _jsonable(array.tolist())


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def is_close(a: Const, b: Const, atol: float, rtol: float) -> bool:
    """Same type and shape, and every element within ``atol + rtol * |a|``; NaN equals NaN."""
    if a.dtype != b.dtype or a.shape != b.shape or a.tensor.dtype == ir.DataType.STRING:
        return False
    x, y = a.array(), b.array()
    x, y = (_wide(x), _wide(y)) if x.size <= _LARGEST else (x, y)
    return bool(np.allclose(y, x, rtol=rtol, atol=atol, equal_nan=True))


def _wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "c" else array.astype(np.float64)


def compare(a: Const, b: Const) -> dict[str, Any]:
    """Facts about how ``b`` differs from ``a``; the keys depend on what they have in common.

    ``differing``, ``max_abs``, ``rel_l2`` (of the difference, to the norm of ``a``), ``sparsity``
    (part of zeros before and after) for equal shapes; ``sliced``: kept indices per axis; else
    ``transposed`` or ``reshaped`` where the elements are the same.
    """
    strings = ir.DataType.STRING in (a.tensor.dtype, b.tensor.dtype)
    if strings or not a.size or not b.size:
        return {}
    if a.shape == b.shape:
        return _elementwise(a.array(), b.array())
    if a.dtype != b.dtype or max(a.size, b.size) > _LARGEST:
        return {}
    x, y = a.array(), b.array()
    if a.size == b.size:
        if x.ndim == y.ndim and x.ndim > 1 and x.shape[::-1] == y.shape:
            if _same(x.T, y):
                return {"transposed": True}
        return {"reshaped": True} if _same(x.reshape(-1), y.reshape(-1)) else {}
    if x.ndim != y.ndim:
        return {}
    if a.size > b.size:
        kept = sliced(x, y)
        return {} if kept is None else {"sliced": {str(k): v for k, v in kept.items()}}
    kept = sliced(y, x)
    return {} if kept is None else {"extended": {str(k): v for k, v in kept.items()}}


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    return np.ascontiguousarray(x).tobytes() == np.ascontiguousarray(y).tobytes()


def _elementwise(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Sums over pieces, so that nothing as large as the weights is made."""
    x, y = x.reshape(-1), y.reshape(-1)
    differing = zeros_x = zeros_y = 0
    largest = squares = norm = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, x.size, _CHUNK):
            p, q = (_wide(v[start : start + _CHUNK]) for v in (x, y))
            gap = np.abs(q - p)
            top = float(gap.max())
            if top != top:  # something is not finite
                gap[(p == q) | ((p != p) & (q != q))] = 0
                top = float(np.nanmax(gap, initial=0.0))
            differing += int(np.count_nonzero(gap))
            largest = max(largest, top)
            squares += float((gap * gap).sum())
            norm += float((np.abs(p) ** 2).sum())
            zeros_x += int(p.size - np.count_nonzero(p))
            zeros_y += int(q.size - np.count_nonzero(q))
        relative = math.sqrt(squares / norm) if norm else None
    return {
        "differing": differing,
        "elements": int(x.size),
        "max_abs": _finite(largest),
        "rel_l2": None if relative is None else _finite(relative),
        "sparsity": [zeros_x / x.size, zeros_y / y.size],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def sliced(whole: np.ndarray, part: np.ndarray) -> dict[int, list[int]] | None:
    """Indices along each axis that make ``part`` out of ``whole``; None when none do.

    Pieces over the axes that stay whole are compared as bytes: a piece that occurs once in
    ``whole`` says where an index of ``part`` comes from.

    Args:
        whole: Any array.
        part: Of the same rank, nowhere larger.
    """
    axes = [i for i in range(whole.ndim) if part.shape[i] != whole.shape[i]]
    if not axes or any(p > w for p, w in zip(part.shape, whole.shape, strict=True)):
        return None
    ids, spots = _unique(_pieces(whole, axes))
    wanted = _pieces(part, axes)
    at = np.minimum(np.searchsorted(ids, wanted), max(len(ids) - 1, 0))
    known = ids[at] == wanted if len(ids) else np.zeros(wanted.shape, bool)
    found: dict[int, list[int]] = {}
    for position, axis in enumerate(axes):
        rows = np.moveaxis(known, position, 0).reshape(part.shape[axis], -1)
        if not rows.any(axis=1).all():
            return None
        first = np.argmax(rows, axis=1)
        chosen = np.moveaxis(at, position, 0).reshape(part.shape[axis], -1)
        picked = chosen[np.arange(len(first)), first]
        head = tuple(whole.shape[i] for i in axes)
        found[axis] = [int(i) for i in np.unravel_index(spots[picked], head)[position]]
    taken = whole
    for axis, kept in found.items():
        taken = np.take(taken, kept, axis=axis)
    return found if _same(taken, part) else None


def _pieces(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """A 64-bit number per combination of indices along ``axes``, of the elements of that piece.

    Different pieces may share a number: what is found is checked element by element.
    """
    moved = np.ascontiguousarray(np.moveaxis(array, axes, range(len(axes))))
    head = moved.shape[: len(axes)]
    rows = moved.reshape(math.prod(head), -1).view(np.uint8)
    pad = -rows.shape[1] % 8
    words = np.pad(rows, ((0, 0), (0, pad))).view(np.uint64)
    factors = np.random.default_rng(0).integers(1, 1 << 63, words.shape[1], dtype=np.uint64) | 1
    with np.errstate(over="ignore"):
        mixed = (words ^ (words >> np.uint64(29))) * factors
        numbers: np.ndarray = mixed.sum(axis=1, dtype=np.uint64).reshape(head)
    return numbers


def _unique(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that occur once, ascending, and where."""
    ids, spots, counts = np.unique(pieces.reshape(-1), return_index=True, return_counts=True)
    return ids[counts == 1], spots[counts == 1]
