"""Protobuf wire level: read and extend a serialized model without parsing its weights.

Serialized messages merge when they are concatenated, so a model gets another graph output by
appending ``ModelProto{graph{output{name}}}``. Source: protobuf encoding guide, "Last One Wins".
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from onnxslim.errors import UnsupportedModelError

_GRAPH = 7  # ModelProto.graph
_OUTPUT = 12  # GraphProto.output
_NAME = 1  # ValueInfoProto.name
_LOCATION = b"\n\x08location\x12"  # StringStringEntryProto{key: "location", value: ...}

Buffer = bytes | mmap.mmap


def varint(value: int) -> bytes:
    """Encode a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    """Encode one field: length-delimited for bytes, varint for an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def extra_outputs(names: Iterable[str]) -> bytes:
    """What to append to a serialized model so that these values become graph outputs.

    The types stay empty: ONNX Runtime infers them.
    """
    outputs = b"".join(field(_OUTPUT, field(_NAME, name.encode())) for name in names)
    return field(_GRAPH, outputs) if outputs else b""


def output_names(model: Buffer) -> list[str]:
    """Names of the main graph's outputs, in order."""
    names = []
    for number, start, stop in _fields(model, 0, len(model)):
        if number != _GRAPH:
            continue
        for inner, begin, end in _fields(model, start, stop):
            if inner == _OUTPUT:
                names += [
                    bytes(model[a:b]).decode("utf-8", "replace")
                    for tag, a, b in _fields(model, begin, end)
                    if tag == _NAME
                ]
    return names


def declared_bytes(path: Path) -> int:
    """Bytes of a model file and of the external data files beside it that it names anywhere."""
    total = path.stat().st_size
    if not total:
        return 0
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        return total + sum(_size_beside(path, name) for name in external_locations(view))


def external_locations(model: Buffer) -> list[str]:
    """Distinct names of external data files, in order of appearance."""
    found: dict[str, None] = {}
    at = model.find(_LOCATION)
    while at >= 0:
        at += len(_LOCATION)
        length, start = _varint(model, at, len(model))
        found[bytes(model[start : start + min(length, 4096)]).decode("utf-8", "replace")] = None
        at = model.find(_LOCATION, at)
    return list(found)


def _size_beside(path: Path, name: str) -> int:
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        return 0
    try:
        return (path.parent / name).stat().st_size
    except OSError:
        return 0


def _fields(data: Buffer, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of every length-delimited field between two offsets."""
    while at < stop:
        key, at = _varint(data, at, stop)
        number, kind = key >> 3, key & 7
        if kind == 2:
            length, at = _varint(data, at, stop)
            if length > stop - at:
                raise _broken()
            yield number, at, at + length
            at += length
        elif kind == 0:
            _, at = _varint(data, at, stop)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise _broken()


def _varint(data: Buffer, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _broken()


def _broken() -> UnsupportedModelError:
    return UnsupportedModelError(
        "the file is no serialized ONNX model (its protobuf fields do not add up); export it again"
    )


def tiny_model(op_type: str = "Neg", opset: int = 13) -> bytes:
    """A model of one unary operator, float ``x`` (2) to ``y`` (2), for a self test."""
    name = op_type.encode()

    def value(text: bytes) -> bytes:
        shape = field(1, field(1, 2))  # dim{dim_value: 2}
        return field(1, text) + field(2, field(1, field(1, 1) + field(2, shape)))

    node = field(1, b"x") + field(2, b"y") + field(4, name)
    graph = field(1, node) + field(2, name) + field(11, value(b"x")) + field(12, value(b"y"))
    return field(1, 8) + field(8, field(2, opset)) + field(_GRAPH, graph)


def missing_outputs(path: Path, names: Sequence[str]) -> bytes:
    """What to append to this model file so that all names are outputs."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        present = set(output_names(view))
    return extra_outputs(name for name in names if name not in present)


def merge(model: bytes, names: Sequence[str]) -> bytes:
    """The serialized model with more graph outputs; names that are outputs already are left out."""
    present = set(output_names(model)) if names else set()
    return model + extra_outputs(name for name in names if name not in present)
