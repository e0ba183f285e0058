"""Where passes are found: the folder ``passes/`` (as ``onnxslim.passes``) and plug-ins.

The one place that names the package of passes. Being found never means being run: recipes do that.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from onnxslim.errors import UnknownPassError
from onnxslim.pipeline.base import Pass, class_key

if TYPE_CHECKING:
    import importlib.metadata

PACKAGE = "onnxslim.passes"
GROUP = "onnxslim.passes"

logger = logging.getLogger(__name__)


def module_names() -> list[str]:
    """Names of the modules in the folder of passes, helpers (``_name``) left out."""
    package = importlib.import_module(PACKAGE)
    found = [m.name for m in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in found if not name.startswith("_"))


def pass_in(module: ModuleType) -> type[Pass]:
    """The registered pass that a module defines.

    Raises:
        UnknownPassError: When it defines none.
    """
    for item in vars(module).values():
        if not isinstance(item, type) or item.__module__ != module.__name__:
            continue
        if issubclass(item, Pass) and getattr(item, "__onnxslim_pass__", False):
            return item
    raise UnknownPassError(f"module {module.__name__} defines no class marked with @register")


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    import importlib.metadata  # 25 ms, for names that are not ours

    return {e.name: e for e in importlib.metadata.entry_points(group=GROUP)}


def get_pass(name: str) -> type[Pass]:
    """The pass class of that name; only its own module is imported.

    Args:
        name: ``fold-batchnorm``, ``fold_batchnorm`` or ``FoldBatchNorm``.

    Raises:
        UnknownPassError: Naming the nearest existing names.
    """
    exact = name.replace("-", "_")
    if not exact.startswith("_") and exact.isidentifier() and exact == exact.lower():
        spec = importlib.util.find_spec(f"{PACKAGE}.{exact}")  # no need to list the folder
        if spec is not None:
            return pass_in(importlib.import_module(spec.name))
    key = class_key(name)
    for module in module_names():
        if class_key(module) == key:
            return pass_in(importlib.import_module(f"{PACKAGE}.{module}"))
    for entry, point in sorted(_plugins().items()):
        if class_key(entry) == key:
            return _load_plugin(point)
    raise UnknownPassError(_unknown(name))


def _unknown(name: str) -> str:
    import difflib

    known = [m.replace("_", "-") for m in module_names()] + sorted(_plugins())
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`onnxslim passes` lists them"
    return f"there is no pass {name!r}: {hint}"


def _load_plugin(point: importlib.metadata.EntryPoint) -> type[Pass]:
    try:
        found = point.load()
    except Exception as error:  # a plug-in may fail in any way; it must be named
        raise UnknownPassError(f"plug-in pass {point.name!r} does not load: {error}") from error
    if isinstance(found, type) and issubclass(found, Pass) and hasattr(found, "__onnxslim_pass__"):
        return found
    raise UnknownPassError(f"plug-in pass {point.name!r} is no class marked with @register")


def all_passes() -> Iterator[type[Pass]]:
    """Every pass of the folder and of the plug-ins that load, by name; failures are logged."""
    for module in module_names():
        yield pass_in(importlib.import_module(f"{PACKAGE}.{module}"))
    for _, point in sorted(_plugins().items()):
        try:
            yield _load_plugin(point)
        except UnknownPassError as error:
            logger.warning("%s", error)
