"""Groups put together by hand, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Group, Role, Site
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto

Entry = tuple[int, Role, str, int, Sequence[int] | None]


def loaded(model: onnx.ModelProto) -> ir.Model:
    found = from_proto(model)
    infer_shapes(found)
    return found


def group(
    model: ir.Model,
    size: int,
    entries: Sequence[Entry],
    *,
    id: int = 0,
    cells: Sequence[int] | None = None,
    kind: str = "channel",
    width: int = 1,
) -> Group:
    """A group from ``(node index, role, value name, axis, units or None for all in order)``."""
    nodes = list(model.graph)
    values = {v.name: v for n in nodes for v in (*n.inputs, *n.outputs) if v is not None}
    sites = tuple(
        Site(
            nodes[index],
            role,
            values[name],
            axis,
            np.arange(size) if units is None else np.asarray(units),
        )
        for index, role, name, axis, units in entries
    )
    layers = tuple(dict.fromkeys(s.node.name or "" for s in sites))
    blocks = np.zeros(size, np.int64) if cells is None else np.asarray(cells)
    return Group(id, size, blocks, width, sites, layers, kind)
