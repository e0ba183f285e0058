"""Numbers of a pattern are read as closely as their type keeps them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.passes._pattern import is_close

T = ir.DataType


@pytest.mark.parametrize(
    ("number", "dtype", "close"),
    [
        (0.5 + 4e-7, T.FLOAT, True),
        (0.5 + 6e-7, T.FLOAT, False),
        (0.5 + 9e-4, T.FLOAT16, True),
        (0.5 + 2e-3, T.FLOAT16, False),
        (0.5 + 4e-13, T.DOUBLE, True),
        (0.5 + 6e-13, T.DOUBLE, False),
        (0.5, T.BFLOAT16, True),
        (0.6, T.BFLOAT16, False),  # of other types nothing is known: exactly
        (0.6, None, False),
        (0.5, None, True),
    ],
)
def test_close(number: float, dtype: ir.DataType | None, close: bool) -> None:
    assert is_close(number, 0.5, dtype) is close
