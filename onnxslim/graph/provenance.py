"""Which nodes a GLOB means: names are those of the model as given, whatever passes did since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.globs import matcher

_READERS = "onnxslim.readers"
"""``model.meta`` key: by name of an initializer as given, the sources of the nodes that read it."""


_MAX_SOURCES = 256
_HUB = 32
"""A node that stands for more is no news about each of them."""


def joined(sources: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What stands for all of these; a hub stands for the first ones: all would be quadratic."""
    for known in sources:
        if len(known) >= _MAX_SOURCES:
            return known
    return tuple(sorted({index for known in sources for index in known}))


class History:
    """Which passes edited what the nodes of the loaded model became.

    Args:
        model: Keeps it in its ``meta``.

    Attributes:
        name: The running pass; empty when there is none.
    """

    def __init__(self, model: ir.Model) -> None:
        self.name = ""
        self._done: dict[int, tuple[str, ...]] = model.meta.setdefault(edit.PASSES, {})

    def note(self, nodes: Iterable[ir.Node]) -> None:
        """The running pass edits, replaces or removes these."""
        for node in nodes if self.name else ():
            sources = node.meta.get(edit.SOURCE, ())
            for index in sources if len(sources) <= _HUB else ():
                known = self._done.get(index, ())
                if self.name not in known:
                    self._done[index] = (*known, self.name)


def remember_readers(model: ir.Model) -> None:
    """Note who reads each initializer, before passes rename or fold them."""
    readers: dict[str, tuple[int, ...]] = {}
    for graph in edit.all_graphs(model):
        for name, value in graph.initializers.items():
            found = [use.node.meta.get(edit.SOURCE, ()) for use in value.uses()]
            readers[name] = tuple(sorted({index for own in found for index in own}))
    model.meta[_READERS] = readers


def matching_nodes(model: ir.Model, glob: str) -> list[ir.Node]:
    """Nodes that stand for what a GLOB matches, in graph order.

    A node is matched by its name, its operator (``op:Conv``), the names of its outputs and those of
    the initializers it reads: now, or as the model was given.

    Args:
        model: With its provenance.
        glob: A node name, a tensor name or ``op:TYPE``.
    """
    match = matcher(glob)
    sources: Sequence[tuple[str, str, Sequence[str]]] = model.meta.get(edit.SOURCES, ())
    readers: dict[str, tuple[int, ...]] = model.meta.get(_READERS, {})
    wanted = {i for i, known in enumerate(sources) if match(*known)}
    for name, own in readers.items():
        if match("", "", (name,)):
            wanted.update(own)
    found = []
    for graph in edit.all_graphs(model):
        for node in graph:
            if match(*_own(node)) or not wanted.isdisjoint(node.meta.get(edit.SOURCE, ())):
                found.append(node)
    return found


def _own(node: ir.Node) -> tuple[str, str, list[str]]:
    constants = [v for v in node.inputs if v is not None and v.is_initializer()]
    return (
        node.name or "",
        edit.op_id(node),
        [v.name for v in (*node.outputs, *constants) if v.name],
    )


def is_known(model: ir.Model, glob: str) -> bool:
    """Whether a GLOB matches anything of the model as given, folded or removed since or not."""
    match = matcher(glob)
    sources: Any = model.meta.get(edit.SOURCES, ())
    if any(match(*known) for known in sources) or matching_nodes(model, glob):
        return True
    return any(match("", "", (name,)) for name in model.meta.get(_READERS, {}))


def copy_provenance(source: ir.Model, target: ir.Model) -> None:
    """Let the nodes of a duplicate stand for what those of the original stand for."""
    for key in (edit.SOURCES, _READERS):
        if key in source.meta:
            target.meta[key] = source.meta[key]
    target.meta[edit.PASSES] = dict(source.meta.get(edit.PASSES, {}))
    for one, other in zip(edit.all_graphs(source), edit.all_graphs(target), strict=True):
        for node, twin in zip(one, other, strict=True):
            if edit.SOURCE in node.meta:
                twin.meta[edit.SOURCE] = node.meta[edit.SOURCE]
