"""Tensor data on its way into a file: in chunks from where it is, never all of it in memory."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph.external import REGION, Region
from onnxslim.graph.temporary import TemporaryFile
from onnxslim.graph.wire import rewrite

CHUNK: Final = 4 << 20
ALIGNMENT: Final = 64
EXTERNAL_FROM: Final = 1024
"""Smaller tensors stay in the model file, as everywhere."""


def chunks(tensor: ir.TensorProtocol) -> Iterator[memoryview]:
    """The bytes of ``raw_data``; of a mapped tensor without a copy."""
    view = _view(tensor)
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def _view(tensor: ir.TensorProtocol) -> memoryview:
    region = tensor.meta.get(REGION)
    if isinstance(region, Region):
        return region.view
    if isinstance(tensor, ir.Tensor) and tensor.dtype.bitwidth >= 8 and sys.byteorder == "little":
        array = np.ascontiguousarray(tensor.numpy())
        return array.reshape(-1).view(np.uint8).data
    return memoryview(tensor.tobytes())


def _identity(tensor: ir.TensorProtocol) -> object:
    region = tensor.meta.get(REGION)
    return region.key if isinstance(region, Region) else id(tensor)


class ExternalSink:
    """Writes the larger initializers into a data file and refers to it.

    Tensors that are the same bytes of the same file are written once.

    Args:
        file: The data file.
        location: How the model refers to it.
    """

    def __init__(self, file: TemporaryFile, location: str) -> None:
        self._file = file
        self._location = location
        self._places: dict[object, tuple[int, int]] = {}
        self._entries: list[onnx.StringStringEntryProto] = []
        self._hash = hashlib.sha256()

    def __call__(self, proto: onnx.TensorProto, tensor: ir.TensorProtocol) -> bool:
        if tensor.dtype == ir.DataType.STRING or tensor.nbytes < EXTERNAL_FROM:
            return False
        key = _identity(tensor)
        if key not in self._places:
            self._places[key] = self._append(tensor)
        offset, length = self._places[key]
        proto.data_location = onnx.TensorProto.EXTERNAL
        self._entries.append(proto.external_data.add(key="location", value=self._location))
        proto.external_data.add(key="offset", value=str(offset))
        proto.external_data.add(key="length", value=str(length))
        return True

    def _append(self, tensor: ir.TensorProtocol) -> tuple[int, int]:
        padding = -self._file.size % ALIGNMENT
        self._write(memoryview(bytes(padding)))
        start = self._file.size
        for chunk in chunks(tensor):
            self._write(chunk)
        return start, self._file.size - start

    def _write(self, data: memoryview) -> None:
        self._hash.update(data)
        self._file.write(data)

    @property
    def digest(self) -> str:
        """Of everything written, twelve hexadecimal digits."""
        return self._hash.hexdigest()[:12]

    def relocate(self, location: str) -> None:
        """Let the proto that was built refer to another file name."""
        for entry in self._entries:
            entry.value = location


class InlineSink:
    """Leaves placeholders for large initializers, which :meth:`write` replaces on the way out."""

    def __init__(self) -> None:
        self._token = os.urandom(16)
        self._tensors: dict[bytes, ir.TensorProtocol] = {}

    def __call__(self, proto: onnx.TensorProto, tensor: ir.TensorProtocol) -> bool:
        is_typed = isinstance(tensor, ir.TensorProtoTensor) and not tensor.raw.HasField("raw_data")
        if is_typed or tensor.dtype == ir.DataType.STRING or tensor.nbytes < CHUNK // 4:
            return False
        key = self._token + len(self._tensors).to_bytes(8, "little")
        self._tensors[key] = tensor
        proto.raw_data = key
        return True

    def write(self, data: bytes, file: TemporaryFile) -> None:
        """Write a serialized model with every placeholder replaced by its tensor."""
        pending: list[ir.TensorProtocol] = []

        def put(view: memoryview, start: int, end: int) -> tuple[int, bytes] | None:
            tensor = self._tensors.get(bytes(view[start:end])) if end - start == 24 else None
            if tensor is None:
                return None
            pending.append(tensor)
            return tensor.nbytes, b""

        pieces = rewrite(memoryview(data), put, smallest=24)
        if len(pending) != len(self._tensors):
            raise RuntimeError("a placeholder was lost")
        tensors = iter(pending)
        for piece in pieces:
            if len(piece):
                file.write(piece)
            elif isinstance(piece, bytes):
                for chunk in chunks(next(tensors)):
                    file.write(chunk)
