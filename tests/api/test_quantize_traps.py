"""The traps of other quantizers, each with a test that falls into none of them.

Numbers are those of the design note (section 0, and the list at the end of section 6):

1.  signed activations, dedicated pairs   here
2.  entropy that is minmax                analysis/quantization/test_ranges.py
3.  memory that grows with the samples    test_memory.py
4.  samples that are thrown away          passes/test_quantize_static.py (every sample counts)
5.  excluded layers that are quantized    here; passes/test_quantize_static.py (without the guard)
6.  everything of a transformer quantized here
7.  one bad layer                         test_quantizing.py (kept float to reach an SQNR)
8.  unsigned weights, 16 bits             here
9.  int8 that is slower                   test_quantizing.py (strict; hardly faster)
10. files beside the model                test_quantizing.py (parallel runs)
11. scales per channel at an old opset    here
12. feeds of several shapes, Clip to 6.5  passes/test_quantize_static.py
"""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.quantization.targets import SHIPPED
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.pipeline import PassContext, targets
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import get_recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import model_bytes, shared_worker
from onnxslim.verify.compare import Stats
from tests.nets import net

CONV = "Conv<pads = [1, 1, 1, 1]>"
WIDE: dict[str, Any] = {"x": "float[N,32,16,16]", "b": (32,)} | {
    n: (32, 32, 3, 3) for n in ("w", "w2", "w3", "w4")
}
STATIC: Any = get_pass("quantize-static")
x64 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="what ONNX Runtime does on x64"
)


def feeds(model: onnx.ModelProto, sizes: dict[str, int] | None = None, seed: int = 0) -> list[Any]:
    """Four seeded batches; sizes left open are 4 unless given."""
    rng = np.random.default_rng(seed)
    shapes = {
        v.name: [
            d.dim_value or (sizes or {}).get(d.dim_param, 4) for d in v.type.tensor_type.shape.dim
        ]
        for v in model.graph.input
    }
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(4)
    ]


def quantized(model: onnx.ModelProto, **options: Any) -> ir.Model:
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    ctx = PassContext(loaded, worker=shared_worker(), calibration=feeds(model))
    STATIC(**{"include": ("op:*",), **options}).run(loaded, ctx)
    return loaded


def run_ops(model: ir.Model | bytes) -> Counter[str]:
    """Operators of the graph that ONNX Runtime saves as the one it runs."""
    data = model if isinstance(model, bytes) else model_bytes(model)
    return Counter(n["op"].split(":")[-1] for n in shared_worker().optimized(data))


def sqnr(one: bytes, two: bytes, data: list[Any], levels: Any = ("disable", "all")) -> float:
    stats = Stats()
    with (
        shared_worker().session(one, optimization=levels[0]) as a,
        shared_worker().session(two, optimization=levels[1]) as b,
    ):
        for feed in data:
            left, right = a.run(feed), b.run(feed)
            for name in left:
                stats.add(left[name], right[name])
    return stats.sqnr_db


# ---------------------------------------------------------------- 1

RESIDUAL = f"a = Relu(x)  h = {CONV}(a, w, b)  s = Add(h, a)  r = Relu(s)  y = {CONV}(r, w2)"


@x64
def test_signed_activations_leave_shared_tensors_float_where_unsigned_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = net(RESIDUAL, **WIDE)
    signed = replace(SHIPPED[0], name="signed", activation="int8")
    monkeypatch.setattr(targets, "SHIPPED", (*SHIPPED, signed))
    ops = run_ops(quantized(model, target="signed"))
    assert ops["Conv"] + ops["FusedConv"] + ops["Add"] > 0  # fails when ONNX Runtime has learnt it
    ops = run_ops(quantized(model))
    assert ops["QLinearConv"] == 2 and not ops["Conv"] + ops["FusedConv"] + ops["Add"]


@x64
def test_a_pair_for_every_reader_does_not_make_up_for_signed_activations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime merges equal pairs again before it looks at them."""
    signed = replace(SHIPPED[0], name="signed", activation="int8")
    monkeypatch.setattr(targets, "SHIPPED", (*SHIPPED, signed))
    model = quantized(net(RESIDUAL, **WIDE), target="signed")
    plain, added = run_ops(model), 0
    for node in [n for n in model.graph if n.op_type == "DequantizeLinear"]:
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        if before is None:
            continue
        for use in list(node.outputs[0].uses())[1:]:
            q = ir.node("QuantizeLinear", list(before.inputs))
            d = ir.node("DequantizeLinear", [q.outputs[0], *node.inputs[1:]])
            for new in (q, d):
                new.outputs[0].name = f"{use.node.outputs[0].name}_{new.op_type}"
            model.graph.insert_after(node, [q, d])
            use.node.replace_input_with(use.idx, d.outputs[0])
            added += 1
    assert added and run_ops(model) == plain


# ---------------------------------------------------------------- 5

KEPT = {
    "two in a row": (
        f"h = {CONV}(x, w)  k = {CONV}(h, w2)  l = {CONV}(k, w3)  y = {CONV}(l, w4)",
        "kl",
    ),
    "with a bias and a Relu": (
        f"h = {CONV}(x, w)  k = {CONV}(h, w2, b)  r = Relu(k)  y = {CONV}(r, w3)",
        "k",
    ),
    "with a Clip": (
        f"h = {CONV}(x, w)  k = {CONV}(h, w2)  r = Clip(k, lo, hi)  y = {CONV}(r, w3)",
        "k",
    ),
    "beside a shortcut": (
        f"h = {CONV}(x, w)  k = {CONV}(h, w2)  s = Add(k, h)  y = {CONV}(s, w3)",
        "k",
    ),
    "behind a Concat": (
        f"h = {CONV}(x, w)  c = Concat<axis = 1>(h, h)  k = {CONV}(c, v)  y = {CONV}(k, w3)",
        "k",
    ),
    "behind a Transpose": (
        f"h = {CONV}(x, w)  t = Transpose<perm = [0, 1, 3, 2]>(h)  k = {CONV}(t, w2)"
        f"  y = {CONV}(k, w3)",
        "k",
    ),
    "a Gemm": ("h = Gemm(x, m)  r = Relu(h)  k = Gemm(r, m2)  q = Relu(k)  y = Gemm(q, m3)", "k"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_excluded_layers_are_float_in_the_graph_that_runs(case: str) -> None:
    """ONNX Runtime from 1.21 quantizes what it finds between integers if nothing keeps it off."""
    body, names = KEPT[case]
    more: dict[str, Any] = {n: (64, 64) for n in ("m", "m2", "m3")} | {"v": (32, 64, 3, 3)}
    if case == "a Gemm":
        more["x"] = "float[N,64]"
    model = net(body, **{**WIDE, **more, "lo": np.float32(0), "hi": np.float32(6)})
    after = quantized(model, exclude=tuple(names))
    ops = run_ops(after)
    floats = sum(ops[op] for op in ("Conv", "FusedConv", "Gemm", "FusedGemm"))
    whole = sum(n.op_type in ("Conv", "Gemm") for n in model.graph.node)
    assert floats == len(names), ops
    assert ops["QLinearConv"] + ops["QGemm"] == whole - len(names), ops
    data = model_bytes(after)  # what runs is what was written: no weight was rounded again
    assert sqnr(data, data, feeds(model, seed=7)) > 35


# ---------------------------------------------------------------- 6

BLOCK = (
    "n = LayerNormalization<axis = -1>(x, g, bn)"
    "  q = MatMul(n, wq)  k = MatMul(n, wk)  v = MatMul(n, wv)  t = Transpose<perm = [0, 2, 1]>(k)"
    "  s = MatMul(q, t)  f = Mul(s, root)  p = Softmax<axis = -1>(f)  a = MatMul(p, v)"
    "  o = MatMul(a, wo)  r = Add(o, x)  m = LayerNormalization<axis = -1>(r, g, bn)"
    "  u = MatMul(m, w1)  i = Add(u, b1)  j = Relu(i)  d = MatMul(j, w2)  y = Add(d, r)"
)
SQUARE: dict[str, Any] = {
    "x": "float[N,S,64]", "w1": (64, 128), "b1": (128,), "w2": (128, 64), "g": (64,), "bn": (64,),
    "root": np.float32(0.125), **{n: (64, 64) for n in ("wq", "wk", "wv", "wo")},
}  # fmt: skip


def test_only_products_with_weights_of_a_transformer_are_integers() -> None:
    model = net(BLOCK, **SQUARE)
    after = quantized(model)
    ops = run_ops(after)
    assert ops["MatMulIntegerToFloat"] == 6
    assert ops["MatMul"] + ops["FusedMatMul"] + ops["TransposeMatMul"] == 2  # the attention
    assert not [op for op in ops if op.startswith("QLinear")], ops
    assert sqnr(model.SerializeToString(), model_bytes(after), feeds(model, seed=7)) > 20


# ---------------------------------------------------------------- 8


@pytest.mark.parametrize("target", [t.name for t in SHIPPED])
def test_weights_are_signed_bytes_for_every_target(target: str) -> None:
    after = quantized(net(RESIDUAL, **WIDE), target=target)
    kinds = {v.dtype for v in after.graph.initializers.values() if v.name and "_quant" in v.name}
    assert kinds <= {ir.DataType.INT8, ir.DataType.INT32} and ir.DataType.INT8 in kinds
    made = {n.outputs[0].dtype for n in after.graph if n.op_type == "QuantizeLinear"}
    assert made <= {ir.DataType.INT8, ir.DataType.UINT8}


# ---------------------------------------------------------------- 11


@pytest.mark.parametrize("opset", [9, 10, 11, 12])
@pytest.mark.parametrize("x", ["float[?,32,?,?]", "float[N,32,H,W]"])
def test_an_old_model_with_open_sizes_becomes_a_valid_one(opset: int, x: str) -> None:
    """Scales per channel came with opset 13, and sizes without a name break other tools."""
    body = f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  g = GlobalAveragePool(k)"
    model = net(f"{body}  y = Flatten(g)", opset=opset, **{**WIDE, "x": x})
    after = quantized(model)
    shared_worker().check(model_bytes(after), full=True)
    assert run_ops(after)["QLinearConv"] == 2 and after.graph.opset_imports[""] == 13
    data = [
        {"x": f["x"].repeat(2, axis=2)} for f in feeds(model, {"H": 8, "W": 8}, seed=7)
    ]  # another size than those seen
    assert sqnr(model.SerializeToString(), model_bytes(after), data) > 25


# ---------------------------------------------------------------- recipes


def test_a_recipe_file_chooses_layers_by_name_glob_and_type(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        '[[steps]]\nuse = "quantize-static"\ninclude = ["op:Conv", "h*"]\nexclude = ["k"]\n'
    )
    body = (
        f"head = Gemm(z, m)  h = {CONV}(x, w)  k = {CONV}(h, w2)  y = {CONV}(k, w3)  o = Gemm(z, m)"
    )
    model = net(body, z="float[N,64]", m=(64, 64), **WIDE)
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    ctx = PassContext(loaded, worker=shared_worker(), calibration=feeds(model))
    Manager(get_recipe(path)).run(loaded, ctx)
    integers = {n.outputs[0].name for n in loaded.graph if n.op_type in ("Conv", "Gemm")
                and n.inputs[1].producer() is not None}  # type: ignore[union-attr]  # fmt: skip
    kept = {text for _, text in ctx.skipped}
    assert kept == {"excluded"} and len(integers) == 3
    assert not {"k", "o"} & integers
