"""Keep sympy (half a second of start) out of ``import onnx_ir`` until an expression needs it.

onnx_ir imports sympy for arithmetic on symbolic dimensions only. :func:`install` puts a stand-in
into ``sys.modules`` while ``onnx_ir`` itself is executed and takes it out again right after, so
that nobody else ever sees it: onnx_ir's modules keep the stand-in, which loads the real sympy at
its first real use.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_DEFERRED = frozenset({"Max", "Min", "Mod", "floor", "sqrt"})
"""What onnx_ir reads from sympy while it is imported: handed out as functions that load later."""


def _real() -> ModuleType:
    if isinstance(sys.modules.get("sympy"), LazySympy):
        del sys.modules["sympy"]
    return importlib.import_module("sympy")


def _deferred(name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(_real(), name)(*args, **kwargs)

    call.__name__ = name
    return call


class LazySympy(ModuleType):
    """Stand-in for sympy that imports the real one when an attribute is needed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _deferred(name) if name in _DEFERRED else getattr(_real(), name)


class _OnnxIrLoader:  # no Loader: importlib.abc takes 20 ms to import
    """Executes ``onnx_ir`` with the stand-in in place."""

    def __init__(self, spec: ModuleSpec, loader: Any) -> None:
        self._spec = spec
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = self._loader
        module.__loader__ = self._loader
        if "sympy" in sys.modules:
            self._loader.exec_module(module)
            return
        stand_in = LazySympy("sympy")
        sys.modules["sympy"] = stand_in
        try:
            self._loader.exec_module(module)
        finally:
            if sys.modules.get("sympy") is stand_in:
                del sys.modules["sympy"]


class OnnxIrFinder:
    """Answers once, for ``onnx_ir``, with its ordinary spec and a loader of ours."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the wrapped spec of ``onnx_ir``, None for any other module."""
        if fullname != "onnx_ir":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _OnnxIrLoader(spec, spec.loader)  # type: ignore[assignment]
        return spec


def install() -> None:
    """Watch for the import of ``onnx_ir``; nothing to do when it or sympy is there already."""
    if "onnx_ir" in sys.modules or "sympy" in sys.modules:
        return
    if not any(isinstance(finder, OnnxIrFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, OnnxIrFinder())
