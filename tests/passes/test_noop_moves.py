"""Which data movements certainly change nothing, each condition by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._noop_moves import RULES

INT32 = 2**31 - 1
N = "N"


def nothing(
    op: str, before: Any, after: Any, *inputs: Any, opset: int = 17, outputs: int = 1, **given: Any
) -> bool:
    """Whether a node is known to return its first input; further inputs: lists, None or "?"."""
    x = ir.Value(name="x", shape=None if before is None else ir.Shape(before))
    values: list[ir.Value | None] = [x]
    for i, item in enumerate(inputs):
        tensor = None if item is None or isinstance(item, str) else ir.tensor(np.array(item))
        value = ir.Value(name=f"c{i}", const_value=tensor)
        if tensor is not None:
            ir.Graph([], [], nodes=[], initializers=[value])
        values.append(None if item is None else value)
    node = ir.node(op, values, given, num_outputs=outputs)
    node.outputs[0].shape = None if after is None else ir.Shape(after)
    found = RULES[op](node, opset)
    assert found is None or found is x
    return found is not None


@pytest.mark.parametrize("op", ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "CenterCropPad"])
def test_views(op: str) -> None:
    assert nothing(op, [2, N], [2, N])
    assert not nothing(op, [2, N], [N, 2])
    assert not nothing(op, [2, N], [2, "M"])
    assert not nothing(op, [2, 3], [2, 3, 1])
    assert not nothing(op, None, [2])
    assert not nothing(op, [2], None)


@pytest.mark.parametrize(
    ("shape", "perm", "found"),
    [
        ([2, 3], [0, 1], True),
        (None, [0, 1], True),
        ([2, 3], [1, 0], False),
        (None, [1, 0], False),
        ([2, 1], [1, 0], False),
        ([1, 1], [1, 0], True),
        ([1, 1, 3], [1, 0, 2], True),
        ([1, 2, 3], [1, 0, 2], False),
        ([1, N, 3], [0, 2, 1], False),
        ([1, 1], None, True),
        ([2, 3], None, False),
        (None, None, False),
        ([3], None, True),
        ([1, 1, 1], [0, 1], True),
        ([1, 1, 1], [1, 0], False),
        ([1, 1], [0, 0], False),
    ],
)
def test_transpose(shape: Any, perm: list[int] | None, found: bool) -> None:
    given: dict[str, Any] = {} if perm is None else {"perm": perm}
    assert nothing("Transpose", shape, None, **given) == found


@pytest.mark.parametrize(
    ("repeats", "after", "opset", "found"),
    [
        ([1, 1], None, 6, True),
        ([1, 1], None, 5, False),
        ([1, 2], None, 6, False),
        ([2, 1], None, 6, False),
        ("?", [2, N], 13, True),
        ("?", [2, N], 5, False),
        ("?", [2, "M"], 13, False),
    ],
)
def test_tile(repeats: Any, after: Any, opset: int, found: bool) -> None:
    assert nothing("Tile", [2, N], after, repeats, opset=opset) == found


@pytest.mark.parametrize(
    ("pads", "found"), [([0, 0], True), ([0, 1], False), ([1, -1], False), (None, False)]
)
def test_pad(pads: list[int] | None, found: bool) -> None:
    assert nothing("Pad", [3], [3], pads, opset=11) == found
    given: dict[str, Any] = {} if pads is None else {"pads": pads}
    assert nothing("Pad", [3], [3], opset=10, **given) == found
    assert not nothing("Pad", [3], [3], "?", opset=11)


@pytest.mark.parametrize("opset", [9, 10, 13])
@pytest.mark.parametrize(
    ("after", "starts", "ends", "found"),
    [
        (None, [0], [INT32], True),
        (None, [0], [INT32 - 1], False),
        (None, [-INT32], [INT32], True),
        (None, [1 - INT32], [INT32], False),
        (None, [1], [INT32], False),
        (None, [0, 1], [INT32, INT32], False),
        (None, [0, 0], [INT32, 5], False),
        ([3, N], [0], [3], True),
        ([2, N], [0], [2], False),
    ],
)
def test_slice(after: Any, starts: list[int], ends: list[int], found: bool, opset: int) -> None:
    if opset < 10:
        assert nothing("Slice", [3, N], after, opset=9, starts=starts, ends=ends) == found
        return
    assert nothing("Slice", [3, N], after, starts, ends, opset=opset) == found
    assert nothing("Slice", [3, N], after, starts, ends, None, [1], opset=opset) == found
    for steps in ([-1], [2], "?"):
        assert not nothing("Slice", [3, N], after, starts, ends, None, steps, opset=opset)


def test_slice_with_limits_that_are_computed() -> None:
    assert nothing("Slice", [3, N], [3, N], "?", "?")
    assert not nothing("Slice", [3, N], None, "?", [INT32])
    assert not nothing("Slice", [3, N], None, [0], "?")


@pytest.mark.parametrize("op", ["Concat", "Sum", "Max", "Min", "Mean"])
def test_single(op: str) -> None:
    assert nothing(op, [2], [2])
    assert not nothing(op, [2], [2], [1, 2])


def test_split() -> None:
    assert nothing("Split", [2], [2])
    assert not nothing("Split", [2], [1], outputs=2)


@pytest.mark.parametrize(
    ("before", "after", "inputs", "opset", "found"),
    [
        ([1, 2], [1, 2], (None, [1.0, 1.0]), 11, True),
        ([1, 2], [1, 2], ([1.0, 1.0],), 10, True),
        ([1, 2], [1, 2], (None, [1.0, 1.2]), 11, False),
        ([1, N], [1, N], (None, [1.0, 1.0]), 11, True),
        ([1, N], [1, "M"], (None, [1.0, 1.0]), 11, False),
        ([1, 2], [1, 2], (None, None, [1, 2]), 13, True),
        ([1, 2], [1, 2], (None, np.zeros(0, np.float32), [1, 2]), 13, True),
        ([1, N], [1, N], (None, None, "?"), 13, False),
        ([1, 2], [1, 3], (None, None, [1, 3]), 13, False),
        ([1, 2], [1, 2], ([1.0, 1.2], [1.0, 1.0]), 11, True),
        ([1, 2], [1, 2], ([1.0, 1.2],), 10, False),
    ],
)
def test_resize(before: Any, after: Any, inputs: Any, opset: int, found: bool) -> None:
    assert nothing("Resize", before, after, *inputs, opset=opset) == found
    mode = "tf_crop_and_resize"
    given: dict[str, Any] = {"coordinate_transformation_mode": mode}
    assert not nothing("Resize", before, after, *inputs, opset=opset, **given)


def test_upsample_has_its_scales_in_place_1() -> None:
    assert nothing("Upsample", [1, 2], [1, 2], [1.0, 1.0], opset=9)
    assert nothing("Upsample", [1, 2], [1, 2], [1.0, 1.0], opset=17)
    assert not nothing("Upsample", [1, 2], [1, 2], [1.0, 1.4], opset=17)


@pytest.mark.parametrize("op", [f"Reduce{kind}" for kind in ("Sum", "Mean", "Max", "Min", "Prod")])
def test_reduce(op: str) -> None:
    empty = np.zeros(0, np.int64)
    assert nothing(op, [2], [2], noop_with_empty_axes=1)
    assert nothing(op, [2], [2], empty, noop_with_empty_axes=1)
    assert not nothing(op, [2], [2])
    assert not nothing(op, [2], [2], empty)
    assert not nothing(op, [2], [2], [0], noop_with_empty_axes=1)
    assert not nothing(op, [2], [2], "?", noop_with_empty_axes=1)
    assert not nothing(op, [2], [2], noop_with_empty_axes=1, axes=[0])


@pytest.mark.parametrize(
    ("before", "after", "target", "found"),
    [
        ([2, N], None, [1, 1], True),
        ([2, N], None, [1], True),
        ([2, N], None, [1, 1, 1], False),
        ([2, N], None, [1, 3], False),
        (None, None, [1], False),
        ([2, N], [2, N], "?", True),
        ([2, N], [2, N], [2, 5], True),
        ([2, N], [2, "M"], "?", False),
    ],
)
def test_expand(before: Any, after: Any, target: Any, found: bool) -> None:
    assert nothing("Expand", before, after, target) == found
