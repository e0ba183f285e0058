from __future__ import annotations

import pytest

from onnxslim.graph.wire import WireError, check_model, encode_varint, rewrite
from tests.graph.iomodels import adding, model, node, weights


def _check(data: bytes) -> None:
    check_model(lambda pos, count: data[pos : pos + count], len(data))


def test_a_model_passes() -> None:
    _check(adding(weights("w")).SerializeToString())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(64), "no protobuf message"),
        (b"\x08\x08\x38\x05", "field graph has wire type 0"),
        (b"\x3a" + encode_varint(2**31 - 1) + b"abc", "truncated"),
        (b"\x08" + b"\xff" * 15, "bad variable-length number"),
        (b"\x0b", "no protobuf message"),
        (b"\x08\x01" * 100_001, "more than 100000 top-level fields"),
    ],
)
def test_other_bytes_do_not(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        _check(data)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_truncated_model_does_not(cut: int) -> None:
    with pytest.raises(WireError, match="truncated"):
        _check(adding(weights("w")).SerializeToString()[:-cut])


def test_rewrite_replaces_payloads_and_fixes_lengths() -> None:
    proto = model([node("Add", "x w", "a"), node("Add", "a v", "y")], [weights("w"), weights("v")])
    proto.graph.node[0].attribute.add(name="extra", type=4).t.CopyFrom(weights("t", 400))
    found: list[bytes] = []

    def cut(view: memoryview, start: int, end: int) -> tuple[int, bytes]:
        found.append(bytes(view[start:end]))
        return 3, b"abc"

    data = b"".join(rewrite(memoryview(proto.SerializeToString()), cut, smallest=16))
    tensors = (proto.graph.node[0].attribute[0].t, *proto.graph.initializer)
    assert found == [tensor.raw_data for tensor in tensors]
    for tensor in tensors:
        tensor.raw_data = b"abc"
    assert data == proto.SerializeToString()


def test_rewrite_leaves_small_payloads() -> None:
    data = adding(weights("w")).SerializeToString()
    assert b"".join(rewrite(memoryview(data), lambda *_: (0, b""), smallest=17)) == data
