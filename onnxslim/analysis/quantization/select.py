"""The user's word on layers: ``--include`` and ``--exclude`` globs on the model as given."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.globs import matcher, nothing_matches


class Selection:
    """Says of a layer whether it is included, excluded, or neither.

    Args:
        model: As it is now; what its nodes were in the model as given is remembered in it.
        include: Only layers that match one are quantized, also where it would not pay.
        exclude: Layers that match one stay float.

    Raises:
        UsageError: When a GLOB matches nothing.
    """

    def __init__(
        self, model: ir.Model, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> None:
        self.sources: Sequence[tuple[str, str, Sequence[str]]] = model.meta.get(edit.SOURCES, ())
        self.include = [matcher(glob) for glob in include]
        self.exclude = [matcher(glob) for glob in exclude]
        self._known = [*self.sources]
        for graph in edit.all_graphs(model):
            self._known += [_own(node) for node in graph]
        for option, globs in (("--include", include), ("--exclude", exclude)):
            for glob in globs:
                match = matcher(glob)
                if not any(match(*known) for known in self._known):
                    raise nothing_matches(option, glob)

    def __call__(self, node: ir.Node) -> str:
        names = [_own(node)]
        for index in node.meta.get(edit.SOURCE, ()):
            if index < len(self.sources):
                names.append(self.sources[index])
        if any(match(*known) for match in self.exclude for known in names):
            return "exclude"
        if not self.include:
            return ""
        included = any(match(*known) for match in self.include for known in names)
        return "include" if included else "exclude"


def _own(node: ir.Node) -> tuple[str, str, list[str]]:
    return node.name or "", edit.op_id(node), [v.name for v in node.outputs if v.name]
