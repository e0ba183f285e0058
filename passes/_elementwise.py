"""Elementwise operators as functions of numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]


def function_of(node: ir.Node) -> Function | None:
    """What a node makes of its first input, element by element; None for other operators."""
    make = None if node.domain else _FUNCTIONS.get(node.op_type)
    return None if make is None else make(node)


def _clip(node: ir.Node) -> Function:
    low, high = edit.attr(node, "min", -math.inf), edit.attr(node, "max", math.inf)
    if edit.get_input(node, 1) is not None:
        low = edit.scalar(node.inputs[1])
    if edit.get_input(node, 2) is not None:
        high = edit.scalar(node.inputs[2])
    return lambda x: np.clip(
        x, math.nan if low is None else low, math.nan if high is None else high
    )


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _hard_sigmoid(node: ir.Node) -> Function:
    alpha, beta = edit.attr(node, "alpha", 0.2), edit.attr(node, "beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0, 1)


def _leaky(node: ir.Node) -> Function:
    alpha = edit.attr(node, "alpha", 0.01 if node.op_type == "LeakyRelu" else 1.0)
    if node.op_type == "LeakyRelu":
        return lambda x: np.where(x < 0, alpha * x, x)
    return lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


_FUNCTIONS: dict[str, Callable[[ir.Node], Function]] = {
    "Erf": lambda node: _erf,
    "Relu": lambda node: lambda x: np.maximum(x, 0),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": _leaky,
    "Sigmoid": lambda node: _sigmoid,
    "Tanh": lambda node: np.tanh,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Softplus": lambda node: lambda x: np.logaddexp(0, x),
    "Gelu": lambda node: lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "Swish": lambda node: lambda x: x * _sigmoid(x),
    "Mish": lambda node: lambda x: x * np.tanh(np.logaddexp(0, x)),
}
