"""Weights that follow from how the removed channels depend on the kept ones.

B is the regression of the reference's channels x (C,) on the compressed model's channels z (C'),
over all positions of the layer's input alike: ``x ~ B z``. Every tap t of a convolution (and every
position of a flattened input) then takes the weights ``W_t B``. These are C times C' numbers from
many rows, far fewer than a regression of the layer itself has. Where samples are few it is what the
ridge of the layer should pull to; where the layer is very wide it is all there is.

Source: GRAIL, "consumer" form of the map (design/pruning.md section 4, c3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.moments import Moments
from onnxslim.analysis.reconstruction.ridge import choose, ridge
from onnxslim.graph import edit
from onnxslim.passes._layers import Layer
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Stages

Array = npt.NDArray[Any]

_WIDEST = 2048
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, eq=False)
class Source:
    """The tensor whose axis 1 are the channels that a layer's inputs consist of.

    Attributes:
        value: In the compressed model: the layer's input, or what is flattened into it.
        group_of: (G,) which group of the reference's layer each group stands for.
        out: (G, O) outputs of that group that are kept.
        into: (G, C') input channels of that group that are kept.
        whole: Weights (G', O', D') of the reference's layer.
        flat: The layer multiplies a flattened tensor.
    """

    value: ir.Value
    group_of: Array
    out: Array
    into: Array
    whole: Array
    flat: bool


def find_source(layer: Layer, whole: Layer, reference: Reference) -> Source | None:
    """Where the channels of a layer's inputs are, or None when the map would say nothing new."""
    value = layer.x if layer.spatial else _flattened(layer.x)
    if value is None or value.producer() is None or whole.node.op_type != layer.node.op_type:
        return None
    if layer.spatial and int(np.prod(layer.weight.shape[2:])) == 1:
        return None
    axes = reference.kept.axes
    matrix, target = whole.matrix(whole.weight), layer.matrix(layer.weight)
    out = axes.get(str(layer.y.name), {}).get(1, np.arange(whole.bias.size))
    if out.size != layer.bias.size:
        return None
    out = out.reshape(layer.groups, -1)
    group_of = out[:, 0] // matrix.shape[1]
    channels = _channels(whole, value, reference)
    if channels is None or channels % whole.groups:
        return None
    each = channels // whole.groups
    into = axes.get(str(value.name), {}).get(1, np.arange(channels))
    if into.size % layer.groups or max(each, into.size // layer.groups) > _WIDEST:
        return None
    into = into.reshape(layer.groups, -1)
    if (out // matrix.shape[1] != group_of[:, None]).any():
        return None
    if (into // each != group_of[:, None]).any() or target.shape[2] % into.shape[1]:
        return None
    return Source(
        value, group_of, out % matrix.shape[1], into % each, matrix, not layer.spatial
    )  # fmt: skip


def _flattened(x: ir.Value) -> ir.Value | None:
    """What a matrix is the flattened form of, when channels come first."""
    node = x.producer()
    if not edit.is_op(node, "Flatten", "Reshape") or node is None:
        return None
    value, flat = node.inputs[0], _tail(x, 1)
    tail = None if value is None else _tail(value, 1)
    if flat is None or tail is None or len(flat) != 1 or len(tail) < 2:
        return None
    return value if int(np.prod(tail)) == flat[0] and int(np.prod(tail[1:])) > 1 else None


def _tail(value: ir.Value, start: int) -> tuple[int, ...] | None:
    """Known sizes of the axes from ``start`` on."""
    dims = edit.shape_of(value)
    if dims is None or len(dims) <= start:
        return None
    sizes = tuple(d for d in dims[start:] if isinstance(d, int))
    return sizes if len(sizes) == len(dims) - start else None


def _channels(whole: Layer, value: ir.Value, reference: Reference) -> int | None:
    if whole.node.op_type == "Conv":
        return int(whole.weight.shape[1]) * whole.groups
    if whole.node.op_type == "ConvTranspose":
        return int(whole.weight.shape[0])
    for node in reference.model.graph:
        for found in node.outputs:
            if found.name == value.name:
                shape = edit.shape_of(found)
                size = None if shape is None else shape[1]
                return size if isinstance(size, int) else None
    return None


def prior(
    source: Source, layer: Layer, own: Stages, dense: Stages, rows: int, seed: int
) -> Array | None:
    """Weights (G, O, D) by the map; None when it cannot be found."""
    name = str(source.value.name)
    groups, kept = source.into.shape
    each = source.whole.shape[2] // _taps(source, layer)
    sums = {held: Moments.empty(groups, kept, each) for held in (False, True)}
    rng = np.random.default_rng(seed)
    quota = max(rows // own.batches, 1)
    for batch in range(own.batches):
        z, x = own.get(name, batch), dense.get(name, batch)
        if z.shape[0] != x.shape[0] or z.shape[2:] != x.shape[2:]:
            return None
        z, x = z.reshape(*z.shape[:2], -1), x.reshape(*x.shape[:2], -1)
        n, size = z.shape[0], z.shape[2]
        at = np.arange(n * size)
        if at.size > quota:
            at = np.sort(rng.choice(at.size, quota, replace=False))
        held = at // size >= n - n // 4 if n >= 4 else np.full(at.shape, batch % 4 == 3)
        for flag in (False, True):
            pick = at[held == flag]
            zr = z[pick // size, :, pick % size].reshape(len(pick), groups, kept)
            xr = x[pick // size, :, pick % size]
            xr = xr.reshape(len(pick), x.shape[1] // each, each)[:, source.group_of]
            sums[flag].add(zr.transpose(1, 0, 2), xr.transpose(1, 0, 2))
    return _mapped(source, layer, sums[False], sums[True])


def _taps(source: Source, layer: Layer) -> int:
    if not source.flat:
        return int(np.prod(layer.weight.shape[2:]))
    tail = _tail(source.value, 2)
    return int(np.prod(tail)) if tail else 1


def _mapped(source: Source, layer: Layer, fit: Moments, held: Moments) -> Array:
    groups, kept = source.into.shape
    each = fit.y.shape[1]
    start = np.zeros((groups, each, kept))
    for group in range(groups):
        start[group, source.into[group], np.arange(kept)] = 1.0
    train, judge = (fit, held) if fit.count and held.count else (fit + held, fit + held)
    spread = np.maximum((fit + held).yy / max((fit + held).count, 1), 1e-12)
    _, found = choose(train, judge, [start], 1 / spread, _STRENGTHS)
    maps = ridge(fit + held, start, found.strength).weight  # (G, C, C')
    weights = source.whole[source.group_of[:, None], source.out]  # (G, O, D)
    g, o, d = weights.shape
    if source.flat:
        split = weights.reshape(g, o, each, d // each)
        return np.asarray(np.einsum("gocs,gck->goks", split, maps)).reshape(g, o, -1)
    return np.asarray(weights.reshape(g, o * (d // each), each) @ maps).reshape(g, o, -1)
