"""What a shape rule sees of one node, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, broadcast, known_different
from onnxslim.graph.edit import constant_array, constant_tensor

VALUES = "onnxslim.values"
"""``value.meta`` key: elements of a small integer tensor, ``int | SymbolicDim | None`` each."""

MAX_VALUES = 64
LARGEST = 2**63 - 1
INTEGERS = frozenset((ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL))

Elements = tuple[Dim | None, ...]
Rule = Callable[["NodeContext"], None]


class Engine(Protocol):
    """What a context needs of the inference that runs it."""

    opset: int

    def fresh(self) -> ir.SymbolicDim:
        """A symbol that differs from every other one."""

    def problem(self, node: ir.Node, text: str) -> None:
        """Record that ``node`` certainly cannot run."""

    forced: dict[ir.Node, int]
    """``If`` nodes whose branch follows from what comes after them."""

    open_branches: bool
    """Some ``If`` has branches of different ranks and an unknown condition."""

    def infer_body(self, graph: ir.Graph, inputs: Sequence[BodyInput]) -> None:
        """Infer a subgraph whose inputs have these types and dimensions."""

    @property
    def mark(self) -> int:
        """Position in the stream of fresh symbols."""

    def is_younger(self, dim: Dim, mark: int) -> bool:
        """True when ``dim`` rests on a symbol made after ``mark``."""

    @property
    def depth(self) -> int:
        """How many subgraphs deep the current node is."""


BodyInput = tuple[ir.TypeProtocol | None, Dims | None]


def known_values(value: ir.Value | None) -> Elements | None:
    """Elements of a small integer tensor, row by row, as far as they are known, or None.

    Constants are read (never more than 64 elements); others have what inference found.
    """
    tensor = constant_tensor(value)
    if tensor is None:
        found: Elements | None = None if value is None else value.meta.get(VALUES)
        return found
    if tensor.dtype not in INTEGERS or tensor.size > MAX_VALUES:
        return None
    return tuple(int(x) for x in tensor.numpy().reshape(-1))


def element_count(value: ir.Value) -> int | None:
    """How many elements a tensor has, when that is known and at most 64."""
    if value.shape is None:
        return None
    count = 1
    for dim in value.shape:
        if not isinstance(dim, int):
            return None
        count *= dim
    return count if count <= MAX_VALUES else None


def describe(node: ir.Node) -> str:
    """``Conv 'conv1'`` for messages: operator and name (of the node, else its first output)."""
    name = node.name or next((v.name for v in node.outputs if v.name), "")
    return f"{node.op_type} '{name}'"


class NodeContext:
    """One node during inference: its inputs' facts, its attributes, its outputs to set."""

    __slots__ = ("engine", "inputs", "node", "opset", "outputs")

    def __init__(self, node: ir.Node, engine: Engine) -> None:
        self.node = node
        self.inputs = node.inputs
        self.outputs = node.outputs
        self.engine = engine
        self.opset = engine.opset

    # ---------------------------------------------------------------- inputs

    def given(self, index: int) -> bool:
        """True when input ``index`` is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> ir.Value | None:
        """Input ``index``, None when omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def dims(self, index: int) -> Dims | None:
        """Dimensions of tensor input ``index``; None when its rank is unknown."""
        value = self.value(index)
        if value is None or value.shape is None or value.type.__class__ in _CONTAINERS:
            return None
        return value.shape.dims

    def rank(self, index: int) -> int | None:
        """Rank of input ``index``, None when unknown."""
        dims = self.dims(index)
        return None if dims is None else len(dims)

    def dtype(self, index: int) -> ir.DataType | None:
        """Element type of tensor input ``index``, None when unknown."""
        value = self.value(index)
        kind = None if value is None else value.type
        return kind.dtype if kind is not None and kind.__class__ in _TENSORS else None

    def elements(self, index: int) -> Elements | None:
        """Content of input ``index``, None for each element that is not known.

        None when even the number of elements is unknown, or larger than 64.
        """
        value = self.value(index)
        found = known_values(value)
        if found is not None or value is None:
            return found
        count = element_count(value)
        return None if count is None else (None,) * count

    def sizes(self, index: int) -> Dims | None:
        """As :meth:`elements`, an unknown element being a fresh symbol: content used as a shape."""
        found = self.elements(index)
        return None if found is None else tuple(self.fresh() if e is None else e for e in found)

    def ints(self, index: int) -> tuple[int, ...] | None:
        """Content of input ``index`` when every element is a known number, else None."""
        found = known_values(self.value(index))
        if found is None or not all(isinstance(e, int) for e in found):
            return None
        return tuple(e for e in found if isinstance(e, int))

    def numbers(self, index: int) -> tuple[float, ...] | None:
        """Elements of a small constant of any numeric type, else None."""
        array = constant_array(self.value(index), limit=MAX_VALUES)
        if array is None or array.dtype == np.object_:
            return None
        return tuple(float(x) for x in array.reshape(-1))

    # ---------------------------------------------------------------- attributes

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or ``default``."""
        found = self.node.attributes.get(name)
        return default if found is None or found.is_ref() else found.value

    def axis(self, value: int, rank: int) -> int | None:
        """``value`` as an index below ``rank``; None, and a problem, when it is out of range."""
        if -rank <= value < rank:
            return value % rank
        self.problem(f"axis {value} is out of range for rank {rank}")
        return None

    def axes(self, values: Iterable[int], rank: int) -> tuple[int, ...] | None:
        """Several axes; None, and a problem, when one is out of range or named twice."""
        found = []
        for value in values:
            axis = self.axis(value, rank)
            if axis is None:
                return None
            found.append(axis)
        if len(set(found)) != len(found):
            self.problem(f"an axis is named twice in {found}")
            return None
        return tuple(found)

    # ---------------------------------------------------------------- outputs

    def fresh(self) -> ir.SymbolicDim:
        """A symbol that differs from every other one."""
        return self.engine.fresh()

    def fresh_dims(self, rank: int) -> Dims:
        """``rank`` unknown dimensions."""
        return tuple(self.engine.fresh() for _ in range(rank))

    def problem(self, text: str) -> None:
        """Say that this node certainly cannot run."""
        self.engine.problem(self.node, text)

    def set(self, index: int, dtype: ir.DataType | int | None, dims: Iterable[Dim] | None) -> None:
        """Output ``index`` is a tensor of this type and of these dimensions (None: unknown)."""
        if index >= len(self.outputs):
            return
        out = self.outputs[index]
        out.type = None if dtype is None else ir.TensorType(ir.DataType(dtype))
        out.shape = None if dims is None else self.shape(tuple(dims))

    def shape(self, dims: Dims) -> ir.Shape:
        """A frozen shape; a dimension below 0 or above int64 is a problem and becomes unknown."""
        if any(isinstance(d, int) and not 0 <= d <= LARGEST for d in dims):
            self.problem(f"its result would have shape {text(dims)}")
            good = (not isinstance(d, int) or 0 <= d <= LARGEST for d in dims)
            dims = tuple(d if ok else self.fresh() for d, ok in zip(dims, good, strict=True))
        return ir.Shape(dims, frozen=True)

    def copy(self, source: int = 0, index: int = 0, dtype: ir.DataType | None = None) -> None:
        """Output ``index`` has the shape (shared) and the type of input ``source``."""
        value = self.value(source)
        if value is None or index >= len(self.outputs):
            return
        out = self.outputs[index]
        kind = value.type
        if kind is not None and kind.__class__ is ir.TensorType:
            out.type = ir.TensorType(kind.dtype if dtype is None else dtype)
            out.shape = value.shape
        elif dtype is not None:
            out.type = ir.TensorType(dtype)
            out.shape = value.shape if kind is None else None

    def share(self, index: int, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
        """Output ``index`` has this type and this very (frozen) shape object."""
        if index < len(self.outputs):
            self.outputs[index].type = None if dtype is None else ir.TensorType(dtype)
            self.outputs[index].shape = shape

    # ---------------------------------------------------------------- checks

    def same_types(self, indices: Iterable[int]) -> None:
        """A problem when two of these inputs have different known element types."""
        seen: ir.DataType | None = None
        for index in indices:
            dtype = self.dtype(index)
            if dtype is None:
                continue
            if seen is not None and dtype != seen:
                self.problem(f"inputs have different types, {seen.name} and {dtype.name}")
                return
            seen = dtype

    def broadcast(self, shapes: Sequence[Dims | None]) -> Dims | None:
        """Multidirectional broadcast; None when a rank is unknown or (a problem) nothing fits."""
        result: Dims = ()
        for dims in shapes:
            if dims is None:
                return None
            joined = self._broadcast_two(result, dims)
            if joined is None:
                self.problem(f"cannot broadcast {text(result)} with {text(dims)}")
                return None
            result = joined
        return result

    def _broadcast_two(self, a: Dims, b: Dims) -> Dims | None:
        if not a or a == b:
            return b
        if len(a) < len(b):
            a = (1,) * (len(b) - len(a)) + a
        elif len(b) < len(a):
            b = (1,) * (len(a) - len(b)) + b
        result = []
        for x, y in zip(a, b, strict=True):
            joined = broadcast(x, y)
            if joined is None:
                return None
            result.append(joined)
        return tuple(result)

    def merge(self, a: Dim, b: Dim, what: str) -> Dim:
        """Two dimensions that are the same in any run that succeeds; the better known one."""
        if known_different(a, b):
            self.problem(f"{what} are {a} and {b}")
        return b if isinstance(b, int) and not isinstance(a, int) else a


def text(dims: Iterable[Dim]) -> str:
    """``[N,3,4]``."""
    return f"[{','.join(str(d) for d in dims)}]"


_TENSORS = (ir.TensorType, ir.SparseTensorType)
_CONTAINERS = (ir.SequenceType, ir.OptionalType)
