"""Writes a random model node by node; keeps the concrete shape of every float value.

Where its decisions come from is open (:class:`Choices`): a seeded generator for fuzzing, hypothesis
for drawing and shrinking. The numbers stay tame: weights are scaled by their fan-in, functions that
grow quickly are not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]

IR_VERSIONS = {
    9: 4,
    10: 5,
    11: 6,
    12: 7,
    13: 7,
    14: 7,
    15: 8,
    16: 8,
    17: 8,
    18: 8,
    19: 9,
    20: 9,
    21: 10,
}
LARGEST = 4096
"""Values with more elements are not read by further nodes."""


class Choices(Protocol):
    """Where decisions come from."""

    def integer(self, low: int, high: int) -> int:
        """A number between ``low`` and ``high``, both included; small ones are simpler."""
        ...


class Seeded:
    """Decisions of a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))


class Builder:
    """A model in the making.

    Args:
        choices: Where decisions come from.
        opset: Version of the standard operators.
        half: Whether float values are float16.
        dynamic: Whether the first axis is the dimension ``N``.
    """

    def __init__(self, choices: Choices, *, opset: int, half: bool, dynamic: bool) -> None:
        self._choices = choices
        self.opset = opset
        self.dynamic = dynamic
        self.batch = 2
        self.dtype = np.dtype(np.float16 if half else np.float32)
        self.element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: dict[str, Shape] = {}
        self.overridable: list[str] = []
        self.values: dict[str, Shape] = {}
        self.produced: dict[str, Shape] = {}
        self.used: set[str] = set()
        self.functions: list[onnx.FunctionProto] = []
        self._weights: list[tuple[str, Array]] = []
        self._count = 0
        self._named = self.chance(70)
        self._numbers = np.random.default_rng(self.integer(0, 2**16))

    # decisions

    def integer(self, low: int, high: int) -> int:
        return self._choices.integer(low, high)

    def choice(self, items: Sequence[T]) -> T:
        return items[self._choices.integer(0, len(items) - 1)]

    def chance(self, percent: int) -> bool:
        return self._choices.integer(0, 99) >= 100 - percent

    # values

    def pick(self, fits: Callable[[Shape], bool] = lambda shape: True) -> str | None:
        """A value whose shape fits, rather one that nothing reads yet."""
        found = [name for name, shape in self.values.items() if fits(shape)]
        if not found:
            return None
        fresh = [name for name in found if name not in self.used]
        return self.choice(fresh if fresh and self.chance(70) else found[-8:])

    def shape(self, name: str) -> Shape:
        return self.values[name] if name in self.values else self.produced[name]

    def fresh(self, stem: str = "t") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def node(self, op: str, inputs: Sequence[str], *shapes: Shape | None, **attributes: Any) -> str:
        """Add a node with one output; a None shape: not a float value, kept out of the drawing."""
        return self.node_n(op, inputs, shapes or (None,), **attributes)[0]

    def node_n(
        self, op: str, inputs: Sequence[str], shapes: Sequence[Shape | None], **attributes: Any
    ) -> list[str]:
        """Add a node with an output per shape."""
        outputs = [self.fresh() for _ in shapes]
        name = self.fresh(op) if self._named else ""
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        self.used.update(inputs)
        for output, shape in zip(outputs, shapes, strict=True):
            if shape is not None:
                self.produced[output] = shape
                if np.prod(shape, dtype=int) <= LARGEST:
                    self.values[output] = shape
        return outputs

    # constants

    def constant(self, array: Any, stem: str = "w") -> str:
        """An initializer or a Constant node; sometimes one that is there already."""
        array = np.asarray(array)
        same = [
            name
            for name, known in self._weights
            if known.dtype == array.dtype and np.array_equal(known, array)
        ]
        if same and self.chance(50):
            return self.choice(same)
        name = self.fresh(stem)
        if self.chance(15):
            tensor = numpy_helper.from_array(array, "")
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append(numpy_helper.from_array(array, name))
            if array.dtype == self.dtype and array.ndim and self.chance(3):
                self.overridable.append(name)
        self._weights.append((name, array))
        return name

    def ints(self, *items: int) -> str:
        return self.constant(np.array(items, np.int64), "s")

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, self.dtype), "k")

    def uniform(self, shape: Shape, low: float, high: float) -> str:
        return self.constant(self._numbers.uniform(low, high, shape).astype(self.dtype), "v")

    def weight(self, *shape: int, fan: int | None = None) -> str:
        """Random weights; sometimes those that another node has."""
        shared = [n for n, a in self._weights if a.shape == shape and a.dtype == self.dtype]
        if shared and self.chance(15):
            return self.choice(shared)
        scale = 1 / np.sqrt(max(1, fan or int(np.prod(shape[1:], dtype=int))))
        return self.constant((self._numbers.standard_normal(shape) * scale).astype(self.dtype))

    # operators that changed between opsets

    def unsqueeze(self, x: str, axis: int, shape: Shape | None) -> str:
        if self.opset >= 13:
            return self.node("Unsqueeze", [x, self.ints(axis)], shape)
        return self.node("Unsqueeze", [x], shape, axes=[axis])

    def squeeze(self, x: str, axes: Sequence[int], shape: Shape | None) -> str:
        if self.opset >= 13:
            return self.node("Squeeze", [x, self.ints(*axes)], shape)
        return self.node("Squeeze", [x], shape, axes=list(axes))

    def reduce(self, op: str, x: str, axes: Sequence[int], keep: int) -> str:
        shape, rank = self.shape(x), len(self.shape(x))
        cut = {a % rank for a in axes}
        kept = [1 if i in cut else d for i, d in enumerate(shape) if keep or i not in cut]
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.node(op, [x, self.ints(*axes)], tuple(kept), keepdims=keep)
        return self.node(op, [x], tuple(kept), axes=list(axes), keepdims=keep)

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str | None:
        """Slice one axis; None when nothing would be left or the opset has no steps."""
        shape = list(self.shape(x))
        size = shape[axis]
        limit = None if abs(end) > 2**31 - 2 else end
        shape[axis] = len(range(size)[start:limit:step])
        if not shape[axis] or (step != 1 and self.opset < 10):
            return None
        if self.opset >= 10:
            names = [self.ints(start), self.ints(end), self.ints(axis), self.ints(step)]
            return self.node("Slice", [x, *names], tuple(shape))
        return self.node("Slice", [x], tuple(shape), starts=[start], ends=[end], axes=[axis])

    def pad(self, x: str, pads: Sequence[int], mode: str, value: float) -> str:
        shape, rank = self.shape(x), len(self.shape(x))
        padded = tuple(d + pads[i] + pads[i + rank] for i, d in enumerate(shape))
        if self.opset < 11:
            return self.node("Pad", [x], padded, pads=list(pads), mode=mode, value=value)
        inputs = [x, self.ints(*pads), *([self.scalar(value)] if mode == "constant" else [])]
        return self.node("Pad", inputs, padded, mode=mode)

    def clip(self, x: str, low: float | None, high: float | None) -> str:
        shape = self.shape(x)
        if self.opset < 11:
            given = {"min": low, "max": high}
            return self.node(
                "Clip", [x], shape, **{k: v for k, v in given.items() if v is not None}
            )
        bounds = ["" if bound is None else self.scalar(bound) for bound in (low, high)]
        return self.node("Clip", [x, *(bounds if high is not None else bounds[:1])], shape)

    def split(self, x: str, axis: int, parts: Sequence[int]) -> list[str]:
        shape = self.shape(x)
        shapes = [tuple(p if i == axis else d for i, d in enumerate(shape)) for p in parts]
        if self.opset >= 13:
            return self.node_n("Split", [x, self.ints(*parts)], shapes, axis=axis)
        return self.node_n("Split", [x], shapes, axis=axis, split=list(parts))

    # the model

    def finish(self) -> onnx.ModelProto:
        """The model: values that nothing reads are outputs, sometimes others too."""
        sinks = [name for name in self.produced if name not in self.used]
        outputs = [name for name in sinks if not self.chance(15)] or sinks[-1:]
        outputs = outputs or list(self.produced)[-1:]
        if self.produced and self.chance(25):
            outputs.append(self.choice(list(self.produced)))
        outputs = list(dict.fromkeys(outputs))[-6:]
        graph = helper.make_graph(
            self.nodes,
            "fuzz",
            [self._info(name, shape) for name, shape in self.inputs.items()],
            [self._info(name, self.produced[name], known=False) for name in outputs],
            self.initializers,
        )
        tensors = {t.name: t for t in self.initializers}
        for name in self.overridable:
            dims = list(tensors[name].dims)
            graph.input.append(helper.make_tensor_value_info(name, self.element, dims))
        imports = [helper.make_opsetid("", self.opset)]
        if self.functions:
            imports.append(helper.make_opsetid("local", 1))
        model: onnx.ModelProto = helper.make_model(
            graph, opset_imports=imports, functions=self.functions, producer_name="fuzz"
        )
        model.ir_version = max(IR_VERSIONS[self.opset], 8 if self.functions else 4)
        return model

    def _info(self, name: str, shape: Shape, known: bool = True) -> onnx.ValueInfoProto:
        dims: list[int | str | None] = list(shape)
        if self.dynamic:
            dims = ["N", *shape[1:]] if known else [None] * len(shape)
        return helper.make_tensor_value_info(name, self.element, dims)
