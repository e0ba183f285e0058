"""Read a model file that may come from anywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.external import MappedFile, Payload, Region, Resolver, kind_of, map_file
from onnxslim.graph.messages import refuse
from onnxslim.graph.proto import Origin, build, from_proto
from onnxslim.graph.wire import WireError, check_model, rewrite

__all__ = ["from_proto", "load"]

MAP_FROM: Final = 64 << 20
"""Files above this size are mapped, and their large tensors stay in the file."""

PAYLOAD_FROM: Final = 1 << 20
LARGEST: Final = (1 << 31) - 1

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_OPEN |= getattr(os, "O_BINARY", 0)
_HINTS = (
    (0, b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull'"),
    (0, b"PK\x03\x04", "a zip archive, perhaps a PyTorch file; unpack it, or export it to ONNX"),
    (0, b"\x1f\x8b", "a gzip file; unpack it"),
    (0, b"\x80\x02", "a pickle, perhaps of PyTorch; export the model to ONNX"),
    (0, b"\x80\x04", "a pickle, perhaps of PyTorch; export the model to ONNX"),
    (0, b"\x89HDF", "an HDF5 file, perhaps of Keras; convert it with tf2onnx"),
    (0, b"<", "a text or HTML file"),
    (4, b"TFL3", "a TensorFlow Lite model; convert it with tf2onnx"),
    (4, b"ORTM", "a model in ONNX Runtime's own format; take the one it was made from"),
    (8, b'{"', "weights without a graph (safetensors); export the model to ONNX"),
)


def load(
    path: str | os.PathLike[str], *, allow_external_dir: str | os.PathLike[str] | None = None
) -> ir.Model:
    """Read and check a model; weights in external files and large ones stay on disk until used.

    Args:
        path: A regular file.
        allow_external_dir: External data may be symlinks into this folder; without it every
            data file must be a regular file in the model's own folder.

    Raises:
        UnsupportedModelError: When the file is missing, no ONNX model, damaged, invalid or
            hostile. The message is one line.
    """
    name = os.fspath(path)
    with _opened(name) as (file, status):
        regions: dict[bytes, Payload] = {}
        try:
            _check_start(file, status.st_size, name)
            check_model(lambda pos, count: _read(file, pos, count), status.st_size)
            if status.st_size > MAP_FROM:
                data = _without_payloads(map_file(file.fileno(), name), regions)
            else:
                data = _read(file, 0, status.st_size)
            proto = onnx.ModelProto.FromString(data)
        except WireError as error:
            raise refuse(name, str(error), "an ONNX model (a complete file)") from None
        except DecodeError:
            raise refuse(
                name,
                "protobuf data that cannot be parsed",
                "a complete ONNX model, not damaged and with graphs nested at most about 30 deep",
            ) from None
        except OSError as error:
            raise _unreadable(name, error) from error
        finally:
            data = b""
    resolver = Resolver(
        os.path.dirname(os.path.abspath(name)),
        model_identity=(status.st_dev, status.st_ino),
        allow_external_dir=allow_external_dir,
    )
    return build(proto, Origin(name, resolver, status.st_size, name, regions))


@contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A regular file, open; a FIFO or device is never opened."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise refuse(path, f"it is {kind_of(status.st_mode)}", "a model file")
        descriptor = os.open(path, _OPEN)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            raise refuse(path, f"it is {kind_of(opened.st_mode)}", "a model file")
        yield file, opened


def _unreadable(path: str, error: OSError | ValueError) -> UnsupportedModelError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return refuse(path, f"it cannot be read ({reason})", "the path of a model file")


def _check_start(file: BinaryIO, size: int, path: str) -> None:
    head = _read(file, 0, 64)
    found = None
    if not head:
        found = "an empty file"
    elif not head.strip(b"\0"):
        found = "no model in it (it starts with zero bytes)"
    elif size > LARGEST:
        found = f"a file of {size} bytes (protobuf ends at 2 GiB; store weights as external data)"
    for place, mark, meaning in _HINTS:
        if found is None and head.startswith(mark, place):
            found = meaning
    if found is not None:
        raise refuse(path, found, "an ONNX model")


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _without_payloads(file: MappedFile, regions: dict[bytes, Payload]) -> bytes:
    """The model's bytes with large payloads replaced by unguessable placeholders."""
    token = os.urandom(16)

    def cut(view: memoryview, start: int, end: int) -> tuple[int, bytes]:
        key = token + b"cut" + len(regions).to_bytes(8, "little")
        regions[key] = Region(file, start, end - start)
        return len(key), key

    return b"".join(rewrite(file.view, cut, smallest=PAYLOAD_FROM))
