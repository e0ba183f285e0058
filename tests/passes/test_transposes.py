"""Permutations: read, composed, inverted."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._transposes import compose, inverse, is_identity, permutation

PERMS = list(itertools.permutations(range(3)))
X = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("perm", PERMS)
def test_as_numpy(perm: tuple[int, ...]) -> None:
    for outer in PERMS:
        both = X.transpose(perm).transpose(outer)
        assert np.array_equal(X.transpose(compose(perm, outer)), both)
    assert np.array_equal(X.transpose(perm).transpose(inverse(perm)), X)
    assert is_identity(perm) == (perm == (0, 1, 2))


@pytest.mark.parametrize(
    ("perm", "rank", "found"),
    [
        ([1, 0, 2], 3, (1, 0, 2)),
        ([1, 0, 2], None, (1, 0, 2)),
        (None, 3, (2, 1, 0)),
        (None, None, None),
        ([0, 0], 2, None),
        ([1, 2], 2, None),
    ],
)
def test_of_a_node(perm: list[int] | None, rank: int | None, found: tuple[int, ...] | None) -> None:
    shape = None if rank is None else ir.Shape([2] * rank)
    x = ir.Value(name="x", shape=shape)
    node = ir.node("Transpose", [x], {} if perm is None else {"perm": perm})
    assert permutation(node) == found


def test_a_permutation_that_a_function_is_given_is_not_known() -> None:
    x = ir.Value(name="x", shape=ir.Shape([2, 2]))
    perm = ir.RefAttr("perm", "p", ir.AttributeType.INTS)
    assert permutation(ir.Node("", "Transpose", [x], [perm])) is None
