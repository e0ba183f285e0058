"""Delta debugging: the smallest part of a list, and of a model, that still fails.

Source: Zeller and Hildebrandt 2002, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE
28(2), algorithm ddmin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.piece import (
    bypass,
    inline_branch,
    keep_nodes,
    keep_outputs,
    nodes_of,
    strip,
    stub_weight,
    trim_outputs,
)
from onnxslim.graph.proto import bodies

T = TypeVar("T")
Fails = Callable[[ir.Model], bool]

_STUB_FROM = 1024
"""Elements from which a weight is worth a stub."""


def minimize(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """A part of ``items`` that fails and does not without any one of its pieces.

    Args:
        items: Fail as a whole.
        fails: Whether some of them, in their order, fail.
    """
    kept, parts = list(items), 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        found = next((c for c in _candidates(chunks) if fails(c)), None)
        if found is None:
            if size == 1:
                break
            parts = min(2 * parts, len(kept))
        else:
            parts = 2 if len(found) <= size else max(parts - 1, 2)
            kept = found
    if len(kept) == 1 and fails([]):
        return []
    return kept


def _candidates(chunks: list[list[T]]) -> Iterator[list[T]]:
    """Each chunk, then everything without each chunk."""
    yield from chunks
    if len(chunks) > 2:
        for left_out in range(len(chunks)):
            yield [item for i, chunk in enumerate(chunks) if i != left_out for item in chunk]


_ON_BRANCHES: tuple[Callable[[ir.Model, int], ir.Model | None], ...] = (
    partial(inline_branch, name="then_branch"),
    partial(inline_branch, name="else_branch"),
    trim_outputs,
)


class Shrinker:
    """Makes one model smaller step by step, as long as it fails.

    Args:
        model: Fails; types of its values are inferred.
        fails: Whether a candidate fails.
        on_step: Told what is tried.

    Attributes:
        model: The smallest found so far.
    """

    def __init__(
        self, model: ir.Model, fails: Fails, on_step: Callable[[str], None] | None = None
    ) -> None:
        self.model = model
        self._fails = fails
        self._on_step = on_step or (lambda text: None)

    def run(self) -> None:
        """All steps, until a round changes nothing."""
        self._try("metadata", strip(self.model))
        while True:
            before = _weight(self.model)
            self._outputs()
            self._nodes()
            self._outputs()
            self._branches()
            self._nodes(inside=True)
            self._bypasses()
            if _weight(self.model) == before:
                break
        self._stubs()

    def _try(self, what: str, candidate: ir.Model | None) -> bool:
        if candidate is None:
            return False
        self._on_step(f"{what}: {len(self.model.graph)} nodes")
        if not self._fails(candidate):
            return False
        self.model = candidate
        return True

    def _outputs(self) -> None:
        start = self.model
        minimize(
            range(len(start.graph.outputs)),
            lambda kept: self._try("outputs", keep_outputs(start, set(kept))),
        )

    def _nodes(self, *, inside: bool = False) -> None:
        """Leave out nodes of the main graph, or of the bodies in it."""
        start = self.model
        nodes = nodes_of(start)
        chosen = [i for i, node in enumerate(nodes) if (node.graph is not start.graph) == inside]
        others = set(range(len(nodes))).difference(chosen)
        what = "nodes of bodies" if inside else "nodes"
        if chosen:
            minimize(chosen, lambda kept: self._try(what, keep_nodes(start, {*kept, *others})))

    def _branches(self) -> None:
        """Put one branch in the place of an If, or leave out what nobody reads of both."""
        for change in _ON_BRANCHES:
            position = 0
            while position < len(nodes := nodes_of(self.model)):
                is_if = nodes[position].op_type == "If"
                if not (is_if and self._try("If", change(self.model, position))):
                    position += 1

    def _bypasses(self) -> None:
        position = len(nodes_of(self.model)) - 1
        while position >= 0:
            self._try("bypass", bypass(self.model, position))
            position = min(position, len(nodes_of(self.model))) - 1

    def _stubs(self) -> None:
        for name, value in list(self.model.graph.initializers.items()):
            tensor = value.const_value
            if tensor is not None and tensor.size >= _STUB_FROM:
                if tensor.dtype.is_floating_point() or tensor.dtype.is_integer():
                    self._try("weights", stub_weight(self.model, name))


def _count(model: ir.Model) -> int:
    return sum(len(graph) for graph in bodies(model))


def _weight(model: ir.Model) -> tuple[int, int, int]:
    values = sum(edit.use_count(v) for node in model.graph for v in node.outputs)
    return _count(model), len(model.graph.outputs), values
