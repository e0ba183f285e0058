"""What a pass is: an immutable value with options, a promise, and one method ``run``."""

from __future__ import annotations

import dataclasses
import enum
import re
from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import onnx_ir as ir

from onnxslim.errors import PassError
from onnxslim.pipeline.context import PassContext

P = TypeVar("P", bound="type[Pass]")


class Numerics(enum.Enum):
    """What a pass promises of the numbers."""

    EXACT = "exact"
    """Bit-identical outputs."""
    ROUNDING = "rounding"
    """The same function; results differ by rounding only."""
    LOSSY = "lossy"
    """Another function, judged by an accuracy budget."""


class Pass(ir.passes.InPlacePass):
    """Base of every pass. Subclasses are frozen dataclasses; their fields are the options.

    A pass edits the model in place through its context and returns the number of rewrites;
    0 means that the model is unchanged, to the byte. It keeps no state between runs.

    Attributes:
        name: The text name, ``fold-batchnorm``; module, class and test file are named after it.
        numerics: The promise that verification and the contract suite hold the pass to.
    """

    name: ClassVar[str]
    numerics: ClassVar[Numerics] = Numerics.EXACT

    @abstractmethod
    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Rewrite ``model`` in place; returns how many rewrites were made."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Entry point of ``onnx_ir`` pass managers: runs with a context of its own."""
        from onnxslim.analysis.shapes import infer_shapes

        infer_shapes(model)
        rewrites = self.run(model, PassContext(model))
        return ir.passes.PassResult(model, modified=rewrites > 0)

    def options(self) -> dict[str, Any]:
        """Options of this pass by name, defaults included."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring, for tables."""
        return (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else ""


def register(cls: P) -> P:
    """Check a pass class and mark it as one; discovery finds marked classes in ``passes/``.

    Raises:
        PassError: When name, class name and immutability do not go together.
    """
    params = getattr(cls, "__dataclass_params__", None)
    if params is None or not params.frozen:
        raise PassError(f"{cls.__name__} is no frozen dataclass: add @dataclass(frozen=True)")
    if class_key(cls.__name__) != class_key(cls.name):
        raise PassError(f"{cls.__name__} is named {cls.name!r}: class and name must agree")
    cls.__onnxslim_pass__ = True  # type: ignore[attr-defined]
    return cls


def class_key(name: str) -> str:
    """``FoldBatchNorm``, ``fold-batchnorm`` and ``fold_batchnorm`` all become ``foldbatchnorm``."""
    return re.sub(r"[-_]", "", name).lower()
