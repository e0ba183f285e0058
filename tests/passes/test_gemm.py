"""When a MatMul can be a Gemm, and how a Gemm is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._gemm import graph_of, make_gemm, not_a_gemm, reads_quantized
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net

T = ir.DataType


def product(left: int | None, right: int | None, *types: Any) -> ir.Node:
    values = [
        ir.Value(
            name=name,
            shape=None if rank is None else ir.Shape([2] * rank),
            type=None if dtype is None else ir.TensorType(dtype),
        )
        for name, rank, dtype in zip("ab", (left, right), types, strict=True)
    ]
    return ir.node("MatMul", values)


@pytest.mark.parametrize(
    ("dtype", "since"), [(T.FLOAT, 7), (T.DOUBLE, 7), (T.FLOAT16, 7), (T.BFLOAT16, 13)]
)
def test_types_and_opsets(dtype: ir.DataType, since: int) -> None:
    assert not_a_gemm(product(2, 2, dtype, dtype), since) is None
    assert not_a_gemm(product(2, 2, dtype, None), since) is None
    assert not_a_gemm(product(2, 2, None, dtype), since) is None
    text = not_a_gemm(product(2, 2, dtype, dtype), since - 1)
    assert text == f"there is no Gemm for {dtype} in opset {since - 1}"


@pytest.mark.parametrize("dtype", [T.INT32, T.UINT8, None])
def test_other_types(dtype: ir.DataType | None) -> None:
    assert "no Gemm for" in (not_a_gemm(product(2, 2, dtype, dtype), 22) or "")


@pytest.mark.parametrize("ranks", [(3, 2), (2, 3), (1, 2), (2, 1), (None, 2), (2, None)])
def test_ranks(ranks: tuple[int | None, int | None]) -> None:
    assert not_a_gemm(product(*ranks, T.FLOAT, T.FLOAT), 17) == ""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_quantized_factors(place: int) -> None:
    inputs = ["x", "b", "c"]
    inputs[place] = "q"
    body = f"q = DequantizeLinear(i, s)  y = Gemm({', '.join(inputs)})"
    types = {n: "float[2,2]" for n in "xbc" if n in inputs}
    model = from_proto(net(body, i="uint8[2,2]", s=np.float32(1), **types))
    gemm = list(model.graph)[1]
    assert reads_quantized(gemm) == (place < 2)
    for value in gemm.inputs:
        assert value is not None
        value.shape, value.type = ir.Shape([2, 2]), ir.TensorType(T.FLOAT)
    assert ("integer kernels" in (not_a_gemm(gemm, 17) or "")) == (place < 2)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}, {}),
        ({"alpha": 2.0, "transB": 1}, {"alpha": 2.0, "transB": 1}),
        ({"alpha": 0.0, "beta": 0.0, "transA": 1}, {"alpha": 0.0, "beta": 0.0, "transA": 1}),
    ],
)
def test_defaults_are_not_written(given: dict[str, Any], kept: dict[str, Any]) -> None:
    node, _ = gemm_of(11, "ab", given)
    assert {name: attribute.value for name, attribute in node.attributes.items()} == kept


@pytest.mark.parametrize(
    ("opset", "names", "inputs"),
    [(10, "abc", 3), (10, "ab", 3), (11, "ab", 2), (11, "abc", 3)],
)
def test_c_may_be_left_out_since_opset_11(opset: int, names: str, inputs: int) -> None:
    node, ctx = gemm_of(opset, names, {})
    assert len(node.inputs) == inputs
    assert node.op_type == "Gemm" and ctx.opset == opset
    if inputs > len(names):
        zero = edit.constant_array(node.inputs[2])
        assert zero is not None and (zero.dtype.name, zero.tolist()) == ("float16", [0.0])


def gemm_of(opset: int, names: str, attributes: dict[str, Any]) -> tuple[ir.Node, PassContext]:
    types = dict.fromkeys(names, "float16[2,2]")
    body = "t = MatMul(a, b)" + ("  y = Add(t, c)" if "c" in names else "")
    model = from_proto(net(body, opset=opset, **types))
    first = next(iter(model.graph))
    assert graph_of(first) is model.graph
    ctx = PassContext(model, worker=shared_worker())
    values = [*model.graph.inputs, None][:3]
    a, b, c = values[0], values[1], values[2]
    assert a is not None and b is not None
    return make_gemm(a, b, c, attributes, model.graph, ctx), ctx
