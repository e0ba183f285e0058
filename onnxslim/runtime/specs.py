"""What a model wants to be fed: names, types and shapes of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from onnxslim.graph.dimension_names import is_nameless

if TYPE_CHECKING:
    import onnx_ir as ir

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Feed: TypeAlias = dict[str, Array]
Shape: TypeAlias = tuple[int | str | None, ...]


class TensorLike(Protocol):
    """The part of a session's tensor description that is needed here."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def shape(self) -> tuple[int | str | None, ...] | None: ...


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Args:
        name: Its name.
        dtype: A NumPy type, ``"string"``, or (not feedable) ``"sequence"``, ``"optional"``,
            ``"sparse"``.
        shape: Per axis a size, a symbol, or None for unknown; None when the rank is unknown.
    """

    name: str
    dtype: np.dtype[Any] | str
    shape: Shape | None

    @property
    def feedable(self) -> bool:
        """Whether a plain array can be given for it."""
        return not isinstance(self.dtype, str) or self.dtype == "string"

    @property
    def kind(self) -> str:
        """``float``, ``int``, ``bool``, ``complex``, ``string`` or ``other``."""
        return "string" if self.dtype == "string" else kind_of(self.dtype)

    def __str__(self) -> str:
        text = "unknown rank" if self.shape is None else shape_text(self.shape)
        return f"{self.name!r} ({self.dtype} {text})"


def kind_of(dtype: np.dtype[Any] | str) -> str:
    """Classifies a type, the small floats and integers of ml_dtypes included."""
    if isinstance(dtype, str):
        return "other"
    if dtype.kind in "fiubc":
        return {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}[dtype.kind]
    if dtype.kind in "US":
        return "string"
    if dtype.name.startswith(("bfloat", "float")):
        return "float"
    return "int" if dtype.name.startswith(("int", "uint")) else "other"


def shape_text(shape: Iterable[int | str | None]) -> str:
    """A shape as users write it: ``[batch, 3, ?, 64]``."""
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


def clean_shape(shape: Iterable[int | str | None] | None) -> Shape | None:
    """Replaces negative sizes and placeholder symbols by None."""
    return None if shape is None else tuple(_clean_dim(d) for d in shape)


def _clean_dim(dim: int | str | None) -> int | str | None:
    if isinstance(dim, str):
        return None if is_nameless(dim) else dim
    return None if dim is None or dim < 0 else int(dim)


def specs_of(model: ir.Model) -> list[InputSpec]:
    """Describes the inputs that must be fed: graph inputs without an initializer of that name."""
    graph = model.graph
    return [_spec(v) for v in graph.inputs if v.name and v.name not in graph.initializers]


def output_names(model: ir.Model) -> list[str]:
    """The names of the graph outputs, in order."""
    return [v.name for v in model.graph.outputs if v.name]


def _spec(value: ir.Value) -> InputSpec:
    shape = None
    if value.shape is not None:
        shape = clean_shape(d if isinstance(d, int) else d.value for d in value.shape)
    return InputSpec(str(value.name), _dtype(value), shape)


def _dtype(value: ir.Value) -> np.dtype[Any] | str:
    import onnx_ir as ir

    kinds = {
        ir.SequenceType: "sequence",
        ir.OptionalType: "optional",
        ir.SparseTensorType: "sparse",
    }
    if value.type is not None and type(value.type) in kinds:
        return kinds[type(value.type)]
    if value.dtype == ir.DataType.STRING:
        return "string"
    if value.dtype is None or value.dtype == ir.DataType.UNDEFINED:
        return np.dtype(np.float32)
    return value.dtype.numpy()


def specs_from(inputs: Iterable[TensorLike]) -> list[InputSpec]:
    """Describes the inputs of a session."""
    found = []
    for item in inputs:
        dtype = item.dtype if isinstance(item.dtype, str) else np.dtype(item.dtype)
        found.append(InputSpec(item.name, dtype, clean_shape(item.shape)))
    return found


def by_name(specs: Iterable[InputSpec]) -> Mapping[str, InputSpec]:
    """The same specs, keyed by name, in order."""
    return {spec.name: spec for spec in specs}
