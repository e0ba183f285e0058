"""What an operator does to coordinates, read off by running it.

For an operator that only moves data, every element of its float inputs gets a number of its own;
where the numbers land says which coordinate of which axis comes from which. Two coordinates that
share an element leave together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import networkx as nx
import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import STAYS, Solution
from onnxslim.analysis.dependency.builder import Builder
from onnxslim.analysis.dependency.products import resolve
from onnxslim.analysis.dependency.rules import rule_of
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.testing import shared_worker

Array = np.ndarray
Partition = frozenset[frozenset[int]]
"""Sets of positions of an axis that leave together; positions in no set stay."""

BATCH = 2
"""Size of every dynamic dimension when a model is run."""


@dataclass(frozen=True, eq=False)
class Ruled:
    """A model of one node after its rule has spoken.

    Attributes:
        node: The node.
        builder: The facts; axes of data inputs were given labels before.
        solution: Their consequences.
        data: The float inputs of the graph.
    """

    node: ir.Node
    builder: Builder
    solution: Solution
    data: tuple[ir.Value, ...]

    def roots(self, value: ir.Value, axis: int) -> Array | None:
        """(n,) class of each position of an axis, 0 for those that stay; None for a whole axis."""
        axes = self.builder.axes_of.get(value)
        labels = None if axes is None else axes[axis]
        if labels is None:
            return None
        return np.where(self.solution.stays[labels], STAYS, self.solution.root[labels])

    def classes(self) -> list[int]:
        """Everything that may leave, of inputs and outputs."""
        found: set[int] = set()
        for value in (*self.data, *self.node.outputs):
            for axis in range(len(self.builder.axes_of.get(value) or ())):
                roots = self.roots(value, axis)
                found.update(() if roots is None else roots.tolist())
        return sorted(found - {STAYS})

    def removed(self, value: ir.Value, shape: tuple[int, ...], gone: set[int]) -> Array:
        """True for the elements that leave with these classes."""
        found = np.zeros(shape, dtype=bool)
        for axis in range(len(shape)):
            roots = self.roots(value, axis)
            if roots is not None:
                mask = np.isin(roots, sorted(gone))
                found |= mask.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return found

    def partition(self, value: ir.Value, axis: int) -> Partition:
        """Which positions of an axis leave together."""
        roots = self.roots(value, axis)
        if roots is None:
            return frozenset()
        return frozenset(
            frozenset(np.flatnonzero(roots == r).tolist())
            for r in np.unique(roots).tolist()
            if r != STAYS
        )


def rule(proto: onnx.ModelProto, alive: dict[str, tuple[int, ...]] | None = None) -> Ruled:
    """Apply the rule of the last node with labels on some axes of the inputs.

    Args:
        proto: A model of one node (before it, Constants).
        alive: Axes of data inputs that may lose coordinates; all of them by default.
    """
    model = from_proto(proto)
    infer_shapes(model)
    builder = Builder(model)
    node = model.graph[-1]
    data = tuple(v for v in model.graph.inputs if v.dtype == ir.DataType.FLOAT)
    for value in data:
        if value.shape is None:
            continue
        chosen = range(9) if alive is None else alive.get(value.name or "", ())
        builder.set_axes(
            value,
            [
                builder.atoms.fresh(size) if isinstance(size, int) and axis in chosen else None
                for axis, size in enumerate(value.shape or ())
            ],
        )
    found = rule_of(node)
    assert found is not None, f"no rule for {node.op_type}"
    for earlier in model.graph:
        if earlier is not node:
            builder.axes(earlier.outputs[0])
    found(builder, node)
    resolve(builder)
    return Ruled(node, builder, builder.atoms.solve(), data)


def tagged(proto: onnx.ModelProto) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs whose elements are numbered from 1 on through all of them, and the outputs."""
    feed, start = {}, 1
    for value in proto.graph.input:
        shape = [d.dim_value or BATCH for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            continue
        count = int(np.prod(shape))
        feed[value.name] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    found = shared_worker().session(proto.SerializeToString()).run(dict(feed))
    return feed, {name: np.asarray(array) for name, array in found.items()}


def inconsistent(ruled: Ruled, feed: dict[str, Array], found: dict[str, Array]) -> list[int]:
    """Classes whose removal keeps an element of a removed source, or drops one of a kept source.

    Classes of outputs alone (padding, repetitions) may drop what they like.
    """
    bad = []
    for gone in ruled.classes():
        sources = [
            ruled.removed(v, feed[v.name or ""].shape, {gone}).reshape(-1) for v in ruled.data
        ]
        removed = np.concatenate([[False], *sources])
        for value in ruled.node.outputs:
            tags = found[value.name or ""].astype(np.int64)
            lost = ruled.removed(value, tags.shape, {gone})
            wrong = removed[tags] != lost if removed.any() else removed[tags] & ~lost
            if (wrong & (tags > 0)).any():
                bad.append(gone)
    return bad


def finest(feed: Array, axis: int, outputs: list[Array]) -> set[Partition]:
    """The ways in which positions of an axis can leave, one per choice of output axes.

    Args:
        feed: The numbered input; other inputs are ignored.
        axis: Of it.
        outputs: What came out.
    """
    n = feed.shape[axis]
    first, stride = int(feed.flat[0]), int(np.prod(feed.shape[axis + 1 :], dtype=np.int64))
    ways: set[Partition] = set()
    for choice in product(*(range(max(o.ndim, 1)) for o in outputs)):
        graph: nx.Graph[tuple[int, int]] = nx.Graph()
        graph.add_nodes_from((0, i) for i in range(n))
        for number, (output, out_axis) in enumerate(zip(outputs, choice, strict=True), 1):
            graph.add_edges_from(_landings(output, out_axis, number, first, feed.size, stride, n))
        parts = list(nx.connected_components(graph))
        sizes = {k: o.shape[a] for k, (o, a) in enumerate(zip(outputs, choice, strict=True), 1)
                 if o.ndim}  # fmt: skip
        sets = [
            frozenset(i for k, i in part if k == 0)
            for part in parts
            if all(sum(k == number for k, _ in part) < size for number, size in sizes.items())
        ]
        way = frozenset(s for s in sets if s)
        if way:
            ways.add(way)
    return ways


def _landings(
    output: Array, axis: int, number: int, first: int, count: int, stride: int, n: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    tags = output.astype(np.int64) - first
    mine = (tags >= 0) & (tags < count)
    if output.ndim == 0:
        return
    places = np.broadcast_to(
        np.arange(output.shape[axis]).reshape([-1 if i == axis else 1 for i in range(tags.ndim)]),
        tags.shape,
    )
    pairs = np.unique(np.stack([tags[mine] // stride % n, places[mine]]), axis=1)
    for source, place in pairs.T.tolist():
        yield (0, source), (number, place)
