"""Lists of tensors on disk, read back as mappings."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxslim.runtime import protocol
from onnxslim.runtime.protocol import Value


class SpoolFiles:
    """A folder inside the worker's private one; each entry is one list of values.

    Args:
        parent: The worker's private folder, which removes it at the latest.
    """

    def __init__(self, parent: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="spool-", dir=parent))
        self._heads: list[dict[str, Any]] = []

    def append(self, values: Sequence[Value]) -> None:
        """Write one list."""
        packer = protocol.Packer()
        described = [packer.pack(value) for value in values]
        packer.write(self._path(len(self._heads)))
        self._heads.append({"values": described})

    def read(self, index: int) -> list[Value]:
        """Map one list back."""
        text = json.dumps(self._heads[index]).encode()
        return protocol.decode(text, self._path(index).read_bytes(), self._folder)[1]

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self._folder / f"s{index}"
