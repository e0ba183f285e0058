"""Symbols: their source for one model, and the value of a dimension once they are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    add,
    broadcast,
    floordiv,
    from_poly,
    maximum,
    mul,
    to_poly,
    truncdiv,
)
from onnxslim.analysis.polynomial import FUNCTIONS, OPAQUE, Poly, atom, structure
from onnxslim.graph.dimension_names import is_nameless

_FRESH = re.compile(r"_d(\d+)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)


def symbols(dim: Dim) -> tuple[str, ...]:
    """Names of the symbols in ``dim``, sorted."""
    if isinstance(dim, int):
        return ()
    found: set[str] = set()
    stack = [to_poly(dim)]
    while stack:
        for atoms, _ in stack.pop():
            for name in atoms:
                function, args = structure(name)
                stack.extend(args)
                if not function:
                    found.add(name)
    return tuple(sorted(found))


def substitute(dim: Dim, bindings: Mapping[str, Dim]) -> Dim:
    """``dim`` with symbols replaced; those not in ``bindings`` stay.

    Raises:
        ValueError: When the replaced sizes cannot be: a division by zero, an impossible broadcast.
    """
    return dim if isinstance(dim, int) else _substitute(to_poly(dim), bindings)


def _substitute(p: Poly, bindings: Mapping[str, Dim]) -> Dim:
    total: Dim = 0
    for atoms, n in p:
        part: Dim = n
        for name in atoms:
            part = mul(part, _substitute_atom(name, bindings))
        total = add(total, part)
    return total


def _substitute_atom(name: str, bindings: Mapping[str, Dim]) -> Dim:
    function, args = structure(name)
    if not function:
        return bindings[name] if name in bindings else from_poly(atom(name))
    values = [_substitute(a, bindings) for a in args]
    if function == "floordiv":
        if isinstance(values[1], int) and values[1] == 0:
            raise ValueError(f"{name} divides by zero")
        return floordiv(values[0], values[1])
    if function == "truncdiv" and isinstance(values[1], int):
        return truncdiv(values[0], values[1])
    if function == "max":
        return maximum(values[0], values[1])
    result = values[0]
    for value in values[1:]:
        joined = broadcast(result, value)
        if joined is None:
            raise ValueError(f"{name} cannot be broadcast")
        result = joined
    return result


def evaluate(dim: Dim, bindings: Mapping[str, int]) -> int:
    """The number that ``dim`` is under ``bindings``.

    Raises:
        KeyError: When a symbol has no binding.
        ValueError: When the sizes cannot be: a division by zero, an impossible broadcast.
    """
    value = substitute(dim, dict(bindings))
    if isinstance(value, int):
        return value
    raise KeyError(symbols(value)[0])


class Symbols:
    """Source of symbols for one model: safe unique names for declared ones, and fresh ones."""

    def __init__(self, declared: Iterable[str | None] = ()) -> None:
        """Reserve the names in ``declared`` (the ``dim_param`` of the graph's inputs)."""
        names = [name for name in declared if name and not is_nameless(name)]
        self._safe = {name: name for name in names if _is_safe(name)}
        self._taken = set(self._safe)
        fresh = [int(m[1]) for name in self._taken if (m := _FRESH.fullmatch(name))]
        self._next = max(fresh, default=-1) + 1
        self._shared: dict[str, ir.SymbolicDim] = {}

    @property
    def mark(self) -> int:
        """Where the fresh symbols are now, for :meth:`is_younger`."""
        return self._next

    def fresh(self) -> ir.SymbolicDim:
        """A symbol that differs from every other one."""
        self._next += 1
        return ir.SymbolicDim(f"_d{self._next - 1}")

    def declared(self, name: str | None) -> ir.SymbolicDim:
        """The symbol of a declared name: one name, one symbol; no name, a fresh one.

        Exporters also write ``?``, ``-1`` or ``None`` for "no name", several times per model.
        """
        if not name or is_nameless(name):
            return self.fresh()
        safe = self._safe.get(name)
        if safe is None:
            safe = self._safe[name] = self._unique(name)
        if safe not in self._shared:
            self._shared[safe] = ir.SymbolicDim(safe)
        return self._shared[safe]

    def _unique(self, name: str) -> str:
        stem = re.sub(r"\W", "_", name, flags=re.ASCII)[:56]
        if not _is_safe(stem) or _FRESH.fullmatch(stem):
            stem = f"d_{stem}"
        found, n = stem, 2
        while found in self._taken:
            found, n = f"{stem}_{n}", n + 1
        self._taken.add(found)
        return found

    def is_younger(self, dim: Dim, mark: int) -> bool:
        """True when ``dim`` contains a fresh symbol made since ``mark`` (or cannot be read)."""
        for name in symbols(dim):
            found = _FRESH.fullmatch(name)
            if name.startswith(OPAQUE) or (found is not None and int(found[1]) >= mark):
                return True
        return False


def _is_safe(name: str) -> bool:
    return (
        _NAME.fullmatch(name) is not None and name not in FUNCTIONS and not name.startswith(OPAQUE)
    )
