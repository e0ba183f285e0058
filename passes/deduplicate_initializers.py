"""Store equal initializers once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_CHUNK = 1 << 22
_SAMPLE = 256


@register
@dataclass(frozen=True)
class DeduplicateInitializers(Pass):
    """Merge initializers of the same type, shape and bits; one in a subgraph into an outer one.

    0.0 and -0.0 differ, NaNs are equal when their bits are. Large tensors are compared by SHA-256,
    a chunk at a time. Skipped when an initializer is a graph output or can be overridden by the
    caller.
    """

    name: ClassVar[str] = "deduplicate-initializers"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge scope by scope, outer before inner."""
        digests = _Digests(model)
        return _merge(model.graph, {}, digests, ctx)


class _Digests:
    """Keys of initializers; only those whose size occurs twice are read, and each once."""

    def __init__(self, model: ir.Model) -> None:
        values = [v for g in edit.all_graphs(model) for v in g.initializers.values()]
        outlines = {value: _outline(value) for value in values}
        self._samples: dict[ir.Value, Hashable] = {}
        alike = Counter(outlines.values())
        for value, outline in outlines.items():
            if outline is not None and alike[outline] > 1:
                self._samples[value] = (outline, *_sample(value))
        self._alike = Counter(self._samples.values())
        self._known: dict[ir.Value, Hashable] = {}

    def key(self, value: ir.Value) -> Hashable | None:
        """Equal keys mean equal bits; None for one that no other can equal."""
        if value not in self._known:
            sample = self._samples.get(value)
            alone = sample is None or self._alike[sample] < 2
            self._known[value] = None if alone else (sample, _digest(value))
        return self._known[value]


def _outline(value: ir.Value) -> Hashable | None:
    """Type and shape; None for what is never merged."""
    tensor = edit.constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return (tensor.dtype, tuple(tensor.shape.numpy()))


def _sample(value: ir.Value) -> tuple[bytes, bytes]:
    """A few bytes: cheap to read, and mostly enough to tell tensors apart."""
    data = _bytes(value)
    return data[:_SAMPLE].tobytes(), data[data.size // 2 :][:_SAMPLE].tobytes()


def _bytes(value: ir.Value) -> np.ndarray:
    """The elements as bytes, without a copy where the tensor lies in memory or in a mapped file."""
    tensor = edit.constant_tensor(value)
    assert tensor is not None
    if tensor.dtype.bitwidth < 8:
        return np.frombuffer(tensor.tobytes(), np.uint8)
    array = tensor.numpy()
    return array.reshape(-1).view(np.uint8) if array.flags.c_contiguous else _copied(array)


def _copied(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), np.uint8)


def _digest(value: ir.Value) -> bytes:
    data, found = _bytes(value), hashlib.sha256()
    for start in range(0, data.size, _CHUNK):
        found.update(data[start : start + _CHUNK].data)
    return found.digest()


def _merge(
    graph: ir.Graph, outer: dict[Hashable, ir.Value], digests: _Digests, ctx: PassContext
) -> int:
    kept = dict(outer)
    merged = 0
    for name, value in list(graph.initializers.items()):
        key = digests.key(value)
        if key is None:
            continue
        first = kept.setdefault(key, value)
        if first is value or value.is_graph_output():
            continue
        for use in list(value.uses()):
            ctx.set_input(use.node, use.idx, first)
        del graph.initializers[name]
        ctx.touch()
        merged += 1
    for node in graph:
        for inner in edit.subgraphs(node):
            merged += _merge(inner, kept, digests, ctx)
    return merged
