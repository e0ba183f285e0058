"""Counts that describe a model: nodes, parameters, MACs, bytes, operators."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onnxslim.analysis.cost import model_macs, parameter_count
from onnxslim.graph import edit
from onnxslim.report.entries import Summary


def summarize(model: ir.Model, size: int) -> Summary:
    """Describe a model whose shapes were inferred.

    A symbolic first dimension of a graph input counts as 1: MACs are those of one sample.

    Args:
        model: The model.
        size: Bytes of its file and external data.
    """
    operators: Counter[str] = Counter()
    graphs = [*edit.all_graphs(model), *(f.graph for f in model.functions.values())]
    for graph in graphs:
        for node in graph:
            if not edit.is_op(node, "Constant"):
                operators[edit.op_id(node)] += 1
    return Summary(
        nodes=sum(operators.values()),
        parameters=parameter_count(model),
        macs=model_macs(model, batch_bindings(model)),
        bytes=size,
        opset=model.graph.opset_imports.get("", 0),
        operators=dict(sorted(operators.items())),
    )


def batch_bindings(model: ir.Model) -> dict[str, int]:
    """1 for every symbol that is the first dimension of a graph input of rank 2 or more."""
    found = {}
    for value in model.graph.inputs:
        dims = edit.shape_of(value)
        if dims is not None and len(dims) > 1 and isinstance(dims[0], ir.SymbolicDim):
            if dims[0].value is not None:
                found[dims[0].value] = 1
    return found
