"""Permutations of axes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph import edit

Perm = tuple[int, ...]


def permutation(node: ir.Node) -> Perm | None:
    """The permutation of a Transpose (all axes reversed when it has none), or None."""
    perm = edit.attr(node, "perm")
    if perm is None:
        rank = edit.rank_of(node.inputs[0])
        return None if rank is None or "perm" in node.attributes else tuple(range(rank))[::-1]
    return tuple(perm) if sorted(perm) == list(range(len(perm))) else None


def compose(inner: Sequence[int], outer: Sequence[int]) -> Perm:
    """The permutation that does ``inner`` first and then ``outer``."""
    return tuple(inner[axis] for axis in outer)


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes ``perm``."""
    result = [0] * len(perm)
    for index, axis in enumerate(perm):
        result[axis] = index
    return tuple(result)


def is_identity(perm: Sequence[int]) -> bool:
    """True when no axis moves."""
    return all(index == axis for index, axis in enumerate(perm))
