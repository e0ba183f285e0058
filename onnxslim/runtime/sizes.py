"""Sizes for dynamic dimensions: which ones exist, what a good first guess is, what shapes follow.

A dimension is keyed by its symbol, or by ``input[axis]`` when it has none. Symbols that are sums,
differences, products or quotients of other symbols (``past + seq``) follow from them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnxslim.errors import UsageError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.hints import Hint
from onnxslim.runtime.specs import InputSpec, Shape

Role = Literal["batch", "channel", "space", "length", "feature"]

_FIRST: Mapping[Role, int] = {"batch": 1, "channel": 3, "space": 64, "length": 16, "feature": 80}
_BATCH = re.compile(r"^(n|b|bs)$|batch", re.IGNORECASE)
_LENGTH = re.compile(r"seq|len|time|token|step|frame|sample|word", re.IGNORECASE)
_SPACE = re.compile(r"^(h|w|d)$|height|width|depth|rows?$|cols?$", re.IGNORECASE)
_STATE = re.compile(r"state|hidden|cell|^[hc]n?_?\d*$", re.IGNORECASE)
_CHANNEL = re.compile(r"^c$|chan", re.IGNORECASE)


@dataclass(frozen=True)
class Dim:
    """One dimension whose size is free.

    Args:
        key: Its symbol, or ``input[axis]``.
        role: What it seems to be.
        size: The first guess.
        fixed: Whether the user gave the size.
    """

    key: str
    role: Role
    size: int
    fixed: bool


class Dims:
    """The free dimensions of a model's inputs."""

    def __init__(
        self, specs: Sequence[InputSpec], description: Description, hints: Mapping[str, Hint]
    ) -> None:
        self._specs = specs
        self._given = description
        self._shapes = {s.name: _declared(s, description, hints.get(s.name)) for s in specs}
        symbols = [d for shape in self._shapes.values() for d in shape if isinstance(d, str)]
        self._derived = _derived(dict.fromkeys(symbols), description.dims)
        self.dims = self._collect(hints)

    def _collect(self, hints: Mapping[str, Hint]) -> dict[str, Dim]:
        found: dict[str, Dim] = {}
        for spec in self._specs:
            shape = self._shapes[spec.name]
            hinted = hints.get(spec.name, Hint()).sizes_at(len(shape))
            for axis, dim in enumerate(shape):
                key = key_of(spec.name, axis, dim)
                if isinstance(dim, int) or key in self._derived:
                    continue
                fixed = self._given.dims.get(key, self._given_size(spec.name, axis))
                role = _role(spec, shape, axis)
                size = fixed if fixed is not None else hinted.get(axis, _FIRST[role])
                if key not in found or (axis in hinted and not found[key].fixed):
                    found[key] = Dim(key, role, size, fixed is not None)
        return found

    def _given_size(self, name: str, axis: int) -> int | None:
        shape = self._given.shapes.get(name)
        return None if shape is None else shape[axis]

    def sizes(self) -> dict[str, int]:
        """The first guess for every dimension."""
        return {key: dim.size for key, dim in self.dims.items()}

    def free(self) -> list[str]:
        """The dimensions that the user left open."""
        return [key for key, dim in self.dims.items() if not dim.fixed]

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of every input for these sizes."""
        known = {**sizes, **self._given.dims}
        for key, tree in self._derived.items():
            known[key] = max(_evaluate(tree, known), 0)
        return {
            name: tuple(
                d if isinstance(d, int) else known[key_of(name, i, d)] for i, d in enumerate(shape)
            )
            for name, shape in self._shapes.items()
        }

    def declared(self, name: str) -> Shape:
        """The shape of an input with its symbols, the rank guessed when it is unknown."""
        return self._shapes[name]


def key_of(name: str, axis: int, dim: int | str | None) -> str:
    """The key of one dimension."""
    return dim if isinstance(dim, str) else f"{name}[{axis}]"


def _declared(spec: InputSpec, description: Description, hint: Hint | None) -> Shape:
    given = description.shapes.get(spec.name)
    if spec.shape is not None:
        if given is not None and len(given) != len(spec.shape):
            raise UsageError(f"the shape given for {spec} has {len(given)} axes: {given}")
        return spec.shape
    if given is not None:
        return given
    rank = hint.rank if hint is not None and hint.rank is not None else 2
    return (None,) * rank


def _role(spec: InputSpec, shape: Shape, axis: int) -> Role:
    symbol, rank = shape[axis], len(shape)
    if isinstance(symbol, str):
        for pattern, role in _BY_NAME:
            if pattern.search(symbol):
                return role
    if axis == 0:
        return "length" if rank == 1 and spec.kind == "float" else "batch"
    if rank >= 4:
        return "channel" if axis == _channel_axis(shape) else "space"
    if rank == 3 and axis == 1 and isinstance(shape[0], int) and isinstance(shape[2], int):
        # (layers, batch, hidden) of a recurrent state, or (1, time, features)
        return "batch" if shape[0] > 1 or _STATE.search(spec.name) else "length"
    if rank == 3 and axis == 2 and not isinstance(shape[1], int):
        return "feature"
    return "length"


_BY_NAME: tuple[tuple[re.Pattern[str], Role], ...] = (
    (_BATCH, "batch"),
    (_SPACE, "space"),
    (_CHANNEL, "channel"),
    (_LENGTH, "length"),
)


def _channel_axis(shape: Shape) -> int:
    """1 as ONNX has it, unless the last axis is clearly the channels (1, 3 or 4)."""
    last, second = shape[-1], shape[1]
    if (
        isinstance(last, int)
        and last in (1, 3, 4)
        and not (isinstance(second, int) and second in (1, 3, 4))
    ):
        return len(shape) - 1
    return 1


def _derived(symbols: Mapping[str, None], given: Mapping[str, int]) -> dict[str, ast.expr]:
    """The symbols that are arithmetic on other symbols (or on nothing)."""
    found: dict[str, ast.expr] = {}
    for symbol in symbols:
        if symbol in given:
            continue
        tree = _parse(symbol)
        if tree is None or isinstance(tree, ast.Name):
            continue
        names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        if all(name in symbols for name in names):
            found[symbol] = tree
    return found


def _parse(text: str) -> ast.expr | None:
    if len(text) > 100:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if _arithmetic(tree) else None


def _arithmetic(tree: ast.expr) -> bool:
    if isinstance(tree, ast.BinOp):
        operator = isinstance(tree.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Div)
        return operator and _arithmetic(tree.left) and _arithmetic(tree.right)
    if isinstance(tree, ast.Constant):
        return type(tree.value) is int
    return isinstance(tree, ast.Name)


def _evaluate(tree: ast.expr, known: Mapping[str, int]) -> int:
    if isinstance(tree, ast.Name):
        return known.get(tree.id, 1)
    if isinstance(tree, ast.Constant):
        return int(str(tree.value))
    assert isinstance(tree, ast.BinOp)
    left, right = _evaluate(tree.left, known), _evaluate(tree.right, known)
    if isinstance(tree.op, ast.Add):
        return left + right
    if isinstance(tree.op, ast.Sub):
        return left - right
    return left * right if isinstance(tree.op, ast.Mult) else left // max(right, 1)
