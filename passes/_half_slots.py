"""What of a node can be float16: positions of inputs and outputs, from its operator's schema."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.schema import get_schema

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

_TYPED = ("dtype", "output_datatype", "output_dtype")
_LIKE = frozenset({"CastLike", "ConstantOfShape", "DynamicQuantizeLinear", *edit.RANDOM_OPS})
_CONTRIB = frozenset({"BiasGelu", "FastGelu", "FusedMatMul", "Gelu", "QuickGelu"})


@dataclass(frozen=True)
class Slots:
    """Positions of a node's inputs and outputs that change their type."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@lru_cache(maxsize=2048)
def _schema_slots(
    op_type: str, opset: int
) -> tuple[frozenset[int], frozenset[int], int | None] | None:
    """Input and output positions that may be float and float16; where a variadic input begins."""
    schema = get_schema("", op_type, opset)
    if schema is None:
        return None
    free = {
        name
        for name, types in schema.constraints
        if "tensor(float)" in types and "tensor(float16)" in types
    }
    inputs = frozenset(i for i, kind in enumerate(schema.input_types) if kind in free)
    outputs = frozenset(i for i, kind in enumerate(schema.output_types) if kind in free)
    last = len(schema.input_types) - 1
    return inputs, outputs, last if schema.variadic_input and last in inputs else None


def slots_of(node: ir.Node, opset: int) -> Slots | None:
    """What of a node can change its type; None when nothing can."""
    if node.op_type in _LIKE or any(name in node.attributes for name in _TYPED):
        return None
    if edit.subgraphs(node) or not all(map(is_plain, (*node.inputs, *node.outputs))):
        return None
    if node.domain == "com.microsoft" and node.op_type in _CONTRIB:
        found = Slots(_floats(node.inputs), _floats(node.outputs))
    else:
        allowed = None if node.domain else _schema_slots(node.op_type, opset)
        if allowed is None or not node.outputs:
            return None
        inputs, outputs, variadic = allowed
        many = len(node.outputs) if node.op_type == "Split" else 0
        found = Slots(
            tuple(
                i
                for i in _floats(node.inputs)
                if (i if variadic is None else min(i, variadic)) in inputs
            ),
            tuple(i for i in _floats(node.outputs) if i in outputs or i < many),
        )
    return found if found.inputs or found.outputs else None


def is_plain(value: ir.Value | None) -> bool:
    """True for a tensor, or nothing known: no sequence, no optional."""
    return value is None or value.type is None or isinstance(value.type, ir.TensorType)


def _floats(values: Collection[ir.Value | None]) -> tuple[int, ...]:
    return tuple(i for i, value in enumerate(values) if value is not None and value.dtype == FLOAT)
