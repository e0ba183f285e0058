"""What a comparison says: entries, hunks and their names, text, Markdown."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxslim.graph.edit import SOURCE, SOURCES
from onnxslim.graph.proto import from_proto
from onnxslim.report.diff.delta import Delta, difference
from onnxslim.report.diff.weights import sliced

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,4,8,8] x) => (float[1,4,8,8] y)'
CONV = "h = Conv<kernel_shape = [1, 1]>(x, w)  y = Relu(h)"


def model(
    body: str, opset: int = 17, head: str = HEAD, /, **weights: np.ndarray[Any, Any]
) -> onnx.ModelProto:
    found = onnx.parser.parse_model(head.replace("{opset}", str(opset)) + " {" + body + "}")
    for name, array in weights.items():
        found.graph.initializer.append(numpy_helper.from_array(array, name))
    return found


def compare(a: onnx.ModelProto, b: onnx.ModelProto, **options: Any) -> Delta:
    return difference(from_proto(a), from_proto(b), **options)


def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


W = draw(4, 4, 1, 1)


def titles(delta: Delta) -> list[str]:
    return sorted(hunk.title for hunk in delta.hunks)


def test_a_changed_weight_is_told_with_numbers() -> None:
    other = W.copy()
    other[1, 2] += 0.5
    delta = compare(model(CONV, w=W), model(CONV, w=other))
    (entry,) = delta.initializers["changed"]
    assert entry["differing"] == 1 and entry["elements"] == 16
    assert entry["max_abs"] == pytest.approx(0.5, rel=1e-4)
    assert entry["rel_l2"] == pytest.approx(0.5 / np.linalg.norm(W), rel=1e-4)
    assert entry["uses"] == [{"node": "Conv#0", "op": "Conv", "input": 1, "role": "weight"}]
    assert delta.changes == 1 and not delta.identical
    assert "1 of 16 elements, max |d| 0.5" in delta.text()


def test_a_weight_read_twice_is_one_change() -> None:
    body = "h = Conv(x, w)  y = Conv(h, w)"
    delta = compare(model(body, w=W), model(body, w=W + 1))
    assert delta.changes == 1
    assert len(delta.initializers["changed"][0]["uses"]) == 2


def test_pruned_filters_are_a_slice() -> None:
    body = "h = Conv(x, w)  y = Conv(h, v)"
    w, v = draw(8, 4, 1, 1), draw(4, 8, 1, 1, seed=1)
    kept = [0, 3, 5]
    delta = compare(model(body, w=w, v=v), model(body, w=w[kept], v=v[:, kept]))
    changed = delta.initializers["changed"]
    assert [e["sliced"] for e in changed] == [{"0": kept}, {"1": kept}]
    assert titles(delta) == ["channels pruned", "channels pruned"]
    assert "8 -> 3 filters" in delta.text() and "8 -> 3 input channels" in delta.text()


def test_slices_along_several_axes_and_none() -> None:
    whole = draw(6, 5, 3)
    assert sliced(whole, whole[[1, 4]][:, [0, 2, 3]]) == {0: [1, 4], 1: [0, 2, 3]}
    assert sliced(whole, whole[[1, 4]][:, [0, 2, 3]] + 1) is None
    assert sliced(np.zeros((4, 3), np.float32), np.zeros((2, 3), np.float32)) is None
    assert sliced(whole, draw(7, 5, 3)) is None


BN = {k: np.abs(draw(4, seed=i)) + 0.1 for i, k in enumerate(("s", "b", "m", "v"))}


def test_a_folded_batch_normalization_has_its_name() -> None:
    body = "h = Conv(x, w)  i = BatchNormalization(h, s, b, m, v)  y = Relu(i)"
    before = model(body, w=W, **BN)
    after = model("h = Conv(x, w, b)  y = Relu(h)", w=W * 2, b=BN["b"])
    delta = compare(before, after)
    assert titles(delta) == ["BatchNormalization folded into Conv"]
    assert [h.kind for h in delta.hunks] == ["fold"]
    assert len(delta.nodes["removed"]) == 1 and not delta.nodes["added"]
    back = compare(after, before)
    assert [e["op"] for e in back.nodes["added"]] == ["BatchNormalization"]


def test_channels_pruned_are_told_whatever_else_happened() -> None:
    body = "h = Conv(x, w)  i = BatchNormalization(h, s, b, m, v)  y = Conv(i, u)"
    before = model(body, w=W, u=draw(4, 4, 1, 1, seed=2), **BN)
    new = {"w": draw(3, 4, 1, 1, seed=3), "b": draw(3), "u": draw(4, 3, 1, 1, seed=4)}
    delta = compare(before, model("h = Conv(x, w, b)  y = Conv(h, u)", **new))
    assert titles(delta) == ["BatchNormalization folded into Conv, channels pruned",
                             "channels pruned"]  # fmt: skip
    assert "4 -> 3 filters" in delta.text() and "4 -> 3 input channels" in delta.text()
    body = "y = Gemm<transB = 1>(x, w, b)"
    one, two = ((model(body, w=draw(10, n, seed=n), b=draw(10, seed=n))) for n in (64, 48))
    assert titles(compare(one, two)) == ["channels pruned"]


def test_factors_before_and_behind_one_layer_are_one_hunk() -> None:
    one = "g = BatchNormalization(x, s, b, m, v)  h = Conv(g, w)"
    before = model(f"{one}  y = BatchNormalization(h, s, b, m, v)", w=W, **BN)
    after = model("y = Conv(x, w, b)", w=W * 2, b=BN["b"])
    assert titles(compare(before, after)) == ["2 BatchNormalization folded into Conv"]


def test_a_quantized_layer_is_one_hunk() -> None:
    body = "h = Conv(x, w)  i = BatchNormalization(h, s, b, m, v)  y = Relu(i)"
    quantized = (
        "k = Constant<value_float = 0.1>()  f = DequantizeLinear(w, k)  g = DequantizeLinear(b, k)"
        " h = Conv(x, f, g)  y = Relu(h)"
    )
    small = {"w": np.ones((3, 4, 1, 1), np.int8), "b": np.arange(3, dtype=np.int32)}
    for weights, title, line in (
        ({"w": np.ones(W.shape, np.int8), "b": np.arange(4, dtype=np.int32)}, "",
         "weight float32[4x4x1x1] -> int8; bias added: int32[4]"),
        (small, ", channels pruned", "-> int8[3x4x1x1] (4 -> 3 filters); bias added: int32[3]"),
    ):  # fmt: skip
        delta = compare(model(body, w=W, **BN), model(quantized, **weights))
        folded = "weights quantized to int8, BatchNormalization folded"
        assert titles(delta) == [folded + title], delta.text()
        assert line in delta.text()
        assert len(delta.nodes["added"]) == 2 and len(delta.hunks[0].inputs) == 2


def test_sizes_computed_ahead_take_no_part_in_what_happens_to_data() -> None:
    before = model(
        "a = Add(x, p)  c = Add(a, q)  t = Shape(c)  d = Gather(t, i)  e = Unsqueeze(d, j)"
        " f = Concat<axis = 0>(e, r)  y = Reshape(c, f)",
        p=draw(4, 8, 8), q=draw(4, 8, 8, seed=1), i=np.array(0), j=np.array([0]),
        r=np.array([4, 8, 8]),
    )  # fmt: skip
    after = model("c = Add(x, p)  y = Reshape(c, f)", p=draw(4, 8, 8, seed=2),
                  f=np.array([1, 4, 8, 8]))  # fmt: skip
    assert titles(compare(before, after)) == [
        "Add folded into Add", "shapes computed ahead: Shape, Gather, Unsqueeze, Concat",
    ]  # fmt: skip


def test_what_a_pass_merged_is_told_where_it_went() -> None:
    before = from_proto(model("h = Mul(x, k)  i = Relu(h)  y = Conv(i, w)", w=W, k=draw(4, 1, 1)))
    after = from_proto(model("i = Relu(x)  y = Conv(i, w)", w=W * 2))
    assert titles(difference(before, after)) == ["Mul removed", "weights differ"]
    after.meta[SOURCES] = before.meta[SOURCES]
    for node, places in zip(after.graph, ((1,), (0, 2)), strict=True):
        node.meta[SOURCE] = places
    delta = difference(before, after)
    assert titles(delta) == ["Mul folded into Conv"] and delta.graph()["nodes"][0]["hunk"] == 0


@pytest.mark.parametrize("quiet", ["Identity(x)", "Cast<to = 1>(x)"])
def test_what_does_nothing_explains_nothing(quiet: str) -> None:
    delta = compare(model(f"h = {quiet}  y = Elu(h)"), model("y = Elu<alpha = 0.5>(x)"))
    removed = "Cast removed" if "Cast" in quiet else "Identity removed"
    assert titles(delta) == sorted([removed, "Elu: alpha changed"])


def test_two_layers_folded_are_two_hunks() -> None:
    one = "h = Conv(x, w)  i = BatchNormalization(h, s, b, m, v)"
    two = "j = Conv(i, w)  y = BatchNormalization(j, s, b, m, v)"
    after = model("h = Conv(x, w, b)  y = Conv(h, u, b)", w=W * 2, u=W * 3, b=BN["b"])
    delta = compare(model(f"{one} {two}", w=W, **BN), after)
    assert titles(delta) == ["BatchNormalization folded into Conv"] * 2


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ("h = Identity(x)  y = Relu(h)", "y = Relu(x)", "Identity removed"),
        ("y = Relu(x)", "h = Tanh(x)  y = Relu(h)", "Tanh inserted"),
        ("y = Relu(x)", "y = Sigmoid(x)", "Relu -> Sigmoid"),
        ("y = LeakyRelu(x)", "y = LeakyRelu<alpha = 0.5>(x)", "LeakyRelu: alpha changed"),
        (
            "h = Sigmoid(x)  i = Mul(x, h)  y = Relu(i)",
            "i = HardSwish(x)  y = Relu(i)",
            "Sigmoid, Mul -> HardSwish",
        ),
        ("a = Relu(x)  b = Tanh(x)  y = Sub(a, b)", "a = Relu(x)  b = Tanh(x)  y = Sub(b, a)",
         "Sub: reads something else"),
        ("a = Relu(x)  b = Relu(x)  y = Sub(a, b)", "a = Relu(x)  y = Sub(a, a)",
         "Relu merged with an equal one"),
        ("y = Reshape(x, s)", "y = Reshape(x, t)", "Reshape: shape changed"),
        ("h = Shape(x)  y = Reshape(x, h)", "y = Reshape(x, s)",
         "Shape computed ahead into a constant"),
        ("y = Reshape(x, s)", "h = Shape(x)  y = Reshape(x, h)",
         "shapes computed at run time: Shape"),
        ("y = Mul(x, w)", "i = Exp(w)  y = Mul(x, i)", "a constant computed at run time: Exp"),
        ("y = PRelu(x, w)", "y = PRelu(x, v)", "PRelu: slope in another shape, same elements"),
        ("h = Add(x, z)  y = Relu(h)", "y = Relu(x)", "Add without effect removed"),
        ("y = Conv(x, w, z)", "y = Conv(x, w)", "Conv: bias of zeros removed"),
        ("y = Relu(x)", "k = Constant<value_float = 0.1>()  p = Constant<value = int8 {0}>()"
         " r = QuantizeLinear(x, k, p)  h = DequantizeLinear(r, k, p)  y = Relu(h)",
         "quantization inserted: QuantizeLinear, DequantizeLinear"),
        ("y = Conv(x, w)",
         "k = Constant<value_float = 0.1>()  h = DequantizeLinear(q, k)  y = Conv(x, h)",
         "weights quantized to int8"),
        ("y = Relu(x)", "h = Cast<to = 10>(x)  i = Cast<to = 1>(h)  y = Relu(i)", "Cast inserted"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_what_happened_has_a_name(before: str, after: str, title: str) -> None:
    weights = {
        "w": W,
        "v": W.reshape(4, 2, 2, 1),
        "z": np.zeros(1, np.float32),
        "q": np.ones(W.shape, np.int8),
    }
    shapes = {"s": np.array([1, 4, 8, 8]), "t": np.array([1, 4, -1, 8])}
    delta = compare(model(before, **weights, **shapes), model(after, **weights, **shapes))
    assert titles(delta) == [title], delta.text()


SAME = [
    ("y = Add(x, w)", "y = Add(w, x)", "operands that commute"),
    ("y = LeakyRelu(x)", "y = LeakyRelu<alpha = 0.01>(x)", "a default written out"),
    ("y = Conv(x, w)", "y = Conv<strides = [1, 1], pads = [0, 0, 0, 0]>(x, w)", "implied"),
    ("y = Add(x, w)", "v = Identity(w)  y = Add(x, w)", None),
    ("h = Constant<value = float {2}>()  y = Add(x, h)", "y = Add(x, two)", "a Constant node"),
]


@pytest.mark.parametrize(("one", "two", "why"), SAME, ids=[str(s[2]) for s in SAME])
def test_what_is_no_difference(one: str, two: str, why: str | None) -> None:
    weights = {"w": W, "two": np.array(2, np.float32)}
    assert compare(model(one, **weights), model(two, **weights)).identical == (why is not None)


def test_an_attribute_that_became_an_input_is_the_same() -> None:
    head = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,4] x) => (float[4] y)'
    old = model("y = Squeeze<axes = [0]>(x)", 11, head)
    new = model("y = Squeeze(x, a)", 13, head, a=np.array([0]))
    delta = compare(old, new)
    assert delta.changes == 1 and list(delta.meta) == ["opset ai.onnx"]
    assert compare(old, new, ignore=["opset"]).identical
    other = model("y = Squeeze(x, a)", 13, head, a=np.array([-2]))
    (entry,) = compare(old, other).nodes["changed"]
    assert (entry["was"]["attribute axes"], entry["is"]["attribute axes"]) == ([0], [-2])


def test_inputs_outputs_and_metadata() -> None:
    one, two = model(CONV, w=W), model(CONV, 18, w=W)
    two.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 16
    two.graph.output[0].name = two.graph.node[1].output[0] = "z"
    two.metadata_props.add(key="stride", value="32")
    two.ir_version = 9
    two.producer_name = "another"
    delta = compare(one, two)
    assert delta.inputs["changed"][0]["is"]["shape"] == [1, 4, 16, 8]
    assert delta.outputs["changed"][0] == {
        "name": "z",
        "was": {"name": "y", "dtype": "float32", "shape": [1, 4, 8, 8]},
        "is": {"name": "z", "dtype": "float32", "shape": [1, 4, 8, 8]},
    }
    assert set(delta.meta) == {"opset ai.onnx", "ir_version", "metadata stride"}
    assert delta.changes == 5 and any("producer" in line for line in delta.cosmetic)
    assert compare(one, two, ignore=["names", "shapes", "opset", "metadata"]).identical


def test_swapped_inputs_are_another_order() -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] {}) => (float[2] y)'
    one = model("y = Sub(a, b)", 17, head.replace("{}", "a, float[2] b"))
    two = model("y = Sub(a, b)", 17, head.replace("{}", "b, float[2] a"))
    delta = compare(one, two)
    assert [e["name"] for e in delta.inputs["changed"]] == ["order"] and delta.changes == 1
    assert compare(one, two, ignore=["order"]).identical


def test_weights_can_be_close_or_left_out() -> None:
    one, near, far = (model(CONV, w=W * k) for k in (1, 1.00001, 2))
    assert not compare(one, near).identical
    assert compare(one, near, weights="close", tolerance=(1e-4, 0)).identical
    assert not compare(one, far, weights="close", tolerance=(1e-4, 0)).identical
    assert compare(one, far, weights="shape").identical
    larger = model(CONV, w=draw(5, 4, 1, 1))
    assert not compare(one, larger, weights="shape").identical
    assert compare(one, larger, weights="ignore").identical


IF = (
    "c = Constant<value = bool {1}>()  y = If (c) <then_branch = t () => (float[1,4,8,8] o)"
    " { o = THEN(x) }, else_branch = e () => (float[1,4,8,8] p) { p = Relu(x) }>"
)


def test_a_change_inside_a_branch_is_told_there() -> None:
    delta = compare(model(IF.replace("THEN", "Tanh")), model(IF.replace("THEN", "Abs")))
    (entry,) = delta.nodes["changed"]
    assert delta.changes == 1 and entry["name"] == "If#0.then_branch/Abs#0"


FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "l" : 1]>
g (float[2] x) => (float[2] y) { h = l.F(x)  y = l.F(h) }
<domain: "l", opset_import: ["" : 17]> F (a) => (b) { b = Tanh(a) }
"""


def test_a_change_inside_a_function_is_one_change() -> None:
    one = onnx.parser.parse_model(FUNCTION)
    two = onnx.parser.parse_model(FUNCTION.replace("Tanh", "Abs"))
    delta = compare(one, two)
    assert delta.changes == 1 and delta.nodes["changed"][0]["name"] == "l:F/Abs#0"
    assert compare(one, one).identical


def test_every_kind_is_found_by_has() -> None:
    delta = compare(model(CONV, w=W), model(CONV, 18, w=W + 1))
    found = {k for k in ("any", "io", "structure", "weights", "meta", "none") if delta.has(k)}
    assert found == {"any", "weights", "meta"}


def test_the_document_is_plain_json() -> None:
    other = W.copy()
    other[0, 0] = np.inf
    other[0, 1] = np.nan
    document = compare(model(CONV, w=W), model(CONV, w=other)).to_json()
    json.dumps(document, allow_nan=False)
    assert {"schema", "command", "identical", "nodes", "initializers", "inputs", "outputs"} <= set(
        document
    )
    assert document["identical"] is False and document["command"] == "diff"


def long(count: int, alpha: float = 0.0) -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    found = model("  ".join(f"{names[i + 1]} = LeakyRelu({names[i]})" for i in range(count)))
    for number, node in enumerate(found.graph.node):
        node.name = f"`<b>|{number}|" + "n" * 80
        node.attribute.append(onnx.helper.make_attribute("alpha", number + alpha))
    return found


@pytest.mark.parametrize("limit", [65_536, 8_000, 3_000])
def test_markdown_fits_and_names_do_no_harm(limit: int) -> None:
    delta = compare(long(600), long(600, 0.5))
    assert len(delta.text(None)) > 30_000
    found = delta.to_markdown(limit)
    assert len(found) <= limit
    outside = [line for line in found.splitlines() if not line.startswith("    ")]
    assert not any("<b>" in line.replace("`", "") for line in outside if "<summary>" in line)
    assert found.count("<details>") == found.count("</details>")


def test_markdown_of_equal_models() -> None:
    assert "Identical" in compare(long(5), long(5)).to_markdown()


def test_the_picture_has_both_models_in_one_graph() -> None:
    delta = compare(
        model("h = Tanh(x)  y = Relu(h)"), model("i = Abs(x)  h = Tanh(i)  y = Relu(h)")
    )
    drawn = delta.graph()
    states = {node["op"]: node["state"] for node in drawn["nodes"]}
    assert states == {"Tanh": "same", "Relu": "same", "Abs": "added"}
    names = {node["id"]: node["op"] for node in drawn["nodes"]}
    edges = {(names[e["from"]], names[e["to"]]): e["state"] for e in drawn["edges"]}
    assert edges == {("Tanh", "Relu"): "same", ("Abs", "Tanh"): "added"}
    assert [node["hunk"] for node in drawn["nodes"] if node["op"] == "Abs"] == [0]
