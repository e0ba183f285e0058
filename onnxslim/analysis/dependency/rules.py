"""The rule of every operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxslim.analysis.dependency import (
    rules_attention,
    rules_blockwise,
    rules_elementwise,
    rules_indexing,
    rules_linear,
    rules_movement,
    rules_recurrent,
    rules_reduction,
    rules_reshape,
)
from onnxslim.analysis.dependency.builder import Builder

Rule = Callable[[Builder, ir.Node], None]

RULES: Mapping[str, Mapping[str, Rule]] = {
    "": {
        **rules_elementwise.RULES,
        **rules_indexing.RULES,
        **rules_linear.RULES,
        **rules_movement.RULES,
        **rules_recurrent.RULES,
        **rules_reduction.RULES,
        **rules_reduction.STANDARD_ELSEWHERE,
        **rules_reshape.RULES,
        **rules_attention.RULES,
    },
    "com.microsoft": {
        **rules_attention.MICROSOFT,
        **rules_blockwise.MICROSOFT,
        **rules_elementwise.MICROSOFT,
        **rules_linear.MICROSOFT,
        **rules_reduction.MICROSOFT,
    },
}
"""By domain and operator type."""


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's operator; None when there is none."""
    return RULES.get(node.domain, {}).get(node.op_type)
