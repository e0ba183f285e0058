"""Copies of a model to try something on."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.provenance import copy_provenance


def working_copy(model: ir.Model) -> ir.Model:
    """A copy that shares its weights, knows where its nodes come from, with inferred shapes."""
    copy = duplicate(model)
    copy_provenance(model, copy)
    infer_shapes(copy)
    return copy
