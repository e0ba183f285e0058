"""What a gradient rule is, and which operator has which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Call:
    """One node on the way back.

    Attributes:
        node: The node.
        inputs: What it read; None for inputs left out.
        outputs: What it gave; None for outputs nobody reads.
        grads: dL/dy per output, shaped like the output; zeros where nothing came back.
        wanted: Per input, whether its gradient is asked for.
        opset: Of the model.
    """

    node: ir.Node
    inputs: Sequence[Array | None]
    outputs: Sequence[Array | None]
    grads: Sequence[Array | None]
    wanted: Sequence[bool]
    opset: int

    @property
    def dy(self) -> Array:
        """dL/dy of the first output."""
        found = self.grads[0]
        assert found is not None
        return found

    @property
    def y(self) -> Array:
        """The first output."""
        found = self.outputs[0]
        assert found is not None
        return found

    def x(self, index: int = 0) -> Array:
        """An input that must be there."""
        found = self.inputs[index]
        assert found is not None
        return found

    def given(self, index: int) -> Array | None:
        """An input, None when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def wants(self, index: int) -> bool:
        """Whether the gradient of an input is asked for."""
        return index < len(self.wanted) and self.wanted[index]

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return edit.attr(self.node, name, default)


Gradients = dict[int, Array]
"""dL/dx by input index; an input that is missing gets no gradient from this node."""

Rule = Callable[[Call], Gradients]


@dataclass(frozen=True)
class Known:
    """A rule with what it can do.

    Attributes:
        rule: Gives the gradients.
        inputs: Indices of the inputs it gives gradients of; None for all.
        allows: Whether it can treat a node, by attributes and shapes.
    """

    rule: Rule
    inputs: frozenset[int] | None
    allows: Callable[[ir.Node], bool]

    def passes(self, index: int) -> bool:
        """Whether it gives the gradient of an input."""
        return self.inputs is None or index in self.inputs


_RULES: dict[str, Known] = {}

ENDS = frozenset(
    {
        "And", "ArgMax", "ArgMin", "Ceil", "ConstantOfShape", "Equal", "Floor", "Greater",
        "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "NonZero", "Not", "Or", "Round",
        "Shape", "Sign", "Size", "Xor",
    }
)  # fmt: skip
"""Operators whose outputs do not change when their inputs change a little: gradients are 0."""


def gradient_rule(
    *ops: str,
    inputs: Iterable[int] | None = (0,),
    allows: Callable[[ir.Node], bool] = lambda node: True,
) -> Callable[[Rule], Rule]:
    """Register a rule for operators of the standard domain.

    Args:
        ops: Their names.
        inputs: Indices of the inputs it gives gradients of; None for all.
        allows: Whether it can treat a node.
    """

    def add(rule: Rule) -> Rule:
        known = Known(rule, None if inputs is None else frozenset(inputs), allows)
        for op in ops:
            assert op not in _RULES, f"{op} has a gradient rule already"
            _RULES[op] = known
        return rule

    return add


def rule_of(node: ir.Node) -> Known | None:
    """The rule for a node, or None."""
    known = None if node.domain else _RULES.get(node.op_type)
    return known if known is not None and known.allows(node) else None


def ruled() -> list[str]:
    """Operators with a rule."""
    return sorted(_RULES)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand was repeated."""
    if gradient.shape == shape:
        return gradient
    spare = gradient.ndim - len(shape)
    axes = (*range(spare), *(spare + i for i, n in enumerate(shape) if n == 1))
    return np.asarray(gradient.sum(axis=axes, keepdims=True)).reshape(shape)
