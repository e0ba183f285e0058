"""Round weights so that the layer's output moves least, not each weight.

With inputs ``x`` and ``H = E[x x^T]`` the output error of a row is ``(w - s q) H (w - s q)^T``.
Columns are rounded one after the other, those with the largest diagonal first, and what rounding
one of them adds to the output is taken back by the columns that are still free (GPTQ). Then single
integers are changed where that makes the error smaller.

Source: Frantar et al. 2022, arXiv:2210.17323, section 3 (GPTQ); Nagel et al. 2020,
arXiv:2004.10568, section 3 (why nearest is not best).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_BLOCK = 128


def round_to_gram(
    weight: Array,
    scales: Array,
    gram: Array,
    limit: int,
    *,
    damping: float = 0.01,
    sweeps: int = 1,
) -> npt.NDArray[np.int8]:
    """Integers for the weights of one layer; never worse than the nearest ones, row by row.

    Args:
        weight: (G, O, D): groups, outputs and inputs of each (of a convolution, channel and tap).
        scales: (G, O).
        gram: (G, D, D) ``sum x x^T`` over samples; the covariance when the bias will be corrected.
        limit: Largest integer magnitude, 127.
        damping: Part of the mean diagonal that is added to it.
        sweeps: Rounds of single changes.

    Returns:
        (G, O, D).
    """
    exact = weight.astype(np.float64) / scales.astype(np.float64)[:, :, None]
    nearest = np.clip(np.rint(exact), -limit, limit)
    hessian = _damped(gram.astype(np.float64), damping)
    best = _compensated(exact, hessian, limit)
    best = _kept_if_better(exact, nearest, best, hessian)
    for _ in range(sweeps):
        _descend(exact, best, hessian, limit)
    return best.astype(np.int8)


def output_error(weight: Array, rounded: Array, scales: Array, gram: Array) -> Array:
    """Summed squared output error (G, O) of integer weights; arguments as for rounding."""
    difference = weight - rounded * scales.astype(np.float64)[:, :, None]
    return _quadratic(difference, gram)


def _quadratic(difference: Array, gram: Array) -> Array:
    return np.asarray(((difference @ gram) * difference).sum(axis=-1))


def _damped(gram: Array, damping: float) -> Array:
    """A positive definite copy; inputs that are always zero count nothing but do not hurt."""
    result = gram.copy()
    diagonal = np.einsum("gdd->gd", result)
    mean = diagonal.mean(axis=1, keepdims=True)
    diagonal += np.where(mean > 0, damping * mean, 1.0)
    return result


def _compensated(exact: Array, hessian: Array, limit: int) -> Array:
    """GPTQ in units of the scale; every group on its own, all at once."""
    order = np.argsort(-np.einsum("gdd->gd", hessian), axis=1, kind="stable")
    work = np.take_along_axis(exact, order[:, None, :], axis=2)
    sorted_h = np.take_along_axis(hessian, order[:, :, None], axis=1)
    sorted_h = np.take_along_axis(sorted_h, order[:, None, :], axis=2)
    upper = np.linalg.cholesky(np.linalg.inv(sorted_h)).transpose(0, 2, 1)
    rounded = np.empty_like(work)
    columns = work.shape[2]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = np.empty((*work.shape[:2], stop - start))
        for i in range(start, stop):
            rounded[:, :, i] = np.clip(np.rint(work[:, :, i]), -limit, limit)
            pivot = upper[:, i, i][:, None]
            error = (work[:, :, i] - rounded[:, :, i]) / pivot
            errors[:, :, i - start] = error
            work[:, :, i + 1 : stop] -= error[:, :, None] * upper[:, None, i, i + 1 : stop]
        work[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    result = np.empty_like(rounded)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), rounded, axis=2)
    return result


def _kept_if_better(exact: Array, nearest: Array, found: Array, hessian: Array) -> Array:
    better = _quadratic(exact - found, hessian) < _quadratic(exact - nearest, hessian)
    return np.where(better[:, :, None], found, nearest)


def _descend(exact: Array, rounded: Array, hessian: Array, limit: int) -> None:
    """Change one integer after the other to what is best for it alone; in place."""
    slope = (exact - rounded) @ hessian
    for i in range(exact.shape[2]):
        wanted = rounded[:, :, i] + slope[:, :, i] / hessian[:, i, i][:, None]
        change = np.clip(np.rint(wanted), -limit, limit) - rounded[:, :, i]
        if change.any():
            rounded[:, :, i] += change
            slope -= change[:, :, None] * hessian[:, None, i, :]
