"""Operator schemas of the ONNX standard, as plain data.

Source: ``onnx.defs`` of the installed onnx package (tables only; no model is parsed here).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import onnx
import onnx_ir as ir

STANDARD_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")
"""Domains whose operators are all known: an unknown name there is an invalid model."""


@dataclass(frozen=True, eq=False)
class Schema:
    """What the structural verifier needs to know of one operator version.

    There is one object per version: it is compared, and hashed, by identity.
    """

    min_inputs: int
    max_inputs: int
    min_outputs: int
    max_outputs: int
    attributes: frozenset[str]
    required: frozenset[str]
    defaults: tuple[tuple[str, Any], ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    variadic_input: bool
    homogeneous: bool
    since: int
    constraints: tuple[tuple[str, frozenset[str]], ...]

    def input_type(self, index: int) -> str | None:
        """Type string (``T`` or ``tensor(int64)``) of input ``index``."""
        if index < len(self.input_types):
            return self.input_types[index]
        return self.input_types[-1] if self.variadic_input and self.input_types else None


@lru_cache(maxsize=4096)
def get_schema(domain: str, op_type: str, version: int) -> Schema | None:
    """Schema of ``op_type`` in force at opset ``version`` of ``domain``; None when unknown."""
    try:
        found = onnx.defs.get_schema(op_type, max_inclusive_version=version, domain=domain)
    except onnx.defs.SchemaError:
        return None
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    last = found.inputs[-1] if found.inputs else None
    return Schema(
        min_inputs=found.min_input,
        max_inputs=found.max_input,
        min_outputs=found.min_output,
        max_outputs=found.max_output,
        attributes=frozenset(found.attributes),
        required=frozenset(n for n, a in found.attributes.items() if a.required),
        defaults=_defaults(found),
        input_types=tuple(p.type_str for p in found.inputs),
        output_types=tuple(p.type_str for p in found.outputs),
        variadic_input=last is not None and last.option == variadic,
        homogeneous=bool(last.is_homogeneous) if last is not None else True,
        since=found.since_version,
        constraints=tuple(
            (c.type_param_str, frozenset(c.allowed_type_strs)) for c in found.type_constraints
        ),
    )


def _defaults(schema: onnx.defs.OpSchema) -> tuple[tuple[str, Any], ...]:
    """Default value of every attribute that has one, as Python values."""
    found = []
    for name, attribute in sorted(schema.attributes.items()):
        proto = attribute.default_value
        if proto is not None and proto.type != onnx.AttributeProto.UNDEFINED:
            attribute_value: Any = ir.from_proto(proto)
            value = attribute_value.value
            found.append((name, tuple(value) if isinstance(value, (list, tuple)) else value))
    return tuple(found)
