"""Keep what a command does not need out of its imports: half of onnx, a part of numpy.

For processes that are ours alone (:mod:`onnxslim.cli.main`, the worker child); a program that
imports onnxslim sees the libraries as they are.

* ``import onnx`` imports every module that onnx has (120 ms). Here it gives an empty package that
  knows the protobuf classes and its modules; for anything else the package is executed as it is.
* ``import numpy`` writes the docstrings of functions in C, and imports the types for type checkers
  to annotate one class: 40 ms. Both are left out; ``import numpy.typing`` is as ever.
* Modules that libraries import for one seldom function are loaded when that function is called.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PROTOBUF = "onnx.onnx_ml_pb2"
_DOCSTRINGS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
_TYPES = "numpy._typing"
_OF_IMPORT = ("__path__", "__file__", "__cached__", "__loader__", "__package__", "__spec__")
_WHEN_USED = frozenset(
    (
        "ast", "concurrent.futures", "hashlib", "json", "locale", "numpy.typing",
        "packaging.version", "pickle", "platform", "secrets", "statistics", "subprocess",
        "tempfile", "tokenize", "tomllib", "uuid",
    )
)  # fmt: skip


class LazyOnnx(ModuleType):
    """The package ``onnx`` before its own code is executed."""

    def __getattr__(self, name: str) -> Any:
        if name[0].isupper():
            found = getattr(importlib.import_module(_PROTOBUF), name, None)
            if found is not None:
                setattr(self, name, found)
                return found
        if name in _OF_IMPORT:
            raise AttributeError(f"module 'onnx' has no attribute {name!r}")
        if not name.startswith("_") and importlib.util.find_spec(f"onnx.{name}") is not None:
            return importlib.import_module(f"onnx.{name}")
        execute(self)
        return getattr(self, name)


def execute(module: ModuleType) -> None:
    """Make a stand-in what its import would have given."""
    module.__class__ = ModuleType
    assert module.__spec__ is not None and module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)


class LazyModule(ModuleType):
    """A module whose code is executed when something in it is asked for.

    (That of ``importlib.util`` is executed by the second ``import`` already.)
    """

    def __getattr__(self, name: str) -> Any:
        if name in _OF_IMPORT:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        execute(self)
        return getattr(self, name)


class _LazyLoader:
    """Gives a stand-in and executes nothing."""

    kind: type[ModuleType] = LazyModule

    def __init__(self, spec: ModuleSpec, loader: Any) -> None:
        self._spec, self._loader = spec, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.kind(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader


class _OnnxLoader(_LazyLoader):
    kind = LazyOnnx


class _NumpyLoader:
    """Executes numpy with empty modules in place of those that nobody needs."""

    def __init__(self, spec: ModuleSpec, loader: Any) -> None:
        self._spec, self._loader = spec, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader
        stand_ins = {name: ModuleType(name) for name in _DOCSTRINGS}
        stand_ins[_TYPES] = _LazyTypes(_TYPES)
        sys.modules.update(stand_ins)
        try:
            self._loader.exec_module(module)
        finally:
            for name, stand_in in stand_ins.items():
                if sys.modules.get(name) is stand_in:
                    del sys.modules[name]


class _LazyTypes(ModuleType):
    """Stand-in for numpy's types: one that can be subscripted, the real ones for all else."""

    NDArray = list

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class LibraryFinder:
    """Answers for the modules named above, with their ordinary spec and another loader."""

    def __init__(self) -> None:
        self._loaders: dict[str, Any] = dict.fromkeys(_WHEN_USED, _LazyLoader)
        self._loaders |= {"onnx": _OnnxLoader, "numpy": _NumpyLoader}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The wrapped spec of such a module the first time, None for any other."""
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if type(parent) is LazyModule:
            return _part_of(parent, fullname)
        loader = self._loaders.pop(fullname, None)
        if loader is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = loader(spec, spec.loader)
        return spec


class _DoneLoader:
    """Gives a module that has been imported meanwhile."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _part_of(package: ModuleType, fullname: str) -> ModuleSpec | None:
    """A module of a package that has not been executed: it is, and may import that module."""
    execute(package)
    done = sys.modules.get(fullname)
    if done is not None:
        done.__spec__ = ModuleSpec(fullname, _DoneLoader(done))  # type: ignore[arg-type]
    return None if done is None else done.__spec__


def install() -> None:
    """Watch for the first import of these libraries; those that are there stay as they are."""
    if not any(isinstance(finder, LibraryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LibraryFinder())


def remove() -> None:
    """Import from now on as ever."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, LibraryFinder)]
