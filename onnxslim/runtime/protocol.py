"""What parent and worker child say to each other: framed JSON plus raw tensors, never pickles.

A message is a fixed prefix, a JSON header and a payload. Tensors are described in the header; their
bytes are in the payload when they are small, else in one file of the worker's private folder, which
the receiver maps and removes. Both sides validate what they get.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.errors import WorkerError

PREFIX = struct.Struct("!4sII")
_MAGIC = b"OSW1"
_MAX_HEADER = 256 << 20
_INLINE = 64 << 10
_ALIGN = 64
# ONNX Runtime's own: of an error; of a log line (time, [severity:category, place])
_PREFIXES = re.compile(r"^\[ONNXRuntimeError\] : \d+ : |^[-\d]+ [:.\d]+ \[\w:[^\]]*\] ")
_FILE = re.compile(r"[a-z][0-9]{1,12}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")

#: ONNX Runtime's type name: (numpy or ml_dtypes name, TensorProto.DataType, bits per element).
ELEMENTS: Mapping[str, tuple[str, int, int]] = {
    "float": ("float32", 1, 32),
    "uint8": ("uint8", 2, 8),
    "int8": ("int8", 3, 8),
    "uint16": ("uint16", 4, 16),
    "int16": ("int16", 5, 16),
    "int32": ("int32", 6, 32),
    "int64": ("int64", 7, 64),
    "bool": ("bool", 9, 8),
    "float16": ("float16", 10, 16),
    "double": ("float64", 11, 64),
    "uint32": ("uint32", 12, 32),
    "uint64": ("uint64", 13, 64),
    "complex64": ("complex64", 14, 64),
    "complex128": ("complex128", 15, 128),
    "bfloat16": ("bfloat16", 16, 16),
    "float8e4m3fn": ("float8_e4m3fn", 17, 8),
    "float8e4m3fnuz": ("float8_e4m3fnuz", 18, 8),
    "float8e5m2": ("float8_e5m2", 19, 8),
    "float8e5m2fnuz": ("float8_e5m2fnuz", 20, 8),
    "uint4": ("uint4", 21, 4),
    "int4": ("int4", 22, 4),
    "float4e2m1": ("float4_e2m1fn", 23, 4),
    "float8e8m0": ("float8_e8m0fnu", 24, 8),
    "uint2": ("uint2", 25, 2),
    "int2": ("int2", 26, 2),
}
BITS: Mapping[str, int] = {name: bits for name, _, bits in ELEMENTS.values()}
FIRST_EXOTIC = 16  # from this TensorProto.DataType on, numpy has no such type

#: ndarray (also of objects: strings), RawTensor, bytes, None, list (sequence) or dict (map).
Value = Any
#: A message: header and values.
Answer = tuple[dict[str, Any], list[Value]]


class Refusal(Exception):
    """An answer that is an error: ``missing``, ``provider``, ``memory``, ``data``, ``error``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class RawTensor:
    """A tensor of a type that numpy lacks, as bytes; 4 and 2 bit types packed, low bits first."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    def array(self) -> np.ndarray[Any, Any]:
        """View the bytes through ml_dtypes (a base dependency through onnx)."""
        import ml_dtypes

        kind: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.dtype))
        bits = BITS[self.dtype]
        flat: np.ndarray[Any, Any] = np.frombuffer(self.data, np.uint8)
        if bits < 8:
            parts = [flat >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
            flat = np.stack(parts, axis=-1).reshape(-1)[: math.prod(self.shape)]
            if self.dtype.startswith("int"):
                flat = (flat ^ 1 << bits - 1).astype(np.int8) - np.int8(1 << bits - 1)
                return flat.astype(kind).reshape(self.shape)
        return flat.view(kind).reshape(self.shape)


def nbytes(value: Value) -> int:
    """Bytes that a fed value takes, about."""
    if isinstance(value, (list, tuple)):
        return sum(nbytes(item) for item in value)
    if isinstance(value, RawTensor):
        return len(value.data)
    return int(getattr(value, "nbytes", 8))


class Packer:
    """Turns values into descriptors for the header and chunks for the payload or the file."""

    def __init__(self) -> None:
        self.chunks: list[tuple[int, memoryview]] = []
        self.size = 0

    def pack(self, value: Value) -> dict[str, Any]:
        """Describe one value; its bytes are kept by reference until they are written."""
        if value is None:
            return {"t": "none"}
        if isinstance(value, bytes):
            return {"t": "bytes", **self._store(memoryview(value))}
        if isinstance(value, RawTensor):
            return self._tensor(value.dtype, value.shape, memoryview(value.data))
        if isinstance(value, (list, tuple)):
            return {"t": "seq", "items": [self.pack(item) for item in value]}
        if isinstance(value, dict):
            keys, items = list(value), list(value.values())
            return {"t": "map", "keys": self.pack(np.array(keys)), "items": self.pack(items)}
        array = np.asarray(value)
        if array.dtype.kind in "OUS":
            text = json.dumps([_text(item) for item in array.reshape(-1)]).encode()
            return {"t": "str", "shape": list(array.shape), **self._store(memoryview(text))}
        name = _name(array.dtype)
        if BITS.get(name, 0) < 8:
            raise ValueError(f"a tensor of type {array.dtype} cannot be given to a model")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return self._tensor(name, array.shape, memoryview(flat.data))

    def _tensor(self, dtype: str, shape: Sequence[int], data: memoryview) -> dict[str, Any]:
        return {"t": "tensor", "dtype": dtype, "shape": list(shape), **self._store(data)}

    def _store(self, data: memoryview) -> dict[str, int]:
        at = -(-self.size // _ALIGN) * _ALIGN
        self.chunks.append((at, data))
        self.size = at + data.nbytes
        return {"at": at, "n": data.nbytes}

    def payload(self) -> bytes:
        """All bytes at their offsets."""
        out = bytearray(self.size)
        for at, data in self.chunks:
            out[at : at + data.nbytes] = data
        return bytes(out)

    def write(self, path: Path) -> None:
        """Write all bytes at their offsets into a new file."""
        try:
            with os.fdopen(os.open(path, _CREATE, 0o600), "wb", buffering=0) as file:
                for at, data in self.chunks:
                    file.seek(at)
                    _write_all(file.write, data)
                file.truncate(self.size)
        except OSError:
            path.unlink(missing_ok=True)
            raise


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def _write_all(write: Callable[[memoryview], int | None], data: memoryview) -> None:
    while data.nbytes:
        data = data[write(data) or 0 :]


@cache
def _name(dtype: np.dtype[Any]) -> str:
    """NumPy makes up the name anew each time, which takes as long as the rest of packing."""
    return dtype.name


def _text(item: object) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def encode(
    header: Mapping[str, Any], values: Sequence[Value], folder: Path, name: Callable[[], str]
) -> bytes:
    """Build a message; values that are large together go to a new file of ``folder``.

    Args:
        header: What is said, JSON types only.
        values: Tensors, bytes, sequences or None.
        folder: The private folder of the worker.
        name: Gives a fresh file name.
    """
    packer = Packer()
    head: dict[str, Any] = {**header, "values": [packer.pack(value) for value in values]}
    payload = b""
    if packer.size > _INLINE:
        head["file"] = name()
        packer.write(folder / head["file"])
    elif packer.size:
        payload = packer.payload()
    text = json.dumps(head, separators=(",", ":")).encode()
    return PREFIX.pack(_MAGIC, len(text), len(payload)) + text + payload


def sizes(prefix: bytes) -> tuple[int, int]:
    """Header and payload length from a message's prefix, checked."""
    magic, header, payload = PREFIX.unpack(prefix)
    if magic != _MAGIC or header > _MAX_HEADER or payload > 2 * _INLINE:
        raise _garbled("wrong prefix")
    return header, payload


def decode(header: bytes, payload: bytes, folder: Path) -> Answer:
    """Read a message back; its file is removed, the mapping lives on.

    Args:
        header: The JSON text.
        payload: The bytes after it.
        folder: The private folder of the worker.
    """
    try:
        head = json.loads(header)
    except ValueError as error:
        raise _garbled(str(error)) from error
    if not isinstance(head, dict) or not isinstance(head.get("values"), list):
        raise _garbled("no header")
    data: bytes | mmap.mmap = payload
    if "file" in head:
        if not isinstance(head["file"], str) or not _FILE.fullmatch(head["file"]):
            raise _garbled("bad file name")
        data = _map(folder / head["file"])
    return head, [_unpack(item, data) for item in head.pop("values")]


def _map(path: Path) -> mmap.mmap:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags)
    try:
        view = mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(file)
    with contextlib.suppress(OSError):  # Windows keeps mapped files; the folder goes later
        path.unlink()
    return view


def _unpack(item: Any, data: bytes | mmap.mmap) -> Value:
    kind = item.get("t") if isinstance(item, dict) else None
    if kind == "none":
        return None
    if kind == "seq":
        return [_unpack(part, data) for part in item["items"]]
    if kind == "map":
        keys = _unpack(item["keys"], data).tolist()
        return dict(zip(keys, _unpack(item["items"], data), strict=True))
    if kind not in ("bytes", "str", "tensor"):
        raise _garbled(f"value of kind {kind!r}")
    at, length = item["at"], item["n"]
    if not 0 <= at <= at + length <= len(data):
        raise _garbled("a value lies outside of its buffer")
    if kind == "bytes":
        return bytes(data[at : at + length])
    shape = tuple(item["shape"])
    if any(not isinstance(size, int) or size < 0 for size in shape):
        raise _garbled(f"shape {shape}")
    if kind == "str":
        texts = json.loads(bytes(data[at : at + length]))
        return np.array(texts, dtype=object).reshape(shape)
    return _tensor(item["dtype"], shape, memoryview(data)[at : at + length])


def _tensor(dtype: Any, shape: tuple[int, ...], data: memoryview) -> Value:
    bits = BITS.get(dtype)
    if bits is None or data.nbytes != -(-math.prod(shape) * bits // 8):
        raise _garbled(f"a {dtype} tensor of shape {shape} in {data.nbytes} bytes")
    if dtype in _EXOTIC:
        return RawTensor(dtype, shape, data)
    if data.readonly:  # small and inline: give an array that can be written, as for a mapped one
        data = memoryview(bytearray(data))
    return np.frombuffer(data, dtype=dtype).reshape(shape)


_EXOTIC = frozenset(name for name, number, _ in ELEMENTS.values() if number >= FIRST_EXOTIC)


def _garbled(what: str) -> WorkerError:
    return WorkerError(f"the worker process said something that is no message ({what})", "crash")


def one_line(text: object, limit: int = 600) -> str:
    """Printable, one line, bounded: names in messages come from the model."""
    line = _UNPRINTABLE.sub(" ", _COLOUR.sub("", str(text))).strip()
    line = _PREFIXES.sub("", line)
    return line if len(line) <= limit else line[: limit - 4] + " ..."
