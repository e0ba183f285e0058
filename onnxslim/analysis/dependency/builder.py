"""Collects the facts of a graph: labels of every axis, what leaves together, what stays.

One forward pass; the rule of each operator (``rules_*.py``) gives its outputs' axes and states
facts about its inputs'. Labels flow through data movement unchanged, so that slices, permutations
and concatenations are plain indexing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import STAYS, Atoms, Labels
from onnxslim.analysis.dependency.groups import Indices, Role
from onnxslim.analysis.dims import Dim, to_poly
from onnxslim.analysis.polynomial import text_of
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import constant_tensor, shape_of, subgraphs

Axes = list[Labels | None]
"""Labels of each axis of a tensor; None for an axis that stays whole."""

_FIRST_PRIME = 1_009


@dataclass(frozen=True, eq=False)
class RawSite:
    """A :class:`~onnxslim.analysis.dependency.groups.Site` before groups are known."""

    node: ir.Node
    role: Role
    value: ir.Value
    axis: int
    labels: Labels


@dataclass(frozen=True, eq=False)
class Product:
    """An axis that a Reshape splits into factors, row-major.

    A position leaves when any of its digits leaves; one factor at most is let vary (a mode).

    Attributes:
        node: The Reshape.
        whole: (n,) labels of the axis.
        factors: Labels of each factor; their sizes multiply to n.
    """

    node: ir.Node
    whole: Labels
    factors: tuple[Labels, ...]

    def digit(self, factor: int) -> Indices:
        """(n,) digit of each position of the whole in one factor."""
        sizes = [len(f) for f in self.factors]
        inner = int(np.prod(sizes[factor + 1 :], dtype=np.int64))
        return np.arange(len(self.whole), dtype=np.int64) // inner % sizes[factor]


@dataclass(frozen=True, eq=False)
class EqualCount:
    """The same number must stay in every block of an axis.

    Attributes:
        node: The node that asks for it.
        blocks: (blocks, size) labels.
    """

    node: ir.Node
    blocks: Labels


class Builder:
    """The facts of one graph."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.atoms = Atoms()
        self.axes_of: dict[ir.Value, Axes | None] = {}
        self.sites: list[RawSite] = []
        self.products: list[Product] = []
        self.equal: list[EqualCount] = []
        self.parts: list[Labels] = []
        self.grouped: list[tuple[ir.Node, ir.Value, Labels]] = []
        self._primes: dict[str, int] = {}
        self._rooted: dict[ir.Value, bool] = {}
        self._sizes = _large_sizes(model)

    # ---------------------------------------------------------------- axes

    def axes(self, value: ir.Value | None) -> Axes | None:
        """Labels of a tensor's axes; None when its rank is unknown or the input is left out."""
        if value is None:
            return None
        if value not in self.axes_of:
            self.axes_of[value] = self._new_axes(value)
        return self.axes_of[value]

    def _new_axes(self, value: ir.Value) -> Axes | None:
        tensor = constant_tensor(value)
        if tensor is not None:
            return [self.atoms.fresh(n) if n > 1 else None for n in tensor.shape.numpy()]
        dims = shape_of(value)
        if dims is None:
            return None
        if value.is_graph_input() and (value.const_value is not None or len(dims) == 1):
            # A parameter that callers may replace: whatever follows it is frozen with it.
            return [self.atoms.fresh(n) if isinstance(n, int) and n > 1 else None for n in dims]
        return [None] * len(dims)

    def is_constant(self, value: ir.Value | None) -> bool:
        """True for weights."""
        return constant_tensor(value) is not None

    def is_rooted(self, value: ir.Value) -> bool:
        """True for weights and what is computed from weights alone (dequantized, transposed)."""
        if value not in self._rooted:
            producer = value.producer()
            self._rooted[value] = self.is_constant(value) or (
                producer is not None
                and len(producer.inputs) > 0
                and not subgraphs(producer)
                and all(v is None or self.is_rooted(v) for v in producer.inputs)
            )
        return self._rooted[value]

    def set_axes(self, value: ir.Value, axes: Sequence[Labels | None] | None) -> None:
        """Labels of a node's output; axes of one position stay."""
        if axes is None:
            dims = shape_of(value)
            self.axes_of[value] = None if dims is None else [None] * len(dims)
        else:
            self.axes_of[value] = [a if a is not None and len(a) > 1 else None for a in axes]

    def number(self, dim: Dim) -> int:
        """A size; symbols count as different primes, so that products tell them apart.

        No known size of the model is a multiple of one of these primes.
        """
        if isinstance(dim, int):
            return dim
        terms = to_poly(dim)
        common = gcd(*(n for _, n in terms))
        if len(terms) == 1:
            return common * prod(self._prime(atom) for atom in terms[0][0])
        rest = tuple((atoms, n // common) for atoms, n in terms)
        return common * self._prime(text_of(rest))

    def _prime(self, name: str) -> int:
        """A prime for a symbol, or for a formula that is no product of symbols."""
        if name not in self._primes:
            prime = _next_prime(max(self._primes.values(), default=_FIRST_PRIME))
            while any(size % prime == 0 for size in self._sizes):
                prime = _next_prime(prime)
            self._primes[name] = prime
        return self._primes[name]

    def numbers(self, value: ir.Value | None) -> list[int] | None:
        """Sizes of a tensor's axes as :meth:`number` sees them."""
        dims = shape_of(value)
        return None if dims is None else [self.number(d) for d in dims]

    # ---------------------------------------------------------------- facts

    def unite(self, a: Labels | None, b: Labels | None, node: ir.Node) -> Labels | None:
        """Two axes are the same; returns the labels of both."""
        if a is None or b is None or len(a) != len(b):
            reason = f"{describe(node)} couples it with an axis that stays whole"
            self.freeze(a, reason)
            self.freeze(b, reason)
            return None
        self.atoms.unite(a, b)
        return a

    def freeze(self, labels: Labels | None, reason: str) -> None:
        """An axis stays whole."""
        if labels is not None:
            self.atoms.freeze(labels, reason)

    def freeze_axis(self, value: ir.Value | None, axis: int, reason: str) -> None:
        """One axis of a tensor stays whole."""
        axes = self.axes(value)
        if axes is not None and -len(axes) <= axis < len(axes):
            self.freeze(axes[axis], reason)

    def freeze_value(self, value: ir.Value | None, reason: str, *, but: Iterable[int] = ()) -> None:
        """Every axis of a tensor stays whole, but for some."""
        for axis, labels in enumerate(self.axes(value) or ()):
            if axis not in but:
                self.freeze(labels, reason)

    def site(self, node: ir.Node, role: Role, value: ir.Value | None, axis: int) -> None:
        """Note that a node uses an axis of a tensor in this role; only constants produce."""
        axes = self.axes(value)
        if value is None or axes is None:
            return
        if role is Role.PRODUCE and not self.is_rooted(value):
            return
        axis %= len(axes)
        labels = axes[axis]
        if labels is not None:
            self.sites.append(RawSite(node, role, value, axis, labels))

    def fail(self, node: ir.Node, reason: str) -> None:
        """Nothing about this node is understood: whatever it touches stays."""
        text = f"{describe(node)}: {reason}"
        for value in node.inputs:
            self.freeze_value(value, text)
        for output in node.outputs:
            self.set_axes(output, None)

    # ---------------------------------------------------------------- the pass

    def run(self, rules: Callable[[ir.Node], Callable[[Builder, ir.Node], None] | None]) -> None:
        """Visit every node of the main graph; bodies stay as they are."""
        for node in self.model.graph:
            rule = rules(node)
            if subgraphs(node):
                self._body(node)
            elif rule is None:
                self.fail(node, f"there is no rule for operator {node.op_type}")
            else:
                rule(self, node)
            for output in node.outputs:
                if output not in self.axes_of:
                    self.set_axes(output, None)
        for value in self.model.graph.outputs:
            self.freeze_value(value, f"graph output {value.name!r}")
        for value in self.model.graph.inputs:
            self.freeze_value(value, f"graph input {value.name!r}")

    def _body(self, node: ir.Node) -> None:
        reason = f"the body of {describe(node)} reads it"
        stack = list(subgraphs(node))
        while stack:
            graph = stack.pop()
            for inner in graph:
                for value in inner.inputs:
                    if value is not None and value in self.axes_of:
                        self.freeze_value(value, reason)
                stack.extend(subgraphs(inner))
            for value in graph.outputs:
                if value in self.axes_of:
                    self.freeze_value(value, reason)
        for value in node.inputs:
            self.freeze_value(value, reason)


def stay(size: int) -> Labels:
    """Labels of positions that stay."""
    return np.full(size, STAYS, dtype=np.int64)


def _large_sizes(model: ir.Model) -> list[int]:
    """Known sizes that a prime of :meth:`Builder.number` could divide."""
    found = {
        dim
        for node in model.graph
        for value in (*node.inputs, *node.outputs)
        for dim in shape_of(value) or ()
        if isinstance(dim, int) and dim > _FIRST_PRIME
    }
    return sorted(found)


def _next_prime(after: int) -> int:
    candidate = after + 2
    while any(candidate % d == 0 for d in range(3, int(candidate**0.5) + 1, 2)):
        candidate += 2
    return candidate
