"""What inference says about small models written as ONNX text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from onnxslim.analysis.shapes import infer_shapes, known_values


def parse(body: str, inputs: str = "", *, opset: int = 18, **constants: Any) -> ir.Model:
    """A model with these inputs (``float[N,4] x``) and initializers, not inferred."""
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({inputs}) => () {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, content in constants.items():
        array = np.asarray(content, dtype=None if isinstance(content, np.ndarray) else np.int64)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def infer(
    body: str, inputs: str = "", *, opset: int = 18, **constants: Any
) -> tuple[dict[str, ir.Value], list[str]]:
    """All node outputs by name, and the problems."""
    model = parse(body, inputs, opset=opset, **constants)
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    return {v.name: v for n in nodes for v in n.outputs if v.name}, problems


def shape(value: ir.Value) -> str:
    """``float[N,3]``, ``float?`` without a rank, ``?`` without a type."""
    kind = "" if value.dtype is None else value.dtype.name.lower()
    return f"{kind}{value.shape if value.shape is not None else '?'}"


def shape_after(body: str, inputs: str = "", *, opset: int = 18, **constants: Any) -> str:
    """Shape of ``y``, nothing being wrong."""
    found, problems = infer(body, inputs, opset=opset, **constants)
    assert problems == []
    return shape(found["y"])


def problem(body: str, inputs: str = "", *, opset: int = 18, **constants: Any) -> str:
    """The one problem of a model."""
    problems = infer(body, inputs, opset=opset, **constants)[1]
    assert len(problems) == 1, problems
    return problems[0]


def content(value: ir.Value) -> list[str] | None:
    """Known elements of a value as text."""
    found: Sequence[object] | None = known_values(value)
    return None if found is None else [str(e) for e in found]


def said(body: str, inputs: str = "", *, opset: int = 18, **constants: Any) -> str:
    """Every output of the last node and, behind bars, what is wrong with the model."""
    model = parse(body, inputs, opset=opset, **constants)
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    outputs = " ".join(shape(v) for v in model.graph[-1].outputs)
    return " | ".join([outputs, *(p.partition("': ")[2] for p in problems)])


def fresh(count: int) -> str:
    """Dimensions of which nothing is known: ``_d0,_d1``."""
    return ",".join(f"_d{i}" for i in range(count))
