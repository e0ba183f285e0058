"""Raise the opset to what a fusion wanted, or to a given version.

Fusions into one standard operator exist from some opset on (Gelu 20, LayerNormalization 17,
RMSNormalization 23, HardSwish 14). A fusion that matched in a model of an older opset says which
one it wanted; this pass raises the model to the highest one wanted, and no further.

Source: the operator changelogs of ONNX (docs/Changelog.md of onnx).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.opset import latest_opset, raise_opset
from onnxslim.pipeline import Numerics, Pass, PassContext, register


@register
@dataclass(frozen=True)
class ConvertOpset(Pass):
    """Raise the opset of the model to the least that lets a fusion fire.

    Skipped when no fusion wanted a newer opset, and when a node cannot be converted.

    Args:
        version: The opset to raise to; 0 takes what fusions wanted.
    """

    name: ClassVar[str] = "convert-opset"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    version: int = 0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        version = min(self.version or ctx.wanted_opset, latest_opset())
        if version <= ctx.opset:
            return 0
        before = ctx.opset
        try:
            raise_opset(model, version)
        except UnsupportedModelError as error:
            ctx.warnings.append(f"the opset stays at {before}: {error}")
            return 0
        infer_shapes(model)
        ctx.reindex()
        ctx.warnings.append(f"opset raised from {before} to {version} for a fusion")
        return 1
