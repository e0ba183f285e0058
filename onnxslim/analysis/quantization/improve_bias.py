"""Take the mean of the quantization error back through the bias.

Rounded weights shift the mean of an output channel by ``sum_k (w_q - w) E[x_k]``, clipped and
rounded activations shift it further. Either the weights' part is computed from the mean input, or
the whole is measured: the mean of the float output minus that of the quantized one.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2; Finkelstein et al. 2019,
arXiv:1906.03193 (measured means).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def shift_of_weights(weight: Array, quantized: Array, mean: Array) -> Array:
    """What to add to the bias (M,) for the error of the weights.

    Args:
        weight: Conv (M, C/group, *kernel), or a matrix (N, K) with a row per output.
        quantized: The weight that is used instead, same shape.
        mean: (C,) mean of the input per channel; padding is not accounted for.
    """
    lost = (weight.astype(np.float64) - quantized.astype(np.float64)).reshape(*weight.shape[:2], -1)
    per_channel = lost.sum(axis=2)
    outputs, inputs = per_channel.shape
    groups = mean.size // inputs
    grouped = per_channel.reshape(groups, outputs // groups, inputs)
    means = mean.astype(np.float64).reshape(groups, inputs, 1)
    return np.asarray((grouped @ means).reshape(outputs))


def shift_of_means(wanted: Array, found: Array, deviation: Array | None = None) -> Array:
    """What to add to the bias (M,) when means of the output were measured.

    Args:
        wanted: (M,) of the float model, before the activation.
        found: (M,) of the quantized model.
        deviation: (M,) standard deviation of the difference of one sample's means, divided by the
            root of the number of samples; shifts within twice of it are noise and left out.
    """
    shift = wanted.astype(np.float64) - found.astype(np.float64)
    shift = np.where(np.isfinite(shift), shift, 0.0)
    if deviation is None:
        return np.asarray(shift)
    return np.asarray(np.where(np.abs(shift) > 2 * deviation, shift, 0.0))
