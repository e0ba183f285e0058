"""Our own evaluators give the very bits that ONNX Runtime gives, or refuse."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes import _evaluate
from onnxslim.passes._evaluate import evaluate
from onnxslim.testing import shared_worker
from tests.nets import net

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)
F = (RNG.standard_normal((2, 3, 4)) * 9).astype(np.float32)
G = np.array([0.0, -0.0, np.inf, np.nan], np.float32)
I = RNG.integers(-9, 9, (2, 3, 4))  # noqa: E741
J = np.array([3, -3, 5, -1])
B = I > 0
BIG = np.iinfo(np.int64)


def ints(*items: int) -> Array:
    return np.array(items, np.int64)


def ours(call: str, opset: int, outputs: int, given: dict[str, Any]) -> tuple[Any, bytes]:
    names = ["y", "y2", "y3"][:outputs]
    proto = net(f"{', '.join(names)} = {call}", opset=opset, **given)
    model = from_proto(proto)
    (node,) = model.graph
    arrays = [None if v is None else edit.constant_array(v) for v in node.inputs]
    return evaluate(node, arrays, opset), proto.SerializeToString()


CASES: list[tuple[str, dict[str, Any]]] = [
    *[(f"{op}(a, b)", {"a": F, "b": G}) for op in ("Add", "Sub", "Mul", "Div")],
    *[(f"{op}(a, b)", {"a": I, "b": J}) for op in ("Add", "Sub", "Mul", "Div", "Mod")],
    *[(f"{op}(a, b)", {"a": I, "b": J}) for op in ("Equal", "Less", "GreaterOrEqual")],
    *[(f"{op}(a, b)", {"a": I, "b": J}) for op in ("Max", "Min")],
    *[(f"{op}(a, b)", {"a": F, "b": G}) for op in ("Equal", "Greater", "LessOrEqual")],
    ("Mod<fmod = 1>(a, b)", {"a": I, "b": J}),
    ("Mod<fmod = 1>(a, b)", {"a": F, "b": np.float32(-1.5)}),
    ("Div(a, b)", {"a": I.astype(np.int32), "b": J.astype(np.int32)}),
    ("Add(a, b)", {"a": np.array([BIG.max]), "b": np.array([1])}),
    ("Max(a, b, d)", {"a": I, "b": J, "d": ints(0)}),
    *[(f"{op}(a)", {"a": F}) for op in ("Neg", "Abs", "Floor", "Ceil", "Reciprocal")],
    *[(f"{op}(a)", {"a": G}) for op in ("Neg", "Abs", "Floor", "Ceil", "Reciprocal", "Sqrt")],
    *[(f"{op}(a)", {"a": np.abs(F)}) for op in ("Sqrt",)],
    *[(f"{op}(a)", {"a": I}) for op in ("Neg", "Abs", "Sign")],
    ("And(a, b)", {"a": B, "b": np.array(True)}),
    ("Xor(a, b)", {"a": B, "b": np.array(True)}),
    ("Or(a, b)", {"a": B, "b": np.array(False)}),
    ("Not(a)", {"a": B}),
    ("Where(k, a, b)", {"k": B, "a": F, "b": G}),
    *[(f"Cast<to = {to}>(a)", {"a": F}) for to in (1, 6, 7, 9, 10, 11)],
    *[(f"Cast<to = {to}>(a)", {"a": G[:2]}) for to in (9, 10, 11)],
    *[(f"Cast<to = {to}>(a)", {"a": I}) for to in (1, 2, 3, 6, 9, 11)],
    *[(f"Cast<to = {to}>(a)", {"a": B}) for to in (1, 7, 10)],
    ("Cast<to = 1>(a)", {"a": np.array([BIG.max, 2**53 + 1])}),
    ("Cast<to = 10>(a)", {"a": np.array([65519.9, 65520, 1e-8, 3e-8], np.float32)}),
    *[(f"{op}(a, b)", {"a": I, "b": ints(0, -1)}) for op in ("ReduceSum",)],
    *[(f"{op}<keepdims = 0>(a)", {"a": I}) for op in ("ReduceProd", "ReduceMax", "ReduceMin")],
    ("ReduceMax<axes = [1]>(a)", {"a": I}),
    ("ReduceSum<noop_with_empty_axes = 1>(a)", {"a": I}),
    ("Shape(a)", {"a": F}),
    ("Shape<start = 1, end = -1>(a)", {"a": F}),
    ("Size(a)", {"a": F}),
    ("Reshape(a, b)", {"a": F, "b": ints(0, -1)}),
    ("Reshape<allowzero = 1>(a, b)", {"a": F[:0], "b": ints(3, 0)}),
    ("Flatten(a)", {"a": F}),
    ("Flatten<axis = -1>(a)", {"a": F}),
    ("Flatten<axis = 0>(a)", {"a": F}),
    ("Squeeze(a)", {"a": F[:1]}),
    ("Squeeze(a, b)", {"a": F[:1], "b": ints(-3)}),
    ("Unsqueeze(a, b)", {"a": F, "b": ints(-1, 0)}),
    ("Transpose(a)", {"a": F}),
    ("Transpose<perm = [1, 0, 2]>(a)", {"a": B}),
    ("Concat<axis = -1>(a, b)", {"a": F, "b": F[:, :, :1]}),
    ("Slice(a, s, e)", {"a": F, "s": ints(1), "e": ints(BIG.max)}),
    (
        "Slice(a, s, e, d, t)",
        {"a": F, "s": ints(-1), "e": ints(BIG.min), "d": ints(2), "t": ints(-2)},
    ),
    ("Slice(a, s, e, d, t)", {"a": F, "s": ints(9), "e": ints(0), "d": ints(-1), "t": ints(-1)}),
    ("Slice(a, s, e, d, t)", {"a": F, "s": ints(-9), "e": ints(-9), "d": ints(0), "t": ints(-1)}),
    ("Slice(a, s, e, d)", {"a": F, "s": ints(2, 0), "e": ints(1, -1), "d": ints(1, 2)}),
    ("Gather(a, b)", {"a": F, "b": np.int64(-1)}),
    ("Gather<axis = 1>(a, b)", {"a": I, "b": np.array([[0, 2], [-3, 1]])}),
    ("Expand(a, b)", {"a": F[:, :1], "b": ints(5, 1, 3, 1)}),
    ("Tile(a, b)", {"a": F, "b": ints(1, 2, 3)}),
    ("ConstantOfShape(a)", {"a": ints(2, 0, 3)}),
    ("ConstantOfShape<value = int64[1] {7}>(a)", {"a": ints(2, 3)}),
    ("Range(a, b, d)", {"a": np.int64(5), "b": np.int64(-3), "d": np.int64(-2)}),
    ("NonZero(a)", {"a": I}),
    ("Identity(a)", {"a": F}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "given"), CASES)
def test_same_bits_as_the_runtime(call: str, given: dict[str, Any]) -> None:
    found, proto = ours(call, 17, 1, given)
    assert isinstance(found, list), found
    expected = shared_worker().evaluate(proto)["y"]
    assert isinstance(expected, np.ndarray)
    assert (found[0].dtype, found[0].shape) == (expected.dtype, expected.shape)
    nan = found[0] != found[0]
    assert np.array_equal(nan, expected != expected)
    assert np.where(nan, 0, found[0]).tobytes() == np.where(nan, 0, expected).tobytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_powers_of_two_numbers() -> None:
    rng = np.random.default_rng(0)
    drawn = [(rng.uniform(0, 99), rng.uniform(-3, 3)) for _ in range(200)]
    pairs = [*drawn, (32, 0.25), (-8, 1 / 3), (0, -0.5), (0, 0), (-2, 5), (2, 1e9), (np.inf, -1)]
    given = {f"a{i}": np.float32(a) for i, (a, _) in enumerate(pairs)}
    given |= {f"b{i}": np.float32(b) for i, (_, b) in enumerate(pairs)}
    body = "  ".join(f"y{i} = Pow(a{i}, b{i})" for i in range(len(pairs)))
    proto = net(body, **given)
    expected = shared_worker().evaluate(proto.SerializeToString())
    for node in from_proto(proto).graph:
        found: Any = evaluate(node, [edit.constant_array(v) for v in node.inputs], 17)
        theirs: Any = expected[str(node.outputs[0].name)]
        assert found[0].tobytes() == theirs.tobytes() or np.isnan([found[0], theirs]).all()
    shaped = ours("Pow(a, b)", 17, 1, {"a": np.ones((1, 1), np.float32), "b": F[:1, 0, 0]})[0]
    assert isinstance(shaped, list) and shaped[0].shape == (1, 1)


@pytest.mark.parametrize(
    ("call", "opset", "given"),
    [
        ("Split<axis = 2>(a)", 13, {"a": F}),
        ("Split<axis = 1>(a, b)", 13, {"a": F, "b": ints(1, 2)}),
        ("Split<axis = 1, split = [2, 1]>(a)", 11, {"a": F}),
        ("Split<axis = 1, num_outputs = 2>(a)", 18, {"a": F}),
    ],
)
def test_split(call: str, opset: int, given: dict[str, Any]) -> None:
    found, proto = ours(call, opset, 2, given)
    expected = shared_worker().evaluate(proto)
    assert isinstance(found, list)
    for array, name in zip(found, ("y", "y2"), strict=True):
        assert np.array_equal(array, expected[name])


@pytest.mark.parametrize(
    ("call", "opset", "given"),
    [
        ("Squeeze<axes = [0]>(a)", 11, {"a": F[:1]}),
        ("Unsqueeze<axes = [0, 4]>(a)", 11, {"a": F}),
        ("Slice<starts = [1], ends = [3], axes = [2]>(a)", 9, {"a": F}),
        ("Slice(a, s, e)", 10, {"a": F, "s": ints(1), "e": ints(2)}),
        ("ReduceSum<axes = [1]>(a)", 11, {"a": I}),
        ("ReduceMax(a, b)", 18, {"a": I, "b": ints(1)}),
    ],
)
def test_other_opsets(call: str, opset: int, given: dict[str, Any]) -> None:
    found, proto = ours(call, opset, 1, given)
    assert isinstance(found, list)
    assert np.array_equal(found[0], shared_worker().evaluate(proto)["y"])


@pytest.mark.parametrize(
    ("call", "given", "reason"),
    [
        ("Div(a, b)", {"a": I, "b": ints(0)}, "by zero"),
        ("Mod(a, b)", {"a": I, "b": ints(0)}, "by zero"),
        ("Div(a, b)", {"a": ints(BIG.min), "b": ints(-1)}, "overflows"),
        ("Mod(a, b)", {"a": ints(BIG.min), "b": ints(-1)}, "overflows"),
        ("Cast<to = 7>(a)", {"a": G}, "range"),
        ("Cast<to = 7>(a)", {"a": np.array([2.0**63], np.float32)}, "range"),
        ("Cast<to = 2>(a)", {"a": np.array([-1.0], np.float32)}, "range"),
        ("Cast<to = 2>(a)", {"a": np.array([256.0], np.float32)}, "range"),
    ],
)
def test_refuses_what_is_undefined(call: str, given: dict[str, Any], reason: str) -> None:
    found, _ = ours(call, 17, 1, given)
    assert isinstance(found, str)
    assert reason in found


def test_refuses_indices_out_of_range_and_broken_shapes() -> None:
    """Nodes that onnx's own inference refuses: only their operator and attributes count."""
    assert "out of range" in run("Gather", F, ints(2))
    assert "out of range" in run("Gather", F, ints(-3))
    assert "elements" in run("Reshape", F, ints(5, -1))
    assert "does not exist" in run("Reshape", F, ints(1, 1, 24, 0))
    assert "not 1" in run("Squeeze", F, ints(0))
    assert "do not fit" in run("Concat", F, F[:, :2], axis=0)
    assert "step of 0" in run("Slice", F, ints(0), ints(1), ints(0), ints(0))
    assert "does not fit" in run("Expand", F, ints(5))
    assert "step of 0" in run("Range", np.int64(0), np.int64(3), np.int64(0))
    assert "does not exist" in run("ReduceSum", I, ints(3))


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("Exp(a)", {"a": F}),
        ("Pow(a, b)", {"a": F, "b": F}),
        ("Pow(a, b)", {"a": np.float32(3), "b": np.float32(2)}),
        ("Pow(a, b)", {"a": np.float32(3), "b": np.float64(0.5)}),
        ("Pow(a, b)", {"a": np.float64(3), "b": np.float64(0.5)}),
        ("Max(a, b)", {"a": F, "b": G}),
        ("ReduceSum(a, b)", {"a": F, "b": ints(0)}),
        ("Add(a, b)", {"a": F.astype(np.float16), "b": F.astype(np.float16)}),
        ("Cast<to = 10>(a)", {"a": F.astype(np.float64)}),
        ("Cast<to = 16>(a)", {"a": F}),
        ("Range(a, b, d)", {"a": np.float32(0), "b": np.float32(1), "d": np.float32(0.1)}),
        ("ConstantOfShape(a)", {"a": ints(1 << 20, 1 << 20)}),
    ],
)
def test_leaves_the_rest_to_the_runtime(call: str, given: dict[str, Any]) -> None:
    assert ours(call, 17, 1, given)[0] is None


def run(op: str, *arrays: Any, opset: int = 17, **attributes: Any) -> Any:
    """What is made of arrays, without onnx's own inference in front."""
    values = [ir.Value(name=f"v{i}") for i in range(len(arrays))]
    node = ir.node(op, values, attributes)
    return evaluate(node, [np.asarray(a) for a in arrays], opset)


LOW, HIGH = np.float32(-2147483648), np.float32(2147483648)


@pytest.mark.parametrize(
    ("numbers", "to", "fits"),
    [
        ([np.nextafter(LOW, HIGH), np.nextafter(HIGH, LOW)], 6, True),
        ([HIGH], 6, False),
        ([np.nextafter(LOW, -np.float32(np.inf))], 6, False),
        ([-0.9, 255.9], 2, True),
        ([-128.5, 127.5], 3, True),
        ([-129.0], 3, False),
        ([128.0], 3, False),
        ([np.inf], 3, False),
        ([-(2.0**62), 2.0**62], 7, True),
        ([-(2.0**63)], 7, False),
        ([2.0**64], 13, False),
    ],
)
def test_floats_that_fit_an_integer(numbers: list[float], to: int, fits: bool) -> None:
    found = run("Cast", np.array(numbers, np.float32), to=to)
    assert isinstance(found, list) == fits
    assert not fits or found[0].tolist() == [int(n) for n in numbers]
    assert fits or found == "a float outside the range of the integer type"


@pytest.mark.parametrize(
    ("op", "kinds"),
    [
        ("Add", "iuf"), ("Sub", "iuf"), ("Mul", "iuf"), ("Less", "iuf"),
        ("Greater", "iuf"), ("LessOrEqual", "iuf"), ("GreaterOrEqual", "iuf"), ("Equal", "iufb"),
        ("Max", "iu"), ("Min", "iu"), ("And", "b"), ("Or", "b"), ("Xor", "b"),
    ],
)  # fmt: skip
def test_kinds_of_two(op: str, kinds: str) -> None:
    types = {"i": np.int16, "u": np.uint8, "f": np.float64, "b": np.bool_}
    for kind, dtype in types.items():
        found = run(op, np.ones(2, dtype), np.ones(2, dtype))
        assert isinstance(found, list) == (kind in kinds), kind
    assert run(op, np.ones(2, np.float16), np.ones(2, np.float16)) is None
    assert run(op, np.ones(2, types[kinds[0]]), np.ones(3, types[kinds[0]])) is None
    assert run(op, np.ones(2, types[kinds[0]]), np.ones(2, types[kinds[0]]), opset=6) is None
    assert run(op, np.ones(2, types[kinds[0]]), np.ones(2, types[kinds[0]]), opset=7) is not None


@pytest.mark.parametrize(
    ("op", "kinds"),
    [
        ("Neg", "if"), ("Abs", "iuf"), ("Sign", "i"), ("Floor", "f"), ("Ceil", "f"), ("Sqrt", "f"),
        ("Reciprocal", "f"), ("Not", "b"), ("ReduceSum", "iu"), ("ReduceProd", "iu"),
        ("ReduceMax", "iu"), ("ReduceMin", "iu"),
    ],
)  # fmt: skip
def test_kinds_of_one(op: str, kinds: str) -> None:
    types = {"i": np.int64, "u": np.uint16, "f": np.float32, "b": np.bool_}
    for kind, dtype in types.items():
        assert isinstance(run(op, np.ones(2, dtype)), list) == (kind in kinds), kind


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[0], [1], [-1], [-2, 0], [0, 1, 2], [1, 1]])
@pytest.mark.parametrize("op", ["Sum", "Prod", "Max", "Min"])
def test_reductions(op: str, axes: list[int], keepdims: int) -> None:
    data = np.arange(1, 13, dtype=np.int32).reshape(2, 3, 2)
    function: Any = {"Sum": np.sum, "Prod": np.prod, "Max": np.max, "Min": np.min}[op]
    unique = tuple(dict.fromkeys(a % 3 for a in axes))
    wanted = np.asarray(function(data, axis=unique, keepdims=bool(keepdims))).astype(np.int32)
    for found in (
        run(f"Reduce{op}", data, axes=axes, keepdims=keepdims),
        run(f"Reduce{op}", data, ints(*axes), keepdims=keepdims),
    ):
        assert found[0].dtype == np.int32 and np.array_equal(found[0], wanted)
        assert found[0].shape == wanted.shape
    assert run(f"Reduce{op}", data)[0].shape == (1, 1, 1)
    assert np.array_equal(run(f"Reduce{op}", data, noop_with_empty_axes=1)[0], data)
    for axis in (3, -4):
        assert "does not exist" in run(f"Reduce{op}", data, axes=[axis])
    assert run(f"Reduce{op}", data[:0]) is None


def test_division_rounds_to_zero_and_remainders_follow() -> None:
    a, b = np.meshgrid(np.arange(-7, 8), [-3, -2, -1, 1, 2, 3])
    quotient = np.trunc(a / b).astype(np.int64)
    assert np.array_equal(run("Div", a, b)[0], quotient)
    assert np.array_equal(run("Mod", a, b, fmod=1)[0], a - quotient * b)
    assert np.array_equal(run("Mod", a, b)[0], a - np.floor(a / b).astype(np.int64) * b)
    assert run("Mod", a.astype(np.float32), b.astype(np.float32)) is None
    least = ints(BIG.min)
    assert run("Div", least, ints(1))[0].tolist() == [BIG.min]
    assert run("Div", ints(BIG.min + 1), ints(-1))[0].tolist() == [BIG.max]
    assert isinstance(run("Div", np.array([0], np.uint8), np.array([255], np.uint8)), list)


@pytest.mark.parametrize("over", [0, 1])
def test_results_have_a_limit(monkeypatch: pytest.MonkeyPatch, over: int) -> None:
    monkeypatch.setattr(_evaluate, "_MAX_RESULT", 48 - over)
    a, b = np.ones((3, 1), np.float64), np.ones((1, 2), np.float32)
    found = run("Add", a, b)
    assert found is None if over else found[0].shape == (3, 2)
