from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.report.diff.delta import difference
from onnxslim.report.html.drawing import (
    ADDED,
    CHANGED,
    REMOVED,
    SAME,
    Drawing,
    folds,
    merged,
    single,
)
from tests.nets import net


def loaded(model: onnx.ModelProto) -> ir.Model:
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    found = from_proto(model)
    infer_shapes(found)
    return found


def both(before: onnx.ModelProto, after: onnx.ModelProto) -> Drawing:
    a, b = loaded(before), loaded(after)
    return merged(a, b, difference(a, b), ({}, {}))


def boxes(drawing: Drawing) -> dict[str, int]:
    return {box.name: box.status for box in drawing.boxes}


def edges(drawing: Drawing) -> set[tuple[str, str, int]]:
    name = [box.name for box in drawing.boxes]
    return {(name[a], name[b], s) for a, b, s in drawing.edges}


def test_one_model() -> None:
    drawing = single(loaded(net("h = Conv(x, w)  y = Relu(h)")), {"n_h": {"macs": 7}})
    assert boxes(drawing) == {"x": SAME, "n_h": SAME, "n_y": SAME, "y": SAME}
    assert edges(drawing) == {("x", "n_h", 0), ("n_h", "n_y", 0), ("n_y", "y", 0)}
    conv = drawing.boxes[1]
    assert conv.facts["macs"] == 7 and conv.facts["weights"] == ["w: float32[4, 4, 3, 3]"]
    assert conv.facts["outputs"] == ["h: float[2, 4, 6, 6]"]


def test_the_body_of_a_branch_is_drawn() -> None:
    body = """y = If(c) <then_branch = t () => (float[2,4,8,8] a) { a = Exp(x) },
                          else_branch = e () => (float[2,4,8,8] b) { b = Neg(x) }>"""
    drawing = single(loaded(net(body)), {})
    ops = {box.op for box in drawing.boxes}
    assert {"If", "Exp", "Neg", "input", "output"} == ops
    named = {box.op: box.name for box in drawing.boxes}
    assert (named["Exp"], named["If"], 0) in edges(drawing)
    assert ("x", named["Exp"], 0) in edges(drawing)


def test_what_is_gone_and_what_is_new() -> None:
    drawing = both(
        net("a = Relu(x)  b = Identity(a)  y = Exp(b)"), net("a = Relu(x)  c = Neg(a)  y = Exp(c)")
    )
    found = boxes(drawing)
    assert found["n_a"] == found["n_y"] == SAME
    kinds = sorted(status for status in found.values() if status != SAME)
    assert kinds in ([ADDED, REMOVED], [CHANGED])


def test_a_node_that_was_removed() -> None:
    drawing = both(net("a = Relu(x)  b = Identity(a)  y = Exp(b)"), net("a = Relu(x)  y = Exp(a)"))
    assert boxes(drawing) == {
        "x": SAME, "n_a": SAME, "n_y": SAME, "y": SAME, "n_b": REMOVED,
    }  # fmt: skip
    assert {("n_a", "n_b", REMOVED), ("n_b", "n_y", REMOVED), ("n_a", "n_y", ADDED)} < edges(
        drawing
    )
    assert next(b for b in drawing.boxes if b.name == "n_b").hunk == 0


def test_weights_that_changed_are_told() -> None:
    a, b = net("h = Conv(x, w)  y = Relu(h)"), net("h = Conv(x, w)  y = Relu(h)", w=(6, 4, 3, 3))
    box = next(b for b in both(a, b).boxes if b.op == "Conv")
    assert box.status == CHANGED and any("6" in text for text in box.facts["changes"])


def test_an_input_that_was_renamed_is_two() -> None:
    drawing = both(net("y = Relu(x)"), net("y = Relu(z)", z="float[2,4,8,8]"))
    assert boxes(drawing)["x"] == REMOVED and boxes(drawing)["z"] == ADDED


def chain(count: int, change: int | None = None) -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(count))]
    ops = ["Exp" if i == change else ("Relu", "Neg")[i % 2] for i in range(count)]
    return net(
        "  ".join(f"{b} = {op}({a})" for a, b, op in zip(names, names[1:], ops, strict=False))
    )


def test_what_did_not_change_is_folded() -> None:
    drawing = both(chain(40), chain(40, 20))
    groups = folds(drawing)
    assert len(groups) == 2 and sum(map(len, groups)) == 40 - 5
    views: dict[str, Any] = drawing.to_json()["views"]
    folded = views["folded"]
    assert len(folded["box"]) == len(folded["x"]) == 5 + 2 + 2
    assert folded["box"].count(-1) == 2 == len(folded["labels"])
    assert "unchanged" in folded["labels"][0]
    assert len(views["full"]["box"]) == 42
    assert folded["height"] < views["full"]["height"]


def test_nothing_is_folded_without_a_change_or_gain() -> None:
    assert folds(single(loaded(chain(40)), {})) == []
    assert folds(both(chain(6), chain(6, 3))) == []


def test_folding_makes_no_cycle() -> None:
    """A folded region beside a change lies before and after it: it must not become one group."""
    body = "a = Relu(x) b = Neg(a) c = Relu(b) d = Neg(c) {} l = Add(h, k) m = Relu(l) y = Neg(m)"
    side = "p = Relu(a) q = Neg(p) r = Relu(q) s = Neg(r) t = Relu(s) u = Neg(t) k = Relu(u)"
    main = "e = {}(d) f = Relu(e) g = Neg(f) h = Relu(g)"
    first, second = (body.format(f"{side} {main.format(op)}") for op in ("Exp", "Tanh"))
    drawing = both(net(first), net(second))
    groups = folds(drawing)
    home = {i: f"g{n}" for n, g in enumerate(groups) for i in g}
    links = {(home.get(a, str(a)), home.get(b, str(b))) for a, b, _ in drawing.edges}
    links = {(a, b) for a, b in links if a != b}
    while links:  # take away what nothing points to; a cycle would stay
        starts = {a for a, _ in links} - {b for _, b in links}
        assert starts
        links = {(a, b) for a, b in links if a not in starts}
