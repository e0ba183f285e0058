"""Protobuf's wire format, walked by hand: what the library would only do after reading it all.

A file is checked at its top level before it is parsed; large tensor payloads are cut out of the
bytes (they stay in the mapped file) and put back when a model is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_MODEL_FIELDS = {
    1: ("ir_version", VARINT),
    2: ("producer_name", BYTES),
    3: ("producer_version", BYTES),
    4: ("domain", BYTES),
    5: ("model_version", VARINT),
    6: ("doc_string", BYTES),
    7: ("graph", BYTES),
    8: ("opset_import", BYTES),
    14: ("metadata_props", BYTES),
    20: ("training_info", BYTES),
    25: ("functions", BYTES),
    26: ("configuration", BYTES),
}
_MOST_TOP_LEVEL_FIELDS = 100_000

_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {9: "payload"},
}
"""Per message kind, the fields that lead to ``raw_data`` of tensors."""

Piece = bytes | memoryview
Replace = Callable[[memoryview, int, int], "tuple[int, Piece] | None"]
"""Payload ``[start, end)`` of the view to its replacement's length and piece; None: keep it."""


class WireError(ValueError):
    """The bytes are not protobuf, or not a ModelProto."""


def encode_varint(value: int) -> bytes:
    """A non-negative integer as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes | memoryview, pos: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if pos >= len(data) or shift > 63:
            raise WireError("it is truncated or not protobuf (bad variable-length number)")
        byte = data[pos]
        pos += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, pos
        shift += 7


def check_model(read: Callable[[int, int], bytes], size: int) -> None:
    """Walk the top-level fields of a ModelProto, reading a few bytes of each.

    Args:
        read: Gives the bytes at (position, count), fewer at the end of the file.
        size: Bytes of the file.

    Raises:
        WireError: When this cannot be a ModelProto: zero bytes, wrong wire types, lengths
            beyond the end of the file.
    """
    pos = count = 0
    while pos < size:
        head = read(pos, 20)
        key, used = _varint(head, 0)
        number, wire_type = key >> 3, key & 7
        name, wanted = _MODEL_FIELDS.get(number, (f"number {number}", wire_type))
        if number == 0 or wire_type not in (VARINT, FIXED64, BYTES, FIXED32):
            raise WireError(f"it is no protobuf message (byte {pos})")
        if wire_type != wanted:
            raise WireError(f"field {name} has wire type {wire_type}, not {wanted}")
        pos += _skip(head, used, wire_type, name, size - pos)
        count += 1
        if count > _MOST_TOP_LEVEL_FIELDS:
            raise WireError(f"it has more than {_MOST_TOP_LEVEL_FIELDS} top-level fields")


def _skip(head: bytes, used: int, wire_type: int, name: str, left: int) -> int:
    if wire_type == BYTES:
        length, used = _varint(head, used)
        used += length
    elif wire_type == VARINT:
        used = _varint(head, used)[1]
    else:
        used += 8 if wire_type == FIXED64 else 4
    if used > left:
        raise WireError(f"it is truncated: field {name} needs {used} bytes and {left} are left")
    return used


def rewrite(view: memoryview, replace: Replace, *, smallest: int) -> list[Piece]:
    """Copy a ModelProto piece by piece with some tensor payloads replaced.

    Args:
        view: The serialized message.
        replace: Called for each payload of at least ``smallest`` bytes.
        smallest: Submessages with fewer bytes are not looked into.
    """
    out: list[Piece] = []
    _Rewriter(view, replace, smallest).message(0, len(view), "model", out)
    return out


class _Rewriter:
    def __init__(self, view: memoryview, replace: Replace, smallest: int) -> None:
        self._view = view
        self._replace = replace
        self._smallest = smallest

    def message(self, pos: int, end: int, kind: str, out: list[Piece]) -> int:
        """Append the pieces of one message to ``out``; the new length."""
        view, children = self._view, _CHILDREN[kind]
        copied_to, total = pos, 0
        while pos < end:
            start = pos
            key, pos = _varint(view, pos)
            if key & 7 != BYTES:
                pos = self._after_scalar(pos, key & 7)
                continue
            length, pos = _varint(view, pos)
            if pos + length > end:
                raise WireError("it is truncated or corrupt (a field ends after its message)")
            child = children.get(key >> 3)
            if child is not None and length >= self._smallest:
                inner: list[Piece] = []
                size = self._child(pos, pos + length, child, inner)
                if size is not None:
                    head = encode_varint(key) + encode_varint(size)
                    out += (view[copied_to:start], head, *inner)
                    total += start - copied_to + len(head) + size
                    copied_to = pos + length
            pos += length
        if pos != end:
            raise WireError("it is truncated or corrupt (a field ends after its message)")
        out.append(view[copied_to:end])
        return total + end - copied_to

    def _child(self, start: int, end: int, kind: str, out: list[Piece]) -> int | None:
        if kind != "payload":
            return self.message(start, end, kind, out)
        replaced = self._replace(self._view, start, end)
        if replaced is None:
            return None
        out.append(replaced[1])
        return replaced[0]

    def _after_scalar(self, pos: int, wire_type: int) -> int:
        if wire_type == VARINT:
            return _varint(self._view, pos)[1]
        if wire_type in (FIXED64, FIXED32):
            return pos + (8 if wire_type == FIXED64 else 4)
        raise WireError("it is corrupt (unknown wire type)")
