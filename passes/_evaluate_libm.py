"""Evaluate the power of two numbers with the C library that ONNX Runtime calls.

Attention exported from PyTorch scales by ``Pow(n, 0.25)``, and nothing else there needs a runtime.
ONNX Runtime calls ``powf`` for two float32 numbers (squares and cubes apart), from the C library
of the system where that is glibc; elsewhere it is left to ONNX Runtime itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def power(base: Array, exponent: Array) -> Array | None:
    """``base ** exponent`` of one element each; None where the bits might differ."""
    if base.size != 1 or exponent.size != 1 or exponent.reshape(()) in (2, 3):
        return None
    if base.dtype != np.float32 or exponent.dtype != np.float32:
        return None
    function = _powf()
    if function is None:
        return None
    shape = np.broadcast_shapes(base.shape, exponent.shape)
    return np.full(shape, function(base.item(), exponent.item()), np.float32)


@lru_cache(maxsize=1)
def _powf() -> Any:
    """``float powf(float, float)`` of glibc, or None."""
    try:
        if not sys.platform.startswith("linux") or not os.confstr("CS_GNU_LIBC_VERSION"):
            return None
        function = ctypes.CDLL("libm.so.6").powf
    except (OSError, ValueError, AttributeError):
        return None
    function.restype, function.argtypes = ctypes.c_float, (ctypes.c_float, ctypes.c_float)
    return function
