"""Scales, zero points and integer weights.

    real = scale * (integer - zero)

Source: Jacob et al. 2018, arXiv:1712.05877, section 2.1; ONNX operator QuantizeLinear-13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Floats = NDArray[np.float64]

_TINY = float(np.finfo(np.float32).tiny)
_BIAS_LIMIT = 2.0**31 - 2**8


@dataclass(frozen=True)
class Affine:
    """How a tensor becomes integers: ``round(x / scale) + zero``, clipped to the type.

    Attributes:
        scale: A float32.
        zero: The integer that stands for 0.
    """

    scale: float
    zero: int


def affine(low: float, high: float, limits: tuple[int, int], *, symmetric: bool = False) -> Affine:
    """Scale and zero point for a range, which is widened to contain 0.

    Args:
        low: Smallest value to be represented.
        high: Largest one; values beyond are clipped.
        limits: Smallest and largest integer.
        symmetric: The zero point is 0.
    """
    least, most = limits
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if symmetric:
        return Affine(_scale(max(-low, high), most), 0)
    scale = _scale(high - low, most - least)
    zero = int(np.clip(round(least - low / scale), least, most))
    return Affine(scale, zero)


def _scale(width: float, steps: int) -> float:
    """A float32 with ``steps * scale <= width``, so that a Clip to ``width`` has nothing to do."""
    if not width > steps * _TINY or not math.isfinite(width):
        return 1.0  # only zeros occur
    scale = np.float32(width / steps)
    if float(scale) * steps > width:
        scale = np.nextafter(scale, np.float32(0))
    return float(scale)


def weight_scales(
    weight: Array, axis: int | None, limit: int, least: Floats | None = None
) -> NDArray[np.float32]:
    """A scale per index of ``axis`` (one in all for None) that covers the largest magnitude.

    Args:
        weight: Floats.
        axis: Axis of the outputs.
        limit: Largest integer magnitude, 127.
        least: (C,) scales that must not be undercut, see :func:`least_weight_scales`.
    """
    rows = channel_rows(weight, axis)
    peak = np.abs(rows).max(axis=1) if rows.size else np.zeros(len(rows))
    scales = peak / limit
    if least is not None:
        scales = np.maximum(scales, least)
    scales = np.where(scales > _TINY, scales, 1.0)
    return scales.astype(np.float32)


def least_weight_scales(bias: Array, input_scale: float) -> Floats:
    """Weight scales (C,) for which a bias fits into int32 with scale ``s_x * s_w``."""
    return np.abs(bias.astype(np.float64).reshape(-1)) / (input_scale * _BIAS_LIMIT)


def round_weight(
    weight: Array, scales: NDArray[np.float32], axis: int | None, limit: int
) -> NDArray[np.int8]:
    """Nearest integers, ties to even, clipped to ``[-limit, limit]``; shape of the weight."""
    shape = [1] * weight.ndim
    if axis is not None:
        shape[axis] = -1
    scaled = weight.astype(np.float64) / scales.astype(np.float64).reshape(shape)
    return np.clip(np.rint(scaled), -limit, limit).astype(np.int8)


def round_bias(
    bias: Array, input_scale: float, scales: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """int32 bias (C,) with its scales ``s_x * s_w`` (C,) or (1,)."""
    product = (np.float32(input_scale) * scales).astype(np.float32)
    product = np.where(product > 0, product, np.float32(_TINY)).astype(np.float32)
    values = np.rint(bias.astype(np.float64).reshape(-1) / product.astype(np.float64))
    top = 2**31 - 1
    return np.clip(values, -top, top).astype(np.int32), product


def channel_rows(weight: Array, axis: int | None) -> Floats:
    """(C, rest) in float64; (1, all) for None."""
    data = weight.astype(np.float64)
    if axis is None:
        return data.reshape(1, -1)
    return np.moveaxis(data, axis, 0).reshape(weight.shape[axis], -1)
