from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.errors import UnsupportedModelError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.session import Session
from onnxslim.runtime.worker import Worker
from onnxslim.verify.numerics import Verifier
from onnxslim.verify.verification import OutputResult, Verification
from tests.nets import net
from tests.verify.checking import check, feeds, same_outputs

CONV = "h = Conv(x, w)  y = Relu(h)"


def only(verification: Verification) -> OutputResult:
    (result,) = verification.outputs.values()
    return result


def test_a_model_equals_itself(worker: Worker) -> None:
    model = net(CONV)
    found = check(worker, model, model)
    assert (found.ok, found.level, found.samples, found.failure) == (True, "full", 3, "")
    assert (only(found).status, only(found).stats.max_abs) == ("ok", 0)
    document = found.to_json()
    json.dumps(document, allow_nan=False)
    entry = {"max_abs", "max_rel", "cosine", "sqnr_db", "limit", "status"}
    assert set(document["outputs"]["y"]) == entry
    assert {"level", "ok", "provider", "samples", "outputs", "unvaried"} <= set(document)


def test_names_the_output_and_the_difference(worker: Worker) -> None:
    found = check(worker, net(CONV), net("h = Conv(x, w)  y = Abs(h)"))
    assert found.ok is False and only(found).status == "exceeds"
    assert found.failure.startswith("output 'y': differs by")


def test_rounding_is_allowed_by_noise(worker: Worker) -> None:
    model = net("a = Mul(x, k)  b = Mul(a, l)  y = ReduceSum(b)", k=(8,), l=(8,))
    other = same_outputs("a = Mul(k, l)  b = Mul(x, a)  y = ReduceSum(b)", model, k=(8,), l=(8,))
    assert check(worker, model, other).ok


def test_both_sizes_of_a_dynamic_dimension_are_run(worker: Worker) -> None:
    given: dict[str, Any] = {
        "x": "float[N,4]",
        "m": (4, 3),
        "one": [1, 3],
        "zero": [0, 3],
        "s": [-1, 3],
    }
    model = net("h = MatMul(x, m)  y = Reshape(h, s)", **given)
    batch_of_one = same_outputs("h = MatMul(x, m)  y = Reshape(h, one)", model, **given)
    found = check(worker, model, batch_of_one)
    assert found.ok is False and "does not run" in found.failure
    same = check(worker, model, model)
    assert same.ok and same.unvaried == ()


def test_a_dimension_that_cannot_vary_is_named(worker: Worker) -> None:
    model = net("y = Reshape(x, s)", x="float[N,4]", s=[2, 6])
    found = check(worker, model, model)
    assert found.ok and found.unvaried == ("N",)
    assert "N" in found.warnings[0]


def test_given_feeds_are_used_and_the_batch_is_varied(worker: Worker) -> None:
    model = net("y = MatMul(x, m)", x="float[N,4]", m=(4, 3))
    found = check(worker, model, model, feeds=feeds((1, 4), (1, 4)))
    assert (found.samples, found.unvaried) == (3, ())


def test_a_constant_output_is_judged_before_it(worker: Worker) -> None:
    body = "h = Conv(x, {})  s = ReduceMean<keepdims = 1>(h)  y = Softmax<axis = 3>(s)"
    given: dict[str, Any] = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3)}
    model = net(body.format("w"), **given)
    found = check(worker, model, model)
    assert (found.ok, only(found).status, only(found).judged_on) == (True, "vacuous", ("h",))
    wrong = check(worker, model, same_outputs(body.format("v"), model, **given))
    assert wrong.ok is False and "'h'" in wrong.failure


def test_an_output_that_says_nothing_costs_one_look_inside(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []
    run = Session.run

    def counted(self: Session, given: Any, outputs: Any = None) -> Any:
        fetched.append(list(outputs or ()))
        return run(self, given, outputs)

    monkeypatch.setattr(Session, "run", counted)
    body = "h = Conv(x, w)  s = ReduceMean<keepdims = 1>(h)  y = Softmax<axis = 3>(s)"
    model = net(body, w=(4, 4, 3, 3))
    found = check(worker, model, model)
    assert (found.ok, only(found).status) == (True, "vacuous")
    assert fetched == [[], [], [], ["s", "h"], ["s", "h", "y"], ["y"], ["y"]]
    two = net(f"{body}  z = Relu(h)", w=(4, 4, 3, 3))
    fetched.clear()
    assert check(worker, two, two).ok
    assert fetched == [[], [], [], *[["y", "z"]] * 3, ["s", "h"], ["s", "h"]]


def test_a_wrong_constant_is_no_excuse(worker: Worker) -> None:
    body = "h = Relu(x)  z = Sub(h, h)  y = Add(z, {})"
    given: dict[str, Any] = {"one": [1.0], "two": [2.0]}
    model = net(body.format("one"), **given)
    found = check(worker, model, same_outputs(body.format("two"), model, **given))
    assert found.ok is False and only(found).status == "exceeds"


def test_an_ill_conditioned_output_is_judged_before_it(worker: Worker) -> None:
    # sin of huge arguments: one ulp of x moves it anywhere
    body = "h = Relu({})  k = Mul(h, big)  y = Sin(k)"
    given: dict[str, Any] = {"x": "float[2,64]", "big": [1e9]}
    model = net(body.format("x"), **given)
    found = check(worker, model, model)
    assert found.ok
    nearly = same_outputs(
        "h = Relu(x)  k1 = Mul(h, a)  y = Sin(k1)", model, x="float[2,64]", a=[1.0000001e9]
    )
    moved = check(worker, model, nearly)
    assert (moved.ok, only(moved).status, only(moved).judged_on) == (
        True,
        "ill-conditioned",
        ("h",),
    )
    wrong = check(
        worker,
        model,
        same_outputs("n = Neg(x)  h = Relu(n)  k = Mul(h, big)  y = Sin(k)", model, **given),
    )
    assert wrong.ok is False and "before it" in wrong.failure


def test_nan_equals_nan(worker: Worker) -> None:
    model = net("h = Sqrt(x)  y = Exp(h)")
    assert check(worker, model, model).ok
    clipped = same_outputs("a = Relu(x)  h = Sqrt(a)  y = Exp(h)", model)
    assert check(worker, model, clipped).ok is False


def test_an_output_of_nan_everywhere_is_vacuous(worker: Worker) -> None:
    model = net("a = Abs(x)  m = Sub(n, a)  y = Sqrt(m)", n=[-1.0])
    found = check(worker, model, model)
    assert (found.ok, only(found).status, only(found).judged_on) == (True, "vacuous", ("m",))


def test_integers_are_exact(worker: Worker) -> None:
    model = net("y = Add(x, one)", x="int64[4]", one=np.int64(1))
    assert check(worker, model, model).ok
    other = same_outputs("y = Add(x, one)", model, x="int64[4]", one=np.int64(2))
    found = check(worker, model, other)
    assert found.ok is False and "differs in" in found.failure


def test_a_tie_that_rounding_decides(worker: Worker) -> None:
    # every logit is the same but for rounding: any class is right
    a = np.ones((3, 64), np.float32)
    b = np.random.default_rng(0).permuted(np.linspace(0, 1e-7, 64, dtype=np.float32)) + a
    model = net("h = MatMul(x, m)  y = ArgMax<axis = 1>(h)", x="float[1,3]", m=a)
    other = same_outputs("h = MatMul(x, m)  y = ArgMax<axis = 1>(h)", model, x="float[1,3]", m=b)
    found = check(worker, model, other)
    assert (found.ok, only(found).status) == (True, "tie")


@pytest.mark.parametrize("wrong", ["ArgMin<axis = 1>", "ArgMax<axis = 1>(n)  n2 = Neg"])
def test_a_wrong_operator_behind_equal_floats_is_no_tie(worker: Worker, wrong: Any) -> None:
    given: dict[str, Any] = {"x": "float[1,3]", "m": (3, 64)}
    model = net("h = MatMul(x, m)  y = ArgMax<axis = 1>(h)", **given)
    body = f"h = MatMul(x, m)  n = Neg(h)  y = {wrong}(h)"
    found = check(worker, model, same_outputs(body, model, **given))
    assert found.ok is False


def test_a_float_behind_a_rounding_may_tie(worker: Worker) -> None:
    # 3 ulps above the edge of a quantization step: the noise of the input does not cross it
    body = "h = Mul(x, k)  q = QuantizeLinear(h, s, z)  y = DequantizeLinear(q, s, z)"
    given: dict[str, Any] = {"s": np.float32(0.1), "z": np.int8(0), "x": "float[1,8]"}
    x = np.linspace(0.05, 0.4, 8, dtype=np.float32)[None]
    x[0, 0] = np.float32(0.05) * np.float32(1 + 3 * 2.0**-23)
    k = np.ones(8, np.float32)
    less = k - np.float32(4 * 2.0**-23) * (np.arange(8) == 0).astype(np.float32)
    model = net(body, k=k, **given)
    other = same_outputs(body, model, k=less, **given)
    found = check(worker, model, other, feeds=[{"x": x}])
    assert (found.ok, only(found).status) == (True, "tie")
    assert only(found).stats.max_abs == pytest.approx(0.1)
    shifted = same_outputs(body, model, k=k * np.float32(1.5), **given)
    assert check(worker, model, shifted, feeds=[{"x": x}]).ok is False


def test_shape_and_type(worker: Worker) -> None:
    model = net("y = Relu(x)")
    other = net("h = Relu(x)  y = Transpose<perm = [1, 0, 2, 3]>(h)")
    found = check(worker, model, other)
    assert (found.ok, only(found).status) == (False, "shape")
    assert "became" in found.failure
    typed = check(worker, model, net("h = Relu(x)  y = Cast<to = 11>(h)"))
    assert (typed.ok, only(typed).status) == (False, "dtype")


def test_lost_and_swapped_outputs(worker: Worker) -> None:
    model = net("y = Relu(x)  z = Neg(x)")
    found = check(worker, model, net("y = Relu(x)"))
    assert found.ok is False
    assert found.failure == "the outputs are 'y'; expected 'y', 'z'"
    assert check(worker, model, net("z = Neg(x)  y = Relu(x)")).ok is False


def test_a_lost_input(worker: Worker) -> None:
    model = net("y = Relu(x)", u="float[3]")
    found = check(worker, model, net("y = Relu(x)"))
    assert found.ok is False and "the inputs are 'x'" in found.failure


def test_what_the_caller_may_override_is_overridden(worker: Worker) -> None:
    model = net("h = Mul(x, k)  y = Add(h, k)", k=(8,), overridable=["k"])
    assert check(worker, model, model).samples == 4
    (k,) = model.graph.initializer
    body, folded = "h = Mul(x, c)  y = Add(h, k)", onnx.numpy_helper.to_array(k)
    other = same_outputs(body, model, c=folded, k=(8,), overridable=["k"])
    found = check(worker, model, other)
    assert found.ok is False and only(found).status == "exceeds"
    lost = same_outputs("h = Mul(x, k)  y = Add(h, k)", model, k=(8,))
    assert "overridable" in check(worker, model, lost).failure


def test_a_random_number_must_stay_one(worker: Worker) -> None:
    model = net("r = RandomNormalLike(x)  y = Add(x, r)", x="float[4]")
    folded = same_outputs("y = Add(x, r)", model, x="float[4]", r=(4,))
    found = check(worker, model, folded)
    assert found.ok is False and "was random" in found.failure
    idle = net("y = Dropout(x, none, yes)", x="float[4]", none=np.float32(0), yes=np.bool_(True))
    assert check(worker, idle, same_outputs("y = Identity(x)", idle, x="float[4]")).ok


def test_random_operators_for_shape_and_type_only(worker: Worker) -> None:
    model = net("r = RandomNormalLike(x)  y = Add(x, r)  z = Relu(x)")
    found = check(worker, model, model)
    assert found.ok
    assert (found.outputs["y"].status, found.outputs["z"].status) == ("random", "ok")
    flat = same_outputs(
        "r = RandomNormalLike(x)  a = Add(x, r)  y = Flatten(a)  z = Relu(x)", model
    )
    del flat.graph.output[:]
    flat.graph.output.extend([onnx.ValueInfoProto(name="y"), model.graph.output[1]])
    assert check(worker, model, flat).outputs["y"].status == "shape"


def test_sequences_element_by_element(worker: Worker) -> None:
    body = "a, b = Split<axis = 1>({})  s = SequenceConstruct(a, b)"
    outputs = ["s"]
    model = net("h = Relu(x)  " + body.format("h"), outputs=outputs)
    assert check(worker, model, model).ok
    assert check(worker, model, net("h = Abs(x)  " + body.format("h"), outputs=outputs)).ok is False


UNKNOWN = "a = Conv(x, {})  b = my.domain.Foo(a)  c = Neg(b)  d = Exp(x)"
OUTS = {"c": "float[2,4,8,8]", "d": "float[2,4,8,8]"}


def test_an_unknown_operator_makes_it_partial(worker: Worker) -> None:
    given: dict[str, Any] = {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3)}
    model = net(UNKNOWN.format("w"), outputs=OUTS, **given)
    found = check(worker, model, model)
    assert (found.level, found.ok) == ("partial", True)
    assert set(found.outputs) == {"d", "a"}
    assert len(found.not_compared) == 2 and found.unknown_operators == ("my.domain:Foo",)
    assert "my.domain:Foo" in found.warnings[0]
    wrong = net(UNKNOWN.format("v"), outputs=OUTS, **given)
    found = check(worker, model, wrong)
    assert (found.ok, found.outputs["a"].status) == (False, "exceeds")


def test_a_tensor_before_the_unknown_part_may_be_gone(worker: Worker) -> None:
    model = net(UNKNOWN.format("w"), outputs=OUTS, w=(4, 4, 3, 3))
    renamed = net(
        "a2 = Conv(x, w)  b = my.domain.Foo(a2)  c = Neg(b)  d = Exp(x)",
        outputs=OUTS,
        w=(4, 4, 3, 3),
    )
    found = check(worker, model, renamed)
    assert found.ok and found.outputs["a"].status == "not-compared"


def test_nothing_known_is_level_none(worker: Worker) -> None:
    model = net("b = my.domain.Foo(x)", outputs={"b": "float[2,4,8,8]"})
    found = check(worker, model, model)
    assert (found.level, found.ok) == ("none", None)
    assert "Foo" in found.failure


def test_no_feed_runs(worker: Worker) -> None:
    model = net("y = Reshape(x, s)", x="float[N,7]", s=[2, 11, 13])
    found = check(worker, model, model)
    assert (found.level, found.ok, found.samples) == ("none", None, 0)
    assert found.failure


def test_an_invalid_reference(worker: Worker) -> None:
    model = net("y = Relu(x)")
    model.graph.node[0].op_type = "Conv"  # no weight
    with pytest.raises(UnsupportedModelError, match="refuses the model") as caught:
        check(worker, model, model)
    assert "\n" not in str(caught.value)


def test_a_candidate_that_does_not_load(worker: Worker) -> None:
    model = net("y = Relu(x)")
    broken = net("y = Relu(x)")
    broken.graph.node[0].op_type = "Conv"
    found = check(worker, model, broken)
    assert found.ok is False and found.failure.startswith("the rewritten model does not load")


def test_integer_inputs_get_their_noise_inside(worker: Worker) -> None:
    body = "e = Gather(table, x)  a = MatMul(e, m)  y = Sin(a)"
    model = net(body, x="int64[2,8]", table=(10, 32), m=(32, 32))
    with Verifier(model.SerializeToString(), ir.from_proto(model), worker) as verifier:
        noise = verifier.reference.noise("y")
    assert 1e-8 < noise < 1e-5


def test_float16_has_a_wider_cap(worker: Worker) -> None:
    body = "a = Mul(x, k)  b = Add(a, l)  y = Mul(b, k)"
    given: dict[str, Any] = {"x": "float[2,64]", "k": (64,), "l": (64,)}
    model = net(body, dtype="float16", **given)
    assert check(worker, model, model).ok
    eps = same_outputs(body.replace("Mul(b, k)", "Mul(k, b)"), model, dtype="float16", **given)
    assert check(worker, model, eps).ok
    wrong = same_outputs(body.replace("Add(a, l)", "Sub(a, l)"), model, dtype="float16", **given)
    assert check(worker, model, wrong).ok is False


def test_a_model_without_inputs(worker: Worker) -> None:
    model = net("y = Exp(w)", w=(4,))
    found = check(worker, model, model)
    assert (found.ok, found.samples) == (True, 1)


def test_states_are_fed_back(worker: Worker) -> None:
    given: dict[str, Any] = {"x": "float[2,4]", "h": "float[2,4]", "w": (4, 4)}
    model = net("a = MatMul(h, w)  g = Add(a, x)  y = Tanh(g)", **given)
    found = check(worker, model, model, description=Description(state={"y": "h"}))
    assert (found.ok, found.samples) == (True, 4)


def test_one_reference_serves_many_candidates(worker: Worker) -> None:
    model = net(CONV)
    source = model.SerializeToString()
    with Verifier(source, ir.from_proto(model), worker) as verifier:
        wrong = net("h = Conv(x, w)  y = Abs(h)").SerializeToString()
        assert [verifier.verify(c).ok for c in (source, wrong, source)] == [True, False, True]


def test_the_same_answer_twice(worker: Worker) -> None:
    model = net("h = Conv(x, w)  y = Softmax(h)")
    other = net(
        "h = Conv(x, w)  a = Exp(h)  s = ReduceSum<keepdims = 1>(a, ax)  y = Div(a, s)", ax=[-1]
    )
    first, second = (check(worker, model, other).to_json() for _ in range(2))
    assert first == second and first["ok"]


def test_external_weights_are_found(worker: Worker, tmp_path: Path) -> None:
    body = "h = Conv(x, w)  s = ReduceMean<keepdims = 1>(h)  y = Softmax<axis = 3>(s)"
    model = net(body, w=(4, 4, 3, 3))
    path = tmp_path / "m.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    with Verifier(path, ir.load(path), worker) as verifier:
        found = verifier.verify(path)
    assert found.ok and only(found).judged_on == ("h",)
