"""Passes for tests, and a way to make the registry find them as plug-ins."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.pipeline import Numerics, Pass, PassContext, register, registry


@register
@dataclass(frozen=True)
class EliminateDoubleNeg(Pass):
    """Let the readers of Neg(Neg(x)) read x.

    Skipped when the result is a graph output.

    Source: arithmetic.
    """

    name: ClassVar[str] = "eliminate-double-neg"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Neg"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    if inner is None or not edit.is_op(inner, "Neg") or inner.inputs[0] is None:
        return False
    return ctx.bypass(node, inner.inputs[0]) or ctx.skip(node, "its result is a graph output")


@register
@dataclass(frozen=True)
class ConvertOptions(Pass):
    """Do nothing, with an option of every kind.

    Args:
        count: A number.
        ratio: A float.
        text: A text.
        flag: A switch.
        kind: One of two words.
        items: Several words.
        limit: A number or nothing.

    Source: none.
    """

    name: ClassVar[str] = "convert-options"

    count: int = 1
    ratio: float = 0.5
    text: str = ""
    flag: bool = False
    kind: Literal["left", "right"] = "left"
    items: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is negative")

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        return 0


@dataclass(frozen=True)
class Scripted(Pass):
    """A pass that does what a function says."""

    action: Callable[[ir.Model, PassContext], int]
    name: ClassVar[str] = "scripted"

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        return self.action(model, ctx)


class Plugin(importlib.metadata.EntryPoint):
    """An entry point that loads what it is given."""

    def __new__(cls, name: str, loaded: object) -> Plugin:
        return super().__new__(cls)

    def __init__(self, name: str, loaded: object) -> None:
        super().__init__(name=name, value="tests.toys:nothing", group=registry.GROUP)
        vars(self)["loaded"] = loaded

    def load(self) -> object:
        loaded = vars(self)["loaded"]
        if isinstance(loaded, Exception):
            raise loaded
        return loaded


def install(monkeypatch: pytest.MonkeyPatch, **loaded: object) -> None:
    """Make the registry see these plug-ins (``name_with_underscores=class``) and no others."""
    points = {n.replace("_", "-"): Plugin(n.replace("_", "-"), x) for n, x in loaded.items()}
    monkeypatch.setattr(registry, "_plugins", lambda: points)
