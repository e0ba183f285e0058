"""Reading arrays from files that may be broken or hostile: never unpickled, sizes checked first."""

from __future__ import annotations

import math
import os
import re
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.specs import Array

_MAX_INFLATED = 4 << 30
_MAX_PROTO = 2 << 30
_READ_ERRORS = (
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class Member:
    """One array of a file: what its header says, and where its bytes are.

    Args:
        path: The file.
        key: Name in an ``.npz``; empty for an ``.npy``.
        shape: Declared shape, checked against the bytes there are.
        dtype: Declared type.
        fortran: Column-major order.
        offset: Where the data starts in the file, or None when it is compressed.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int | None

    @property
    def label(self) -> str:
        """The file and key, as messages name it."""
        return f"{self.path.name}[{self.key!r}]" if self.key else self.path.name

    def read(self) -> Array:
        """The array: mapped from the file when it is stored plainly, else inflated."""
        with _errors(self.path):
            if self.offset is None:
                with (
                    zipfile.ZipFile(self.path) as archive,
                    archive.open(self.key + ".npy") as stream,
                ):
                    return _inflate(stream)
            if 0 in self.shape or self.dtype.itemsize == 0:
                return np.empty(self.shape, self.dtype)
            order: Any = "F" if self.fortran else "C"
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)


@dataclass(frozen=True, eq=False)
class Held:
    """An array in memory, where others are in a file.

    Args:
        key: Its name.
        array: It.
    """

    key: str
    array: Array
    offset: ClassVar[int] = 0

    @property
    def label(self) -> str:
        """As messages name it."""
        return f"data[{self.key!r}]"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        return self.array.dtype

    def read(self) -> Array:
        """The array."""
        return self.array


def open_arrays(path: Path) -> dict[str, Member]:
    """Lists the arrays of an ``.npz`` (by key) or ``.npy`` (one, under the empty key).

    Raises:
        DataError: The file is missing, not of its kind, damaged, pickled, or lies about its size.
    """
    _regular(path)
    with _errors(path):
        if path.suffix.lower() == ".npy":
            with path.open("rb") as stream:
                header = _header(stream, path, "", path.stat().st_size)
                return {"": Member(path, "", *header, stream.tell())}
        return _members(path)


def load_tensor(path: Path) -> tuple[str, Array]:
    """Reads one ``TensorProto`` file of an ONNX test data set: its name and content.

    Raises:
        DataError: It is no tensor, points to another file, or lies about its size.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    _regular(path)
    if path.stat().st_size > _MAX_PROTO:
        raise DataError(f"{path.name} is larger than 2 GB, which no ONNX tensor file can be")
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise DataError(
            f"{path.name} is not an ONNX tensor ({_line(error)}); expected input_N.pb"
        ) from None
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise DataError(
            f"{path.name} keeps its data in another file; expected a self-contained tensor"
        )
    if any(d < 0 for d in tensor.dims) or tensor.data_type == onnx.TensorProto.UNDEFINED:
        raise DataError(
            f"{path.name} is not an ONNX tensor: type {tensor.data_type}, dims {list(tensor.dims)}"
        )
    if math.prod(tensor.dims) > 8 * max(path.stat().st_size, 1):
        raise DataError(
            f"{path.name} declares {list(tensor.dims)} elements, but the file has only"
            f" {path.stat().st_size} bytes"
        )
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path.name}: {_line(error)}; expected as many values as its dims say"
        ) from None
    return tensor.name, array


def _regular(path: Path) -> None:
    if not path.exists():
        raise DataError(f"there is no file {str(path)!r}")
    if not path.is_file():
        raise DataError(f"{str(path)!r} is not a regular file; expected .npz or .npy data")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turns what damaged files raise into one line, and keeps NumPy's advice on them quiet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
        raise DataError(f"{path.name} is damaged or no .npz file: {_line(error)}") from None
    except _READ_ERRORS as error:
        raise DataError(f"{path.name} cannot be read as arrays: {_line(error)}") from None


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def _members(path: Path) -> dict[str, Member]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path.name} is not an .npz file; save the arrays with numpy.savez")
    found: dict[str, Member] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename[: -len(".npy")]
            if key in found:
                raise DataError(f"{path.name} has two arrays named {key!r}; expected one")
            found[key] = _member(path, archive, info, key, raw)
    if not found:
        raise DataError(f"{path.name} has no arrays; save them with numpy.savez(file, NAME=array)")
    return found


def _member(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str, raw: IO[bytes]
) -> Member:
    with archive.open(info) as stream:
        header = _header(stream, path, key, info.file_size)
        used = stream.tell()
    plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
    if not plain:
        if info.file_size > _MAX_INFLATED:
            raise DataError(
                f"{path.name}[{key!r}] inflates to {info.file_size} bytes;"
                " save it uncompressed (numpy.savez)"
            )
        return Member(path, key, *header, None)
    raw.seek(info.header_offset)
    local = raw.read(30)
    name, extra = struct.unpack("<HH", local[26:30])
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > path.stat().st_size:
        raise DataError(f"{path.name} is truncated: {key!r} ends beyond the file")
    return Member(path, key, *header, start + used)


def _header(
    stream: IO[bytes], path: Path, key: str, size: int
) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Reads an ``.npy`` header and checks that it declares exactly the bytes that follow."""
    label = f"{path.name}[{key!r}]" if key else path.name
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{label} is of .npy version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(
            f"{label} holds pickled Python objects, which are never loaded; save plain arrays"
        )
    if dtype.names is not None or dtype.subdtype is not None or dtype.kind in "mM":
        raise DataError(f"{label} is of type {dtype}; expected numbers, booleans or strings")
    if any(d < 0 for d in shape):
        raise DataError(f"{label} declares the shape {shape}; expected no negative size")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != there:
        raise DataError(f"{label} declares {declared} bytes of data but has {there}; it is damaged")
    return tuple(int(d) for d in shape), dtype, bool(fortran)


def _inflate(stream: IO[bytes]) -> Array:
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def listing(members: Mapping[str, Member | Held]) -> str:
    """The arrays of a file, as messages list them."""
    shown = [f"{k!r} {m.dtype} {list(m.shape)}" for k, m in list(members.items())[:8]]
    return ", ".join(shown) + (", ..." if len(members) > 8 else "")


def natural_key(path: os.PathLike[str]) -> list[tuple[int, int, str]]:
    """Sorts ``set_2`` before ``set_10``."""
    parts = re.split(r"(\d+)", os.fspath(path))
    return [(1, int(p), "") if p.isdigit() and p.isascii() else (0, 0, p) for p in parts]
