"""Gradients of operators that treat every element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxslim.analysis.gradient.rule import Array, Call, Gradients, gradient_rule, unbroadcast

_INNER = math.sqrt(2 / math.pi)


def _erf(x: Array) -> Array:
    """Abramowitz and Stegun 1964, 7.1.26: absolute error below 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    c = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    poly = t * (c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * c[4]))))
    return np.asarray(np.sign(x) * (1 - poly * np.exp(-x * x)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1))


def _gelu(c: Call) -> Any:
    x = c.x()
    if c.attr("approximate", "none") == "tanh":
        inner = np.tanh(_INNER * (x + 0.044715 * x**3))
        slope = _INNER * (1 + 3 * 0.044715 * x * x)
        return 0.5 * (1 + inner) + 0.5 * x * (1 - inner * inner) * slope
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + _erf(x / math.sqrt(2))) + x * density


def _clip(c: Call) -> Array:
    x = c.x()
    low = c.attr("min") if c.given(1) is None else c.given(1)
    high = c.attr("max") if c.given(2) is None else c.given(2)
    inside = np.ones(x.shape, np.bool_)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return inside


def _hard_sigmoid(c: Call) -> Array:
    return np.asarray(c.attr("alpha", 0.2) * ((c.y > 0) & (c.y < 1)))


def _hard_swish(c: Call) -> Array:
    x = c.x()
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))


def _elu(c: Call) -> Array:
    alpha = c.attr("alpha", 1.0)
    return np.where(c.x() > 0, 1, c.y + alpha)


def _selu(c: Call) -> Any:
    alpha, gamma = c.attr("alpha", 1.6732632), c.attr("gamma", 1.0507010)
    return np.where(c.x() > 0, gamma, c.y + alpha * gamma)


def _mish(c: Call) -> Any:
    x = c.x()
    inner = np.tanh(np.logaddexp(0, x))
    return inner + x * _sigmoid(x) * (1 - inner * inner)


def _swish(c: Call) -> Any:
    alpha = c.attr("alpha", 1.0)
    s = _sigmoid(alpha * c.x())
    return s + c.y * alpha * (1 - s)


_DERIVATIVES: dict[str, Callable[[Call], Any]] = {
    "Abs": lambda c: np.sign(c.x()),
    "Clip": _clip,
    "Elu": _elu,
    "Erf": lambda c: 2 / math.sqrt(math.pi) * np.exp(-(c.x() ** 2)),
    "Exp": lambda c: c.y,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": lambda c: np.float32(1),
    "LeakyRelu": lambda c: np.where(c.x() < 0, c.attr("alpha", 0.01), 1),
    "Log": lambda c: 1 / c.x(),
    "Mish": _mish,
    "Neg": lambda c: np.float32(-1),
    "Reciprocal": lambda c: -(c.y**2),
    "Relu": lambda c: c.y > 0,
    "Selu": _selu,
    "Sigmoid": lambda c: c.y * (1 - c.y),
    "Softplus": lambda c: _sigmoid(c.x()),
    "Softsign": lambda c: (1 - np.abs(c.y)) ** 2,
    "Sqrt": lambda c: 0.5 / np.where(c.y > 0, c.y, np.inf),
    "Swish": _swish,
    "Tanh": lambda c: 1 - c.y**2,
}


@gradient_rule(*_DERIVATIVES)
def _unary(c: Call) -> Gradients:
    slope = np.asarray(_DERIVATIVES[c.node.op_type](c))
    return {0: c.dy * slope.astype(c.dy.dtype, copy=False)}


@gradient_rule("Cast")
def _cast(c: Call) -> Gradients:
    return {0: c.dy.astype(c.x().dtype)}


@gradient_rule("Dropout", allows=lambda node: not any(v.uses() for v in node.outputs[1:]))
def _dropout(c: Call) -> Gradients:
    return {0: c.dy}


@gradient_rule("Add", "Sub", "Sum", inputs=None)
def _add(c: Call) -> Gradients:
    found = {}
    for index, wanted in enumerate(c.wanted):
        if wanted:
            sign = -1 if c.node.op_type == "Sub" and index == 1 else 1
            found[index] = unbroadcast(c.dy if sign > 0 else -c.dy, c.x(index).shape)
    return found


@gradient_rule("Mul", inputs=None)
def _mul(c: Call) -> Gradients:
    return {i: unbroadcast(c.dy * c.x(1 - i), c.x(i).shape) for i in (0, 1) if c.wants(i)}


@gradient_rule("Div", inputs=None)
def _div(c: Call) -> Gradients:
    found = {}
    if c.wants(0):
        found[0] = unbroadcast(c.dy / c.x(1), c.x(0).shape)
    if c.wants(1):
        found[1] = unbroadcast(-c.dy * c.y / c.x(1), c.x(1).shape)
    return found


@gradient_rule("Pow")
def _pow(c: Call) -> Gradients:
    x, p = c.x(), c.x(1).astype(c.dy.dtype)
    with np.errstate(all="ignore"):
        slope = np.where(p == 0, 0, p * x ** (p - 1))
    return {0: unbroadcast(c.dy * slope.astype(c.dy.dtype), x.shape)}


@gradient_rule("PRelu", inputs=None)
def _prelu(c: Call) -> Gradients:
    x, slope = c.x(), c.x(1)
    below = x < 0
    found = {}
    if c.wants(0):
        found[0] = c.dy * np.where(below, slope, np.float32(1))
    if c.wants(1):
        found[1] = unbroadcast(c.dy * np.where(below, x, 0), slope.shape)
    return found


@gradient_rule("Where", inputs=(1, 2))
def _where(c: Call) -> Gradients:
    mask = c.x(0)
    found = {}
    for index in (1, 2):
        if c.wants(index):
            part = np.where(mask if index == 1 else ~mask, c.dy, 0)
            found[index] = unbroadcast(part, c.x(index).shape)
    return found


@gradient_rule("Max", "Min", inputs=None)
def _extreme(c: Call) -> Gradients:
    found, free = {}, np.ones(c.dy.shape, np.bool_)
    for index, x in enumerate(c.inputs):
        assert x is not None
        taken = (x == c.y) & free
        free &= ~taken
        if c.wants(index):
            found[index] = unbroadcast(np.where(taken, c.dy, 0), x.shape)
    return found
