"""Fresh names for values and nodes, unique in the whole model, the same in every run."""

from __future__ import annotations

import re

import onnx_ir as ir

from onnxslim.graph import edit

_COUNTER = re.compile(r"_s\d+$")


class Names:
    """Hands out names that no value or node of the model has or had.

    Args:
        model: The model whose names are taken.
    """

    def __init__(self, model: ir.Model) -> None:
        self._values: set[str] = set()
        self._nodes: set[str] = set()
        self._next: dict[str, int] = {}
        for graph in edit.all_graphs(model):
            self.reserve(graph)

    def reserve(self, graph: ir.Graph) -> None:
        """Mark every name of one graph (not of its subgraphs) as taken."""
        self._values.update(v.name for v in graph.inputs if v.name)
        self._values.update(graph.initializers)
        for node in graph:
            if node.name:
                self._nodes.add(node.name)
            self._values.update(v.name for v in node.outputs if v.name)

    def value(self, stem: str) -> str:
        """A fresh value name ``STEM_s1``, ``STEM_s2`` ... (a stem's own counter is dropped)."""
        return self._fresh(stem, self._values)

    def node(self, keeper: str | None, op_type: str) -> str:
        """A fresh node name; empty when the model's node had none (names are optional)."""
        return self._fresh(f"{keeper}/{op_type}", self._nodes) if keeper else ""

    def _fresh(self, stem: str, taken: set[str]) -> str:
        stem = _COUNTER.sub("", stem)
        while True:
            count = self._next[stem] = self._next.get(stem, 0) + 1
            name = f"{stem}_s{count}"
            if name not in taken:
                taken.add(name)
                return name
