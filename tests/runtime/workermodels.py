"""Small models for the tests of the worker."""

from __future__ import annotations

import onnx
from onnx import parser


def model(body: str, *, opset: int = 18, ir_version: int = 8) -> bytes:
    """Serialized model from ``g (inputs) => (outputs) {nodes}``."""
    head = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
    return bytes(parser.parse_model(f"{head} {body}").SerializeToString())


def divide_smallest() -> bytes:
    """INT32_MIN / -1: native code dies by SIGFPE on x86."""
    return model(
        "g () => (int32[1] y) "
        "{ a = Constant<value = int32[1] {-2147483648}>() "
        "b = Constant<value = int32[1] {-1}>() y = Div(a, b) }"
    )


def divide() -> bytes:
    """x / y in int32: dies for INT32_MIN / -1 only."""
    return model("g (int32[N] a, int32[N] b) => (int32[N] y) { y = Div(a, b) }")


def endless() -> bytes:
    """A Loop of 2 ** 62 rounds."""
    return model(
        "g () => (float[1] y) "
        "{ n = Constant<value = int64 {4611686018427387904}>() c = Constant<value = bool {1}>() "
        "s = Constant<value = float[1] {0.0}>() "
        "y = Loop<body = b (int64 i, bool k, float[1] v) => (bool k2, float[1] w) "
        "{ k2 = Identity(k) w = Neg(v) }>(n, c, s) }"
    )


def huge(count: int) -> bytes:
    """A result of that many float elements out of nothing."""
    return model(
        f"g () => (float[N] y) {{ n = Constant<value_ints = [{count}]>() y = ConstantOfShape(n) }}"
    )


def chain() -> bytes:
    """x -> Neg a -> Relu b -> MatMul with w, c -> Abs y."""
    proto = onnx.load_model_from_string(
        model(
            "g (float[N, 3] x) => (float[N, 2] y) "
            "{ a = Neg(x) b = Relu(a) c = MatMul(b, w) y = Abs(c) }"
        )
    )
    values = [0.5, -1.0, 2.0, 0.25, -3.0, 1.5]
    proto.graph.initializer.append(onnx.helper.make_tensor("w", 1, [3, 2], values))
    return bytes(proto.SerializeToString())
