"""Rules on values that inference knows nothing of: nothing may leave there."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from onnxslim.analysis.dependency.analyze import analyze
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.analysis.dependency import test_movement
from tests.analysis.dependency.oracle import Ruled, rule
from tests.analysis.dependency.test_computing import CASES, model_of
from tests.analysis.dependency.told import told
from tests.nets import net

NO_DATA = {"Gather of a table", "DequantizeLinear", "DequantizeLinear by blocks"}
"""Their first input is no data, or they have none."""


def _of_unknown_rank(proto: onnx.ModelProto, index: int) -> Ruled:
    """The rule of a model whose input number ``index`` has no shape."""
    for value in (proto.graph.input[index], *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    return rule(proto)


def _given_leave(ruled: Ruled) -> list[str]:
    """Inputs of the node, constants too, of which something may leave."""
    axes_of = ruled.builder.axes_of
    given = [v for v in ruled.node.inputs if v is not None]
    return [
        str(value.name)
        for value in given
        for axis in range(len(axes_of.get(value) or ()))
        if (roots := ruled.roots(value, axis)) is not None and roots.any()
    ]


@pytest.mark.parametrize("case", [c for c in CASES if c not in NO_DATA])
def test_nothing_leaves_where_the_rank_is_unknown(case: str) -> None:
    ruled = _of_unknown_rank(model_of(case), 0)
    assert ruled.classes() == []
    assert _given_leave(ruled) == []


@pytest.mark.parametrize("case", test_movement.CASES)
def test_nothing_leaves_where_the_rank_of_what_moves_is_unknown(case: str) -> None:
    proto = test_movement.model_of(*test_movement.CASES[case], test_movement.OUTPUTS.get(case, 1))
    assert _of_unknown_rank(proto, 0).classes() == []


def test_an_initial_state_of_unknown_rank_keeps_the_hidden_units() -> None:
    ruled = _of_unknown_rank(model_of("LSTM with states"), 1)
    roots = ruled.roots(ruled.node.outputs[0], 3)
    assert roots is None or not roots.any()


INDEXED = {
    "ScatterND": ("ScatterND(x, i, u)", {"u": "float[2,6,3]"}),
    "GatherND": ("GatherND(x, i)", {}),
}


@pytest.mark.parametrize("case", INDEXED)
def test_nothing_leaves_where_nobody_knows_how_many_axes_are_indexed(case: str) -> None:
    body, more = INDEXED[case]
    outputs = {"y": "float[2,6,3]"}
    proto = net(f"y = {body}", outputs=outputs, x="float[4,6,3]", i="int64[2,1]", **more)
    assert rule(proto).classes() != []
    assert _of_unknown_rank(proto, 1).classes() == []


@pytest.mark.parametrize("side", ["A", "B"])
def test_a_product_that_transposes_its_batch_is_left_alone(side: str) -> None:
    body = f"com.microsoft.FusedMatMul<transBatch{side} = 1>(x, w)"
    proto = net(f"y = {body}", outputs={"y": "float[4,5,6]"}, x="float[4,5,3]", w="float[4,3,6]")
    ruled = rule(proto)
    assert ruled.classes() == []
    assert "it transposes batch axes" in str(ruled.builder.atoms.reasons)


_NORM = "b = BatchNormalization(a, s, t, m, v)"
_REPLACEABLE = {
    "mean": (_NORM, "m"),
    "scale": (_NORM, "s"),
    "bias of a convolution": ("b = Conv(a, w3, t)", "t"),
    "filters": ("b = Conv(a, w3, t)", "w3"),
    "slope": ("b = PRelu(a, p)", "p"),
    "factor": ("b = Mul(a, p)", "p"),
}


@pytest.mark.parametrize("case", _REPLACEABLE)
def test_what_follows_a_parameter_that_callers_may_replace_stays(case: str) -> None:
    body, name = _REPLACEABLE[case]
    given = {
        "w1": (32, 3, 3, 3), "w2": (4, 32, 3, 3), "w3": (32, 32, 1, 1), "p": (32, 1, 1),
        **dict.fromkeys("stm", (32,)), "v": np.ones(32, np.float32),
    }  # fmt: skip
    text = f"a = Conv(x, w1)  {body}  r = Relu(b)  y = Conv(r, w2)"
    used = {k: given[k] for k in given if re.search(rf"\b{k}\b", text)}
    whole = net(text, x="float[2,3,8,8]", **used)
    part = net(text, x="float[2,3,8,8]", **used, overridable=(name,))
    for proto, coupled in ((whole, True), (part, False)):
        model = from_proto(proto)
        infer_shapes(model)
        sites = {(s.value.name, s.axis) for g in analyze(model).groups for s in g.sites}
        assert (("w2", 1) in sites) == coupled


_SHARED = {
    "InstanceNormalization": "InstanceNormalization({}, s, t)",
    "BatchNormalization": "BatchNormalization({}, s, t, m, v)",
    "PRelu": "PRelu({}, p)",
    "Conv": "Conv({}, w3)",
    "Mul": "Mul({}, p)",
    "LayerNormalization": "LayerNormalization({}, l)",
    "MatMul": "MatMul({}, w4)",
}


@pytest.mark.parametrize("case", _SHARED)
@pytest.mark.parametrize("shared", [False, True])
def test_a_parameter_that_meets_an_unknown_rank_elsewhere_stays(case: str, shared: bool) -> None:
    last = case in ("LayerNormalization", "MatMul")
    layer = "MatMul({}, {})" if last else "Conv({}, {})"
    ends = [layer.format("x", "w1"), layer.format("b", "w2")]
    text = f"a = {ends[0]}  b = {_SHARED[case].format('a')}  y = {ends[1]}"
    outputs = {"y": "float[2,4]" if last else "float[2,4,8,8]"}
    if shared:
        text += f"  o = my.Op(x)  z = {_SHARED[case].format('o')}"
        outputs["z"] = "float"
    given = {
        "w1": (3, 32) if last else (32, 3, 1, 1), "w2": (32, 4) if last else (4, 32, 1, 1),
        "w3": (32, 32, 1, 1), "w4": (32, 32), "p": (32, 1, 1), "l": (32,),
        **dict.fromkeys("stm", (32,)), "v": np.ones(32, np.float32),
    }  # fmt: skip
    used = {k: given[k] for k in given if re.search(rf"\b{k}\b", text)}
    proto = net(text, x="float[2,3]" if last else "float[2,3,8,8]", outputs=outputs, **used)
    if shared:
        proto.graph.output[1].type.tensor_type.ClearField("shape")
    model = from_proto(proto)
    infer_shapes(model)
    sites = {(s.value.name, s.axis) for g in analyze(model).groups for s in g.sites}
    assert (("w2", 0 if last else 1) in sites) == (not shared)


def test_channels_that_all_depend_on_each_other_stay_and_say_so() -> None:
    """Each is added to its neighbour, so that none can leave alone."""
    body = "h = Conv(x, w1)  g = Gather<axis = 1>(h, i)  s = Add(h, g)  y = Conv(s, w2)"
    given = {"w1": (16, 3, 1, 1), "w2": (4, 16, 1, 1), "i": [*range(1, 16), 0]}
    model = from_proto(net(body, x="float[2,3,8,8]", **given))
    infer_shapes(model)
    found = analyze(model)
    assert found.groups == ()
    assert ("h", "all of it depends on each other") in {(f.layer, f.reason) for f in found.frozen}


@pytest.mark.parametrize("carried", ["s", "h"])
def test_what_a_loop_carries_stays(carried: str) -> None:
    """Whether its body gets it as a state, or reads it from outside."""
    body = f"""h = Conv(x, w1)  y = Loop(n, go, h) <
      body = b (int64 i, bool cin, float[2,16,8,8] s) => (bool cout, float[2,16,8,8] out) {{
        cout = Identity(cin)  out = Neg({carried}) }}
    >  z = Conv(h, w2)"""
    given = {"w1": (16, 3, 1, 1), "w2": (4, 16, 1, 1), "n": np.int64(2), "go": np.bool_(True)}
    outputs = {"y": "float[2,16,8,8]", "z": "float[2,4,8,8]"}
    model = from_proto(net(body, x="float[2,3,8,8]", outputs=outputs, **given))
    infer_shapes(model)
    found = analyze(model)
    assert found.groups == ()
    assert any("the body of" in f.reason for f in found.frozen if f.layer == "h")


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_a_filter_of_another_rank_than_its_data_stays(operator: str) -> None:
    """Invalid, but no reason to crash."""
    outputs = {"y": "float[A,B,C,D]"}
    said = told(f"y = {operator}(x, w)", x="float[1,4,9,9]", w=(4, 4, 3), outputs=outputs)
    assert said == "x[-,....,.........,.........] w[....,....,...] -> y[?]"
