"""Two Casts become one where that is exact."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.passes.fuse_cast import holds, is_exact
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, shared_worker
from tests.nets import net

PASS = get_pass("fuse-cast")()
TYPES = {name: onnx.TensorProto.DataType.Value(name) for name in onnx.TensorProto.DataType.keys()}


def chain(*types: str) -> onnx.ModelProto:
    names = [f"t{i}" for i in range(len(types))]
    body = "  ".join(
        f"{names[i]} = Cast<to = {TYPES[types[i].upper()]}>({names[i - 1]})"
        for i in range(1, len(types))
    )
    return net(f"{body}  y = Identity({names[-1]})", t0=f"{types[0]}[N,3]")


@pytest.mark.parametrize(
    "types",
    [
        ("float", "double", "float16"), ("float16", "float", "double"), ("bool", "int64", "float"),
        ("int32", "int64", "float"), ("int64", "int32", "int8"), ("int32", "double", "float"),
        ("bool", "float", "int64"), ("float16", "float", "int64"), ("uint8", "float", "int32"),
        ("int8", "int32", "uint8"), ("float", "double", "bool"), ("int64", "int32", "uint32"),
    ],
)  # fmt: skip
def test_merges(types: tuple[str, ...]) -> None:
    lines = [f"t2 = Cast(t0) to={TYPES[types[2].upper()]}", "y = Identity(t2)"]
    assert_pass(PASS, chain(*types), lines)


@pytest.mark.parametrize(
    "types",
    [("float", "double", "float"), ("int32", "int64", "int32"), ("bool", "int32", "bool"),
     ("float16", "float", "float16"), ("uint8", "int16", "uint8")],
)  # fmt: skip
def test_back_again(types: tuple[str, ...]) -> None:
    assert_pass(PASS, chain(*types), ["y = Identity(t0)"])


@pytest.mark.parametrize(
    "types",
    [
        ("float", "float16", "float"), ("float", "int64", "float"), ("double", "float", "float16"),
        ("int64", "int32", "int64"), ("int64", "float", "int64"), ("int32", "float", "int32"),
        ("float", "bool", "float"), ("int8", "float", "uint8"), ("float", "double", "uint8"),
        ("int64", "bool", "int64"), ("int32", "bfloat16", "int32"), ("float", "int32", "int8"),
    ],
)  # fmt: skip
def test_refuses(types: tuple[str, ...]) -> None:
    ctx = assert_pass(PASS, chain(*types), None)
    assert "changes values" in ctx.skipped[0][1]


def test_small_floats_and_text_stay() -> None:
    body = "a = Cast<to = 17, saturate = 0>(x)  y = Cast<to = 1>(a)"
    assert_pass(PASS, net(body, opset=19), None)
    body = "a = Cast<to = 1>(x)  y = Cast<to = 17>(a)"
    assert_pass(PASS, net(body, opset=19, x="float16[3]"), None)
    body = "a = Cast<to = 8>(x)  y = Cast<to = 1>(a)"
    assert_pass(PASS, net(body), None)


def test_cast_like() -> None:
    body = "a = Cast<to = 11>(x)  y = CastLike(a, w)"
    assert_pass(PASS, net(body, w=np.zeros(1, np.float16)), ["y = Cast(x) to=10"])
    body = "a = CastLike(x, w)  y = Cast<to = 10>(a)"
    assert_pass(PASS, net(body, w=np.zeros(1, np.float64)), ["y = Cast(x) to=10"])
    body = "k = Cast<to = 10>(x)  a = Cast<to = 11>(x)  y = CastLike(a, k)"
    assert_pass(PASS, net(body), ["y = Cast(x) to=10"])


def test_readers() -> None:
    body = "a = Cast<to = 11>(x)  y = Cast<to = 10>(a)  z = Neg(a)"
    assert "reads" in assert_pass(PASS, net(body), None).skipped[0][1]
    body = "a = Cast<to = 11>(x)  y = Cast<to = 10>(a)"
    assert_pass(PASS, net(body, outputs=["a", "y"]), None)
    body = "a = Cast<to = 11>(x)  y = Cast<to = 10>(a)  z = Cast<to = 9>(a)"
    assert_pass(PASS, net(body), ["y = Cast(x) to=10", "z = Cast(x) to=9"])


def test_a_graph_input_cannot_become_an_output() -> None:
    body = "a = Cast<to = 11>(x)  y = Cast<to = 1>(a)"
    assert_pass(PASS, net(body), ["y = Cast(x) to=1"])


def test_shape_reads_past() -> None:
    body = "a = Cast<to = 11>(x)  s = Shape(a)  n = Size(a)"
    assert_pass(PASS, net(body), ["s = Shape(x)", "n = Size(x)"])
    body = "a = Cast<to = 11>(x)  s = Shape<start = 1>(a)  y = Neg(a)"
    assert_pass(PASS, net(body), ["a = Cast(x) to=11", "s = Shape(x) start=1", "y = Neg(a)"])


def test_across_a_subgraph_border() -> None:
    body = (
        "a = Cast<to = 11>(x)  y = If(c) <then_branch = t () => (float16[2,4,8,8] r)"
        " { r = Cast<to = 10>(a) }, else_branch = e () => (float16[2,4,8,8] q)"
        " { f = Cast<to = 11>(x)  q = Cast<to = 10>(f) }>"
    )
    lines = [
        "a = Cast(x) to=11",
        "y = If(c) else_branch={q = Cast(x) to=10} then_branch={r = Cast(a) to=10}",
    ]
    assert_pass(PASS, net(body, outputs={"y": "float16[2,4,8,8]"}), lines)


KINDS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "float16", "float", "double"]  # fmt: skip


def samples(kind: str) -> np.ndarray:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(TYPES[kind.upper()])
    if kind == "bool":
        return np.array([True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        near = np.array([0, 1, 2, 3, 7, 100, 127], dtype)
        ends = np.array([info.min, info.min + 1, info.max, info.max - 1, info.max // 2], dtype)
        return np.concatenate([near, ends, near - 1 if info.min else near + 1])
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal(50) * 100, [0, -0.0, 0.5, 1.5, 2.5]]).astype(dtype)


@pytest.mark.parametrize("start", KINDS)
def test_the_rule_against_the_runtime(start: str) -> None:
    """Every chain called exact is so in ONNX Runtime, at the ends of the types too."""
    types = {k: ir.DataType(TYPES[k.upper()]) for k in KINDS}
    pairs = [
        p for p in itertools.product(KINDS, KINDS) if is_exact(types[start], *(types[k] for k in p))
    ]
    assert pairs
    nodes = "  ".join(
        f"m{i} = Cast<to = {TYPES[b.upper()]}>(x)  two{i} = Cast<to = {TYPES[c.upper()]}>(m{i})"
        f"  one{i} = Cast<to = {TYPES[c.upper()]}>(x)"
        for i, (b, c) in enumerate(pairs)
    )
    model = net(nodes, x=f"{start}[N]")
    with shared_worker().session(model.SerializeToString()) as session:
        found = session.run({"x": samples(start)})
    for i, pair in enumerate(pairs):
        np.testing.assert_array_equal(found[f"one{i}"], found[f"two{i}"], err_msg=f"{start} {pair}")


def test_holds() -> None:
    t = ir.DataType
    assert holds(t.UINT8, t.FLOAT16) and holds(t.INT8, t.BFLOAT16) and holds(t.UINT32, t.INT64)
    assert not holds(t.INT16, t.FLOAT16) and not holds(t.INT8, t.UINT16)
    assert not holds(t.UINT32, t.INT32) and not holds(t.INT64, t.DOUBLE)
    assert not holds(t.FLOAT, t.INT64) and not holds(t.FLOAT16, t.BFLOAT16)
