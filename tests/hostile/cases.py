"""Hostile and odd models: what must be refused, what must survive, and what may be either."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.nets import net

Expect = Literal["error", "equal", "either"]


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        name: For the test's id.
        expect: ``error``: one line, exit code 2, no output. ``equal``: the same outputs and
            interface. ``either``: one of the two, never a crash, hang or another result.
        build: The model, or the bytes of its file.
        runs: Whether ONNX Runtime knows all of its operators.
        files: Other files of its folder.
        keeps: Operators that must still be there.
    """

    name: str
    expect: Expect
    build: Callable[[], onnx.ModelProto | bytes]
    runs: bool = True
    files: Mapping[str, bytes] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()


CASES: list[Case] = []


def add(
    name: str, expect: Expect, build: Callable[[], onnx.ModelProto | bytes], **more: Any
) -> None:
    CASES.append(Case(name, expect, build, **more))


def raw(
    dims: Iterable[int], data: bytes, dtype: int = TensorProto.FLOAT, name: str = "w"
) -> TensorProto:
    tensor = TensorProto(name=name, data_type=dtype, raw_data=data)
    tensor.dims.extend(dims)
    return tensor


def external(location: str, dims: Iterable[int] = (16,), **keys: object) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT)
    tensor.dims.extend(dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def adding(tensor: TensorProto, size: int = 16) -> onnx.ModelProto:
    """y = x + w, with whatever ``w`` is."""
    model = net("y = Add(x, w)", x=f"float[{size}]", w=np.zeros(size, np.float32))
    model.graph.initializer[0].CopyFrom(tensor)
    model.graph.initializer[0].name = "w"
    return model


def edited(model: onnx.ModelProto, edit: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    edit(model)
    return model


def text(body: str, outputs: str = "float[4] y", inputs: str = "float[4] x", **more: Any) -> Any:
    """A model whose parts need not fit together."""
    imports = more.pop("imports", '"" : 17')
    initializers = "<" + more["weights"] + ">" if "weights" in more else ""
    return onnx.parser.parse_model(
        f"<ir_version: 8, opset_import: [{imports}]>\n"
        f"g ({inputs}) => ({outputs}) {initializers} {{ {body} }}\n{more.get('functions', '')}"
    )


GOOD = net("h = Conv(x, w)  y = Relu(h)").SerializeToString()

# ------------------------------------------------------------------ files

add("empty-file", "error", lambda: b"")
add("zeros", "error", lambda: bytes(4096))
add("truncated", "error", lambda: GOOD[:-1])
add("garbage-behind", "either", lambda: GOOD + b"\xff\xff\xff\xffgarbage")
add("length-beyond-the-file", "error", lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x07abc")
add("graph-as-a-number", "error", lambda: b"\x08\x08\x38\x05\x42\x04\x0a\x00\x10\x11")

# ------------------------------------------------------------------ external data

SIXTEEN = {"w.bin": np.arange(16, dtype=np.float32).tobytes()}
add("external", "equal", lambda: adding(external("w.bin", offset=0, length=64)), files=SIXTEEN)
for label, tensor in {
    "parent": external("../secret.bin", offset=0, length=64),
    "parent-through-a-folder": external("sub/../../secret.bin", offset=0, length=64),
    "absolute": external("/etc/hostname"),
    "url": external("file:///etc/hostname"),
    "backslash": external("..\\secret.bin"),
    "folder": external("."),
    "missing": external("nope.bin"),
    "memory-address": external("*/_ORT_MEM_ADDR_/*", offset=0x41414141, length=64),
    "offset-past-the-end": external("w.bin", offset=4096, length=64),
    "negative-offset": external("w.bin", offset=-4, length=64),
    "offset-no-number": external("w.bin", offset="abc", length=64),
    "huge-length": external("w.bin", offset=0, length=2**63 - 1),
    "short-length": external("w.bin", offset=0, length=32),
    "huge-dims": external("w.bin", dims=(1 << 20, 1 << 20), offset=0, length=64),
}.items():
    add(f"external-{label}", "error", lambda t=tensor: adding(t), files=SIXTEEN)  # type: ignore[misc]

# ------------------------------------------------------------------ tensors

for label, tensor in {
    "too-short": raw([16], bytes(40)),
    "too-long": raw([16], bytes(640)),
    "claims-2-gib": raw([1 << 29], bytes(4)),
    "negative-dims": raw([-4, -4], bytes(64)),
    "unknown-type": raw([16], bytes(64), 999),
}.items():
    add(f"tensor-{label}", "error", lambda t=tensor: adding(t))  # type: ignore[misc]
add("tensor-of-rank-3000", "either", lambda: adding(raw([1] * 3000, bytes(4)), 1))
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38] + [1.0] * 10, np.float32)
add("tensor-nan-inf", "equal", lambda: adding(numpy_helper.from_array(SPECIAL, "w")))
add(
    "tensor-bfloat16",
    "equal",
    lambda: net(
        "f = Cast<to = 1>(w)  y = Add(x, f)", x="float[4]",
        w=raw([4], struct.pack("<4H", 0x3F80, 0x7F80, 1, 0xC040), TensorProto.BFLOAT16),
    ),
)  # fmt: skip
add(
    "tensor-int4-short",
    "error",
    lambda: net(
        "f = DequantizeLinear(w, k)  y = Add(x, f)", x="float[3]", opset=21, k=0.5,
        w=raw([3], b"\x01", TensorProto.INT4), outputs={"y": "float[3]"},
    ),
)  # fmt: skip
add(
    "two-initializers-of-one-name",
    "error",
    lambda: edited(
        adding(raw([16], bytes(64))),
        lambda m: m.graph.initializer.append(raw([16], b"\1" * 64)),
    ),
)

# ------------------------------------------------------------------ graphs

add("no-graph", "error", lambda: edited(text("y = Relu(x)"), lambda m: m.ClearField("graph")))
add(
    "no-opset", "error", lambda: edited(text("y = Relu(x)"), lambda m: m.ClearField("opset_import"))
)
for label, body in {
    "one-name-written-twice": "a = Relu(x)  a = Neg(x)  y = Neg(a)",
    "reads-an-unknown-name": "y = Add(x, nope)",
    "output-nobody-writes": "z = Relu(x)",
    "writes-a-graph-input": "x = Relu(x)  y = Neg(x)",
    "unknown-operator": "y = Frobnicate(x)",
    "domain-not-imported": "y = nope.dom.Foo(x)",
    "too-many-inputs": "y = Relu(x, x, x)",
}.items():
    add(label, "error", lambda b=body: text(b))  # type: ignore[misc]
add("opset-999", "error", lambda: text("y = Relu(x)", imports='"" : 999'))
add("opset-alias", "equal", lambda: edited(text("y = Relu(x)"), lambda m: _alias(m)))
add("type-mismatch", "error", lambda: text("y = Add(x, k)", weights="int64[1] k = {1}"))
add("shape-mismatch", "error", lambda: text("y = Add(x, k)", weights="float[3] k = {1, 2, 3}"))
add("unsorted", "either", lambda: text("y = Neg(a)  a = Relu(x)"))
add(
    "lying-value-info",
    "either",
    lambda: edited(
        text("a = Relu(x)  s = Shape(a)  y = Cast<to = 1>(s)", "float[1] y"),
        lambda m: m.graph.value_info.append(helper.make_tensor_value_info("a", 1, [77])),
    ),
)
add(
    "lying-about-a-dynamic-size",
    "either",
    lambda: edited(
        text("a = Relu(x)  s = Shape(a)  y = Cast<to = 1>(s)", "float[1] y", "float[N] x"),
        lambda m: m.graph.value_info.append(helper.make_tensor_value_info("a", 1, [4])),
    ),
)
add(
    "custom-operator",
    "equal",
    lambda: text(
        "a = Relu(x)  i = Identity(a)  b = my.dom.MyOp(i)  y = Neg(b)",
        imports='"" : 17, "my.dom" : 1',
    ),
    runs=False,
    keeps=("MyOp",),
)
add(
    "concat-of-2000",
    "equal",
    lambda: text(f"y = Concat<axis=0>({', '.join(['x'] * 2000)})", "float[8000] y"),
)
add(
    "a-name-of-markup",
    "equal",
    lambda: _named(["<script>alert(1)</script>", "a\nb\x1b[2J", "{{7*7}}"]),
)
add(
    "names-of-all-kinds",
    "equal",
    lambda: _named(["ünï", "名前", "\u202egnp.exe", "🙂", '"q"', "\\", "%s", " "]),
)
add("diamonds", "equal", lambda: text(_diamonds(60)))
add("an-output-is-an-input", "equal", lambda: text("y = Relu(x)", "float[4] y, float[4] x"))
add("an-unread-input", "equal", lambda: text("y = Relu(x)", inputs="float[4] x, float[3] u"))
add("identity-all-the-way", "equal", lambda: text("y = Identity(x)"))
add("nested-ifs", "either", lambda: _nested(28))


def _alias(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"


def _named(names: list[str]) -> onnx.ModelProto:
    nodes, before = [], "x"
    for index, name in enumerate(names):
        nodes.append(helper.make_node("Neg" if index % 2 else "Abs", [before], [name], name=name))
        before = name
    model = text("y = Neg(x)")
    model.graph.node[0].input[0] = before
    for position, node in enumerate(nodes):
        model.graph.node.insert(position, node)
    return model  # type: ignore[no-any-return]


def _diamonds(count: int) -> str:
    lines = ["d0 = Abs(x)"]
    for k in range(count):
        lines.append(f"l{k} = Relu(d{k})  r{k} = Neg(d{k})  d{k + 1} = Max(l{k}, r{k})")
    return "  ".join([*lines, f"y = Relu(d{count})"])


def _nested(depth: int) -> onnx.ModelProto:
    graph = text("o0 = Relu(x)", "float[4] o0", "").graph
    for k in range(1, depth + 1):
        other = text(f"e{k} = Neg(x)", f"float[4] e{k}", "").graph
        node = helper.make_node("If", ["c"], [f"o{k}"], then_branch=graph, else_branch=other)
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"o{k}", 1, [4])])
    model = text("y = Relu(x)", f"float[4] o{depth}", "float[4] x, bool c")
    del model.graph.node[:]
    model.graph.node.extend(graph.node)
    return model  # type: ignore[no-any-return]


# ------------------------------------------------------------------ functions

LOCAL = '"" : 17, "loc" : 1'


def function(name: str, body: str) -> str:
    return f'<domain: "loc", opset_import: [{LOCAL}]> {name} (a) => (r) {{ {body} }}\n'


def laughs(depth: int, width: int) -> onnx.ModelProto:
    functions = function("F0", "r = Neg(a)")
    for k in range(1, depth + 1):
        calls = [f"t{j + 1} = loc.F{k - 1}({f't{j}' if j else 'a'})" for j in range(width - 1)]
        last = f"r = loc.F{k - 1}({f't{width - 1}' if width > 1 else 'a'})"
        functions += function(f"F{k}", "  ".join([*calls, last]))
    return text(f"y = loc.F{depth}(x)", imports=LOCAL, functions=functions)  # type: ignore[no-any-return]


CYCLE = function("A", "r = loc.B(a)") + function("B", "r = loc.A(a)")
add(
    "functions-call-each-other",
    "error",
    lambda: text("y = loc.A(x)", imports=LOCAL, functions=CYCLE),
)
add("ten-billion-nodes", "error", lambda: laughs(10, 10))
add("three-hundred-functions-deep", "either", lambda: laughs(300, 1))
add("functions", "equal", lambda: laughs(2, 3))

# ------------------------------------------------------------------ constants that explode

BIG = "r = ReduceMax<keepdims = 0>(big)  y = Add(x, r)"
for label, body in {
    "constant-of-shape": "s = Constant<value_ints = [32768, 16384]>() big = ConstantOfShape(s)",
    "constant-of-shape-that-wraps":
        "s = Constant<value_ints = [4294967296, 4294967296]>() big = ConstantOfShape(s)",
    "constant-of-negative-shape": "s = Constant<value_ints = [-1]>() big = ConstantOfShape(s)",
    "tile": "k = Constant<value_floats = [1.0]>() s = Constant<value_ints = [536870912]>() "
            "big = Tile(k, s)",
    "expand": "k = Constant<value_float = 1.0>() s = Constant<value_ints = [32768, 16384]>() "
              "big = Expand(k, s)",
    "range": "a = Constant<value_float = 0.0>() b = Constant<value_float = 500000000.0>() "
             "d = Constant<value_float = 1.0>() big = Range(a, b, d)",
    "doubling": "d0 = Constant<value_floats = [1.0]>() " + " ".join(
        f"d{k + 1} = Concat<axis = 0>(d{k}, d{k})" for k in range(30)) + " big = Identity(d30)",
}.items():  # fmt: skip
    add(f"bomb-{label}", "either", lambda b=body: text(f"{b} {BIG}"))  # type: ignore[misc]
LOOP = (
    "m = Constant<value_int = 4611686018427387904>() "
    "k = Constant<value_floats = [0.0, 0.0, 0.0, 0.0]>() "
    "r = Loop (m, t, k) <body = b (int64 i, bool ci, float[4] v) => (bool co, float[4] vo) "
    "{ co = Identity(ci) vo = Add(v, v) }> y = Add(x, r)"
)
add("a-loop-without-end", "either", lambda: text(LOOP, weights="bool t = {1}"))

# ------------------------------------------------------------------ values that crash kernels

INT = "f = Cast<to = 1>(r)  y = Add(x, f)"
for label, body in {
    "divides-by-zero": "a = Constant<value_int=1>() b = Constant<value_int=0>() r = Div(a, b)",
    "modulo-zero": "a = Constant<value_int=1>() b = Constant<value_int=0>() r = Mod(a, b)",
    "smallest-by-minus-one": "a = Constant<value_ints=[-9223372036854775808]>() "
                             "b = Constant<value_ints=[-1]>() r = Mod(a, b)",
}.items():  # fmt: skip
    add(label, "either", lambda b=body: text(f"{b} {INT}"))  # type: ignore[misc]
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv-without-groups": ("y = Conv<group = 0>(x, w)", {}),
    "conv-with-stride-0": ("y = Conv<strides = [0, 0]>(x, w)", {}),
    "conv-with-another-kernel": ("y = Conv<kernel_shape = [5, 5]>(x, w)", {}),
    "conv-with-huge-pads": ("y = Conv<pads = [1099511627776, 0, 0, 0]>(x, w)", {}),
    "conv-with-one-dilation": ("y = Conv<dilations = [1]>(x, w)", {}),
    "pool-with-stride-0": ("y = MaxPool<kernel_shape = [2, 2], strides = [0, 0]>(x)", {}),
    "pool-without-a-kernel": ("y = AveragePool<kernel_shape = [0, 0]>(x)", {}),
    "blocks-of-size-0": ("y = DepthToSpace<blocksize = 0>(x)", {}),
    "transpose-twice-the-same-axis": ("y = Transpose<perm = [0, 0, 1, 1]>(x)", {}),
    "transpose-of-axis-7": ("y = Transpose<perm = [0, 7, 1, 2]>(x)", {}),
    "concat-on-axis-99": ("y = Concat<axis = 99>(x, x)", {}),
    "slice-with-step-0": ("y = Slice(x, s, e, s, s)", {"s": [0], "e": [2]}),
    "reshape-to-two-unknowns": ("y = Reshape(x, s)", {"s": [-1, -1]}),
    "reshape-to-another-size": ("y = Reshape(x, s)", {"s": [3]}),
    "batchnorm-too-short": (
        "h = Conv(x, w)  y = BatchNormalization(h, s, shift, mean, var)",
        {"s": (2,)},
    ),
    "gather-beyond-the-end": ("g = Gather(k, i)  y = Add(x, g)", {"k": (3,), "i": [1000000]}),
}


def kernel(name: str) -> Callable[[], onnx.ModelProto]:
    body, given = KERNELS[name]
    return lambda: net(body, outputs={"y": "float[?,?,?,?]"}, **given)


for label in KERNELS:
    add(label, "error", kernel(label))
