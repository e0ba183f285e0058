"""Which operators work on transposed tensors: the permutations found, and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._layout import pads_of, perms_of, reduced_axes, slice_axes
from onnxslim.passes._transposes import Perm

P = (0, 2, 3, 1)
SHARED = 1024


def node_of(
    op: str, ranks: Any, *constants: Any, out: Any = 4, count: int = 1, **given: Any
) -> ir.Node:
    """A node of tensors of these ranks, then constants (None: omitted), and its results' ranks."""
    values: list[ir.Value | None] = [
        ir.Value(name=f"v{i}", shape=None if rank is None else ir.Shape([2] * rank))
        for i, rank in enumerate(ranks)
    ]
    for i, item in enumerate(constants):
        array = None if item is None else np.asarray(item)
        if array is None:
            values.append(None)
            continue
        value = ir.Value(
            name=f"c{i}", const_value=ir.tensor(array), shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )  # fmt: skip
        ir.Graph([], [], nodes=[], initializers=[value])
        values.append(value)
    node = ir.node(op, values, given, num_outputs=count)
    for value in node.outputs:
        value.shape = None if out is None else ir.Shape([2] * out)
    return node


def found(node: ir.Node, perm: Perm = P, opset: int = 17, *, back: bool = False) -> Any:
    """Permutations by name, from that of the first input, or of the result."""
    value = node.outputs[0] if back else node.inputs[0]
    assert value is not None
    for i, out in enumerate(node.outputs):
        out.name = f"y{i}" if i else "y"
    perms = perms_of(node, value, perm, opset)
    return None if perms is None else {str(v.name): p for v, p in perms.items()}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(
    ("node", "names"),
    [
        (node_of("Relu", [4]), ["v0", "y"]),
        (node_of("Clip", [4], np.float32(0), np.float32(6)), ["v0", "y"]),
        (node_of("Add", [4, 4]), ["v0", "v1", "y"]),
        (node_of("Add", [4], np.float32(3)), ["v0", "y"]),
        (node_of("Add", [4], np.ones((2, 1, 1))), ["v0", "y"]),
        (node_of("Add", [4], np.ones((1, 2, 1, 1))), ["v0", "y"]),
        (node_of("Add", [4, 0]), ["v0", "y"]),
        (node_of("Where", [4, 4, 4]), ["v0", "v1", "v2", "y"]),
        (node_of("Concat", [4, 4], axis=1), ["v0", "v1", "y"]),
        (node_of("Split", [4], [1, 1], count=2, axis=1), ["v0", "y", "y1"]),
        (node_of("Softmax", [4], axis=1), ["v0", "y"]),
        (node_of("Slice", [4], [0], [1], [1]), ["v0", "y"]),
        (node_of("Pad", [4], [0] * 8), ["v0", "y"]),
        (node_of("QuantizeLinear", [4], np.float32(1)), ["v0", "y"]),
        (node_of("DequantizeLinear", [4], np.ones(2, np.float32)), ["v0", "y"]),
        (node_of("ReduceMean", [4], axes=[1]), ["v0", "y"]),
    ],
)
def test_all_tensors_alike(node: ir.Node, names: list[str], back: bool) -> None:
    assert found(node, back=back) == dict.fromkeys(names, P)


@pytest.mark.parametrize(
    "node",
    [
        node_of("Relu", [3]),
        node_of("Relu", [4], out=3),
        node_of("Add", [4, 3]),
        node_of("Add", [4, None]),
        node_of("Add", [4], np.ones((1, 1, 1, 1, 2))),
        node_of("MatMul", [4, 4]),
        node_of("Softmax", [4], axis=3),
        node_of("Softmax", [4]),
        node_of("Softmax", [4], axis=-1),
        node_of("Split", [4], count=2, out=3),
        node_of("Split", [3], count=2),
        node_of("Slice", [4], [0], [1]),
        node_of("Pad", [4], [0] * 6),
        node_of("Pad", [4], [0] * 8, np.float32(0), [1]),
        node_of("QuantizeLinear", [4, 0]),
        node_of("QuantizeLinear", [4], np.ones((2, 2), np.float32)),
        node_of("DequantizeLinear", [4], np.ones(2, np.float32), block_size=2),
        node_of("ReduceMean", [4]),
        node_of("ReduceMean", [None], axes=[1]),
        node_of("ReduceMean", [4], axes=[1], out=3),
        node_of("ReduceMean", [3], axes=[1], out=2, keepdims=0),
        node_of("Unsqueeze", [3], [1]),
        node_of("Unsqueeze", [None], [1]),
    ],
)
def test_refused(node: ir.Node) -> None:
    assert found(node) is None


def test_refused_by_domain_and_opset() -> None:
    assert found(node_of("Relu", [4]), opset=6) is None
    assert found(node_of("Relu", [4]), opset=7) == {"v0": P, "y": P}
    node = node_of("Relu", [4])
    node.domain = "other"
    assert found(node) is None
    assert found(node_of("Softmax", [4], axis=1), opset=12) is None
    per_axis = node_of("DequantizeLinear", [4], np.ones(2, np.float32))
    assert found(per_axis, opset=12) is None
    one = node_of("DequantizeLinear", [4], np.ones(1, np.float32))
    assert found(one, opset=12) == {"v0": P, "y": P}


def test_a_softmax_whose_last_axis_stays() -> None:
    stays = (0, 2, 1, 3)
    assert found(node_of("Softmax", [4], axis=-1), stays) == {"v0": stays, "y": stays}
    assert found(node_of("Softmax", [4]), stays) == {"v0": stays, "y": stays}


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("readers", [1, 2])
def test_a_shared_constant_is_copied_while_it_is_small(over: int, readers: int) -> None:
    node = node_of("Add", [4], np.ones((1, 1, 1, SHARED + over)))
    if readers > 1:
        ir.node("Neg", [node.inputs[1]])
    assert (found(node) is None) == bool(over and readers > 1)


@pytest.mark.parametrize(
    ("node", "perm", "back", "perms"),
    [
        (node_of("ReduceMean", [4], axes=[1], keepdims=0, out=3), P, False, (0, 2, 1)),
        (node_of("ReduceMax", [4], axes=[2, 3], keepdims=0, out=2), P, False, (0, 1)),
        (node_of("ReduceMax", [4], axes=[-1], keepdims=0, out=3), P, False, (0, 1, 2)),
        (node_of("ReduceMax", [4], axes=[0], keepdims=0, out=3), P, False, (1, 2, 0)),
        (node_of("ReduceSum", [4], [1, 2], keepdims=0, out=2), P, False, (0, 1)),
        (node_of("Squeeze", [4], [1], out=3), P, False, (0, 2, 1)),
        (node_of("Squeeze", [4], [0, 2], out=2), P, False, (1, 0)),
        (node_of("Squeeze", [4], [3], out=3), (0, 2, 1), True, (0, 2, 1, 3)),
        (node_of("Squeeze", [4], [1], out=3), (0, 2, 1), True, (0, 1, 3, 2)),
        (node_of("Squeeze", [4], [0], out=3), (1, 2, 0), True, (0, 2, 3, 1)),
        (node_of("ReduceMax", [4], axes=[1], keepdims=0, out=3), (2, 1, 0), True, (3, 1, 2, 0)),
        (node_of("Unsqueeze", [3], [0]), (1, 2, 0), False, (0, 2, 3, 1)),
        (node_of("Unsqueeze", [3], [-1]), (1, 2, 0), False, (1, 2, 0, 3)),
        (node_of("Unsqueeze", [3], [1]), P, True, (0, 2, 1)),
        (node_of("Unsqueeze", [2], [1, 2]), P, True, (0, 1)),
    ],
)
def test_axes_that_go_or_come(node: ir.Node, perm: Perm, back: bool, perms: Perm) -> None:
    one, other = ("y", "v0") if back else ("v0", "y")
    assert found(node, perm, back=back) == {one: perm, other: perms}


@pytest.mark.parametrize(
    ("node", "perm", "back"),
    [
        (node_of("Squeeze", [4], [1], out=3), (1, 0, 2), False),
        (node_of("Squeeze", [4], [1], out=3), P, True),
        (node_of("Unsqueeze", [3], [1]), P, False),
        (node_of("Unsqueeze", [3], [1]), (1, 0, 2), True),
    ],
)
def test_a_permutation_of_another_rank(node: ir.Node, perm: Perm, back: bool) -> None:
    assert found(node, perm, back=back) is None


@pytest.mark.parametrize(
    ("node", "opset", "axes"),
    [
        (node_of("Slice", [4], starts=[0], ends=[1], axes=[-1, 1]), 9, [3, 1]),
        (node_of("Slice", [4], starts=[0], ends=[1]), 9, None),
        (node_of("Slice", [4], [0], [1], [-1, 1]), 10, [3, 1]),
        (node_of("Slice", [None], [0], [1], [1]), 10, None),
        (node_of("Slice", [4], [0], [1]), 10, None),
    ],
)
def test_slice_axes(node: ir.Node, opset: int, axes: list[int] | None) -> None:
    assert slice_axes(node, opset) == axes


@pytest.mark.parametrize(
    ("node", "opset", "pads"),
    [
        (node_of("Pad", [2], pads=[0, 1, 2, 3]), 10, [0, 1, 2, 3]),
        (node_of("Pad", [2], [0, 1, 2, 3]), 11, [0, 1, 2, 3]),
        (node_of("Pad", [2], [0, 1, 2, 3]), 10, None),
        (node_of("Pad", [2], [0, 1, 2]), 11, None),
        (node_of("Pad", [None], [0, 1, 2, 3]), 11, None),
    ],
)
def test_pads(node: ir.Node, opset: int, pads: list[int] | None) -> None:
    assert pads_of(node, opset) == pads


@pytest.mark.parametrize(
    ("node", "axes"),
    [
        (node_of("ReduceSum", [4], axes=[-1, 0]), [3, 0]),
        (node_of("ReduceSum", [4], [-1, 0]), [3, 0]),
        (node_of("ReduceSum", [4], np.zeros(0, np.int64)), None),
        (node_of("ReduceSum", [4]), None),
        (node_of("ReduceSum", [None], [1]), None),
        (node_of("Squeeze", [4], [-1, 0]), [0, 3]),
    ],
)
def test_reduced_axes(node: ir.Node, axes: list[int] | None) -> None:
    assert reduced_axes(node, 17) == axes
