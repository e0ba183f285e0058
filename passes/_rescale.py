"""Layers whose outputs or inputs are scaled and shifted by constants.

``scale_outputs`` and ``scale_inputs`` compute a :class:`Change` or say why there is none.
A MatMul of more than two dimensions has no bias of its own; an Add of a constant after it serves as
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.graph import edit
from onnxslim.passes._affine import per_channel
from onnxslim.passes._gemm import reads_quantized
from onnxslim.passes._layer import Layer
from onnxslim.passes._linear import MAX_COPY, Array, constant

_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126}


@dataclass(frozen=True)
class Change:
    """What becomes of a layer; None keeps the weight or the bias.

    Attributes:
        weight: New weight, float64.
        alpha: The Gemm's alpha is multiplied with it.
        beta: The Gemm's beta is multiplied with it, unless there is a new bias.
        bias: New bias with beta applied, float64.
    """

    weight: Array | None = None
    alpha: float = 1.0
    beta: float = 1.0
    bias: Array | None = None


def scale_outputs(layer: Layer, k: Array, d: Array) -> Change | str:
    """The change for outputs ``k y + d``, both (channels,)."""
    if reads_quantized(layer.node):
        return "a quantized layer keeps its form"
    bias = _read_bias(layer)
    if isinstance(bias, str):
        if d.any() or layer.op != "Gemm" or not _is_uniform(k):
            return bias
        return _scale_weight(layer, k, outputs=True, bias=None)
    one = _is_uniform(k) and _is_uniform(d)
    factor, added = (k[0], d[0]) if one else (k, d)
    new = None if bias is None and not d.any() else factor * (0.0 if bias is None else bias) + added
    if new is not None and bias is not None and new.size > max(bias.size, layer.channels):
        return "the bias would grow"
    if new is not None and bias is None:
        new = np.broadcast_to(new, (layer.channels,)) if layer.axes else np.reshape(new, (1,))
    if (k == 1).all():
        return Change(bias=new)
    return _scale_weight(layer, k, outputs=True, bias=new)


def scale_inputs(layer: Layer, k: Array, d: Array) -> Change | str:
    """The change for a data input that comes divided, ``x`` for ``k x + d``, both (inputs,)."""
    if reads_quantized(layer.node):
        return "a quantized layer keeps its form"
    new = None
    if d.any():
        bias, weight = _read_bias(layer), _read_weight(layer)
        if isinstance(bias, str) or isinstance(weight, str):
            return bias if isinstance(bias, str) else str(weight)
        if layer.axes is None or weight.ndim != (layer.rank if _is_conv(layer) else 2):
            return "the weight is not a matrix"
        new = _respond(layer, weight, d) + (0.0 if bias is None else bias)
        if bias is not None and new.size > max(bias.size, layer.channels):
            return "the bias would grow"
    if (k == 1).all():
        return Change(bias=new)
    return _scale_weight(layer, k, outputs=False, bias=new)


def _is_conv(layer: Layer) -> bool:
    return layer.op in ("Conv", "ConvTranspose")


def _is_uniform(k: Array) -> bool:
    return bool((k == k[0]).all())


def _read_bias(layer: Layer) -> Array | str | None:
    """The bias, beta applied; None without one."""
    if layer.add is not None:
        array = next(a for a in map(constant, layer.add.inputs) if a is not None)
        found = per_channel(array.astype(np.float64), layer.rank, layer.axes, layer.channels)
        return "what is added is not one number per channel" if found is None else found
    given = edit.get_input(layer.node, 2)
    if given is None:
        return None
    bias = constant(given)
    if bias is None:
        return "the bias is not constant"
    beta = float(edit.attr(layer.node, "beta", 1.0)) if layer.op == "Gemm" else 1.0
    return np.asarray(bias.astype(np.float64) * beta)


def _read_weight(layer: Layer) -> Array | str:
    weight = constant(layer.weight)
    if weight is None:
        return "the weight is not constant"
    if weight.dtype.kind != "f" and weight.dtype.name != "bfloat16":
        return "the weight is not floating point"
    return np.asarray(weight) if weight.size else "the weight is empty"


def _scale_weight(layer: Layer, k: Array, *, outputs: bool, bias: Array | None) -> Change | str:
    """The change with a scaled weight, or with a scaled alpha where that spares a copy."""
    beta = float(k[0]) if outputs and _is_uniform(k) else 1.0
    own = edit.is_constant(layer.weight) and edit.use_count(layer.weight) == 1
    if not own and _is_uniform(k) and _has_alpha(layer):
        return Change(alpha=float(k[0]), beta=beta, bias=bias)
    found = _read_weight(layer)
    if isinstance(found, str):
        return found
    if edit.use_count(layer.weight) > 1 and found.nbytes > MAX_COPY:
        return "the weight is shared and a copy of it would make the file larger"
    if not _is_uniform(k) and found.ndim != (layer.rank if _is_conv(layer) else 2):
        return "the weight is not a matrix"
    before = found.astype(np.float64)
    after = _scaled(layer, before, k, outputs=outputs)
    if _is_lost(layer, before, after, found.dtype.name):
        return f"the folded weights do not fit {found.dtype}"
    return Change(after, beta=beta, bias=bias)


def _has_alpha(layer: Layer) -> bool:
    if layer.op == "Gemm":
        return True
    ranks = {edit.rank_of(value) for value in layer.node.inputs}
    return layer.op == "MatMul" and ranks == {2} and layer.add is None


def _scaled(layer: Layer, w: Array, k: Array, *, outputs: bool) -> Array:
    if _is_uniform(k):
        return np.asarray(w * k[0])
    if not _is_conv(layer):
        axis = 1 - layer.in_axis if outputs else layer.in_axis
        return np.asarray(w * (k[:, None] if axis == 0 else k[None, :]))
    ones = [1] * (w.ndim - 2)
    if outputs == (layer.op == "Conv"):
        return np.asarray(w * k.reshape(-1, 1, *ones))
    grouped = w.reshape(layer.group, -1, *w.shape[1:])
    return np.asarray(grouped * k.reshape(layer.group, 1, -1, *ones)).reshape(w.shape)


def _respond(layer: Layer, weight: Array, d: Array) -> Array:
    """Output (channels,) for an input that is the constant ``d[c]`` everywhere; no padding."""
    product = _scaled(layer, weight.astype(np.float64), d, outputs=False)
    if _is_conv(layer):
        return np.asarray(product.reshape(layer.channels, -1).sum(axis=1))
    alpha = float(edit.attr(layer.node, "alpha", 1.0)) if layer.op == "Gemm" else 1.0
    return np.asarray(product.sum(axis=layer.in_axis) * alpha)


def _is_lost(layer: Layer, before: Array, after: Array, dtype: str) -> bool:
    """True when a channel's weights would all become subnormal numbers."""
    tiny = _NORMAL.get(dtype, 0.0)
    old, new = _peaks(layer, before), _peaks(layer, after)
    return bool(((old >= tiny) & (new > 0) & (new < tiny)).any())


def _peaks(layer: Layer, w: Array) -> Array:
    """Largest magnitude per output channel."""
    if layer.op == "Conv":
        return np.asarray(np.abs(w).reshape(w.shape[0], -1).max(axis=1))
    if layer.op == "ConvTranspose":
        grouped = np.abs(w).reshape(layer.group, -1, w.shape[1], w[0, 0].size)
        return np.asarray(grouped.max(axis=(1, 3)).reshape(-1))
    if w.ndim != 2:
        return np.asarray(np.abs(w).max(keepdims=True))
    return np.asarray(np.abs(w).max(axis=layer.in_axis))
