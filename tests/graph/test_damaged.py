"""Damaged models: whatever a byte or a field is changed to, the answer is a model or one line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.serialize import to_proto
from tests.graph.iomodels import CONDITION, branch, choice, info, model, node, weights

NUMBERS = (0, 1, -1, 2, 3, 16, 127, 2**31 - 1, -(2**31))


def _good() -> onnx.ModelProto:
    then = branch("t", node("Add", "a k", "t"), initializer=[weights("k")])
    proto = model(
        [
            node("Add", "x w", "a", name="add"),
            node("Constant", "", "s", value=weights("", 4)),
            choice(then, branch("e", node("Mul", "a s", "e")), "b"),
            node("Elu", "b", "y", alpha=0.5),
        ],
        [weights("w")],
        inputs=[info("x"), CONDITION],
        value_info=[info("a", ("n",))],
    )
    proto.metadata_props.add(key="k", value="v")
    return proto


def _answers(read: Any) -> bool:
    """Whether it was taken; then it can also be written."""
    try:
        to_proto(read())
    except UnsupportedModelError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes(tmp_path: Path, seed: int) -> None:
    draw, data = random.Random(seed), _good().SerializeToString()
    path = tmp_path / "m.onnx"
    taken = 0
    for _ in range(250):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(changed))
            if draw.random() < 0.5:
                changed[place] = draw.randrange(256)
            elif draw.random() < 0.5:
                del changed[place : place + draw.randint(1, 9)]
            else:
                changed[place:place] = draw.randbytes(draw.randint(1, 9))
        path.write_bytes(changed)
        taken += _answers(lambda: load(path))
    assert 0 < taken < 250


def _messages(proto: Any) -> list[Any]:
    found = [proto]
    for field, value in proto.ListFields():
        if field.message_type is not None:
            children = [value] if hasattr(value, "DESCRIPTOR") else value
            found += [inner for child in children for inner in _messages(child)]
    return found


def _change(draw: random.Random, proto: Any) -> None:
    """Clear, repeat or overwrite one field of one message."""
    holder = draw.choice(_messages(proto))
    fields = holder.ListFields()
    if not fields:
        return
    field, value = draw.choice(fields)
    is_many = not isinstance(value, (str, bytes, int, float)) and hasattr(value, "extend")
    if draw.random() < 0.3:
        holder.ClearField(field.name)
    elif is_many:
        value.extend(list(value)[: draw.randint(0, 2)])
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        names = ("", "x", "a", "y", "nope", "a\nb\x1b[2J")
        text = draw.choice(names)
        setattr(holder, field.name, text.encode() if isinstance(value, bytes) else text)
    elif field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
        setattr(holder, field.name, draw.choice(NUMBERS))


@pytest.mark.parametrize("seed", (0, 1, 2, 3, 103, 108))
def test_changed_fields(seed: int) -> None:
    draw, taken = random.Random(seed), 0
    for _ in range(250):
        proto = _good()
        for _ in range(draw.randint(1, 3)):
            _change(draw, proto)
        taken += _answers(lambda: from_proto(proto))  # noqa: B023 (called at once)
    assert 0 < taken < 250
