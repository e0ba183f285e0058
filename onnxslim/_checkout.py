"""Find ``onnxslim.passes`` in a checkout whose symlink ``onnxslim/passes`` is not one.

Git writes a text file instead where symlinks are switched off (Windows, some archives). An
installed package and a normal checkout never get past the first test of :func:`install`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType


class PassesFinder:  # no MetaPathFinder: importlib.abc takes 20 ms to import
    """Answers for ``onnxslim.passes`` only; its submodules follow from the search location."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of ``onnxslim.passes``, None for any other module."""
        if fullname != "onnxslim.passes":
            return None
        init = os.path.join(self._folder, "__init__.py")
        return spec_from_file_location(fullname, init, submodule_search_locations=[self._folder])


def install() -> None:
    """Append the finder where it is needed: in a checkout without a working symlink."""
    package = os.path.dirname(os.path.abspath(__file__))
    if os.path.isdir(os.path.join(package, "passes")):
        return
    root = os.path.dirname(package)
    folder = os.path.join(root, "passes")
    needed = (os.path.join(root, "pyproject.toml"), os.path.join(folder, "__init__.py"))
    if all(map(os.path.isfile, needed)):
        sys.meta_path.append(PassesFinder(folder))
