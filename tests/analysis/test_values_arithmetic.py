"""Contents of small tensors: arithmetic as numpy does it, and when nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.analysis.facts import content, infer

Function = Callable[[Any, Any], Any]
LEFT, RIGHT = (a.reshape(-1) for a in np.meshgrid([-3, -1, 0, 1, 2, 3], [-3, -2, -1, 1, 2, 3]))
"""Every pair, none with a zero on the right."""

BINARY: dict[str, Function] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": lambda a, b: np.trunc(a / b),
    "Mod": np.mod,
    "Mod<fmod=1>": np.fmod,
    "Max": np.maximum,
    "Min": np.minimum,
    "Sum": np.add,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}


@pytest.mark.parametrize("op", BINARY)
def test_numbers(op: str) -> None:
    name, attributes = (op.split("<")[0], op[len(op.split("<")[0]) :])
    found, _ = infer(f"y = {name}{attributes}(a, b)", a=LEFT, b=RIGHT)
    assert content(found["y"]) == [str(int(e)) for e in BINARY[op](LEFT, RIGHT)]


UNARY: dict[str, Callable[[Any], Any]] = {"Abs": np.abs, "Neg": np.negative, "Sign": np.sign}


@pytest.mark.parametrize("op", UNARY)
def test_one_number(op: str) -> None:
    found, _ = infer(f"y = {op}(a)", a=[-3, -1, 0, 1, 3])
    assert content(found["y"]) == [str(e) for e in UNARY[op](np.array([-3, -1, 0, 1, 3]))]


@pytest.mark.parametrize(
    ("op", "function"),
    [("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)],
)
def test_booleans(op: str, function: Function) -> None:
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    found, _ = infer(f"y = {op}(a, b)", a=a, b=b)
    assert content(found["y"]) == [str(int(e)) for e in function(a, b)]
    found, _ = infer("y = Not(a)", a=a)
    assert content(found["y"]) == ["1", "1", "0", "0"]


U = np.array([0, 1, 0, 1], bool)
S = "s = Shape(x) "
X = "float[N,3,H,8] x, int64[4] w, float[4] r"

CASES: list[tuple[str, list[str] | None, dict[str, Any]]] = [
    # symbols: signs and truths that follow from sizes being at least 0
    (S + "y = Abs(s)", ["N", "3", "H", "8"], {}),
    (S + "n = Neg(s) y = Abs(n)", ["None", "3", "None", "8"], {}),
    (S + "y = Neg(s)", ["-N", "-3", "-H", "-8"], {}),
    (S + "y = Sign(s)", ["None", "1", "None", "1"], {}),
    (S + "t = Add(s, k) y = Sign(t)", ["1", "1", "1", "1"], {"k": 1}),
    (S + "y = Cast<to=9>(s)", ["None", "1", "None", "1"], {}),
    (S + "t = Add(s, k) y = Cast<to=9>(t)", ["1", "1", "1", "1"], {"k": 1}),
    (S + "t = Sub(s, k) y = Cast<to=9>(t)", ["None", "0", "None", "1"], {"k": 3}),
    (S + "y = Div(s, k)", None, {"k": 0}),
    (S + "y = Mod(s, k)", None, {"k": 0}),
    (S + "y = Div(s, s)", ["1", "1", "1", "1"], {}),
    (S + "t = Mul(s, k) y = Div(t, k)", ["N", "3", "H", "8"], {"k": -2}),
    (S + "y = Div(s, k)", ["None", "-1", "None", "-4"], {"k": -2}),
    (S + "t = Sub(s, k) y = Div(t, k)", ["None", "0", "None", "3"], {"k": 2}),
    (S + "y = Div(k, s)", ["floordiv(7, N)", "2", "floordiv(7, H)", "0"], {"k": 7}),
    (S + "t = Add(s, o) y = Div(k, t)", ["floordiv(7, N + 1)", "1", "floordiv(7, H + 1)", "0"],
     {"k": 7, "o": 1}),
    (S + "t = Sub(s, k) y = Mod(t, k)", ["None", "1", "None", "0"], {"k": 2}),
    (S + "y = Mod(s, k)", ["None", "-1", "None", "0"], {"k": -2}),
    (S + "y = Mod<fmod=1>(s, k)", ["None", "1", "None", "0"], {"k": -2}),
    (S + "y = Greater(s, k)", ["None", "0", "None", "1"], {"k": 3}),
    (S + "y = Greater(s, k)", ["1", "1", "1", "1"], {"k": -1}),
    (S + "y = Greater(k, s)", ["0", "0", "0", "0"], {"k": 0}),
    (S + "y = GreaterOrEqual(k, s)", ["None", "1", "None", "0"], {"k": 3}),
    (S + "y = LessOrEqual(k, s)", ["1", "1", "1", "1"], {"k": 0}),
    (S + "y = LessOrEqual(s, k)", ["None", "1", "None", "0"], {"k": 3}),
    (S + "y = Less(s, k)", ["0", "0", "0", "0"], {"k": 0}),
    # something unknown
    (S + "y = Add(s, w)", None, {}),
    (S + "y = Add(w, s)", None, {}),
    ("y = Abs(w)", None, {}),
    ("y = Not(w)", None, {}),
    (S + "e = Equal(s, w) y = And(e, u)", ["0", "None", "0", "None"], {"u": U}),
    (S + "e = Equal(s, w) y = And(u, e)", ["0", "None", "0", "None"], {"u": U}),
    (S + "e = Equal(s, w) y = Or(u, e)", ["None", "1", "None", "1"], {"u": U}),
    (S + "e = Equal(s, w) y = Xor(u, e)", None, {"u": U}),
    (S + "e = Equal(s, k) y = Xor(u, e)", ["None", "0", "None", "1"], {"u": U, "k": 3}),
    (S + "y = Where(u, s, w)", ["None", "3", "None", "8"], {"u": U}),
    (S + "y = Where(u, w, s)", ["N", "None", "H", "None"], {"u": U}),
    (S + "e = Equal(s, k) y = Where(e, s, k)", ["None", "3", "None", "3"], {"k": 3}),
    (S + "e = Equal(w, s) y = Where(e, s, s)", ["N", "3", "H", "8"], {}),
    (S + "y = Where(u, s, k)", None, {"u": U, "k": [1, 2, 3]}),
    # gathering, cutting, joining
    (S + "y = Gather(s, i)", ["N", "8"], {"i": [-4, 3]}),
    (S + "y = Gather(s, i)", None, {"i": [-5]}),
    (S + "y = Gather(s, w)", None, {}),
    ("y = Gather(w, i)", None, {"i": [0]}),
    (S + "y = Gather<axis=1>(s, i)", None, {"i": [0]}),
    ("y = Gather<axis=1>(m, i)", ["2", "1", "4", "3"], {"m": [[1, 2], [3, 4]], "i": [1, 0]}),
    ("y = Gather<axis=-2>(m, i)", ["3", "4"], {"m": [[1, 2], [3, 4]], "i": [1]}),
    ("y = Transpose(m)", ["1", "4", "2", "5", "3", "6"], {"m": [[1, 2, 3], [4, 5, 6]]}),
    ("y = Transpose<perm=[0,1]>(m)", ["1", "2", "3", "4"], {"m": [[1, 2], [3, 4]]}),
    ("y = Transpose<perm=[0,2]>(m)", None, {"m": [[1, 2], [3, 4]]}),
    ("y = Transpose(w)", None, {}),
    (S + "y = Slice(s, a, b, c, d)", ["8", "H", "3"], {"a": [3], "b": [0], "c": [0], "d": [-1]}),
    (S + "y = Slice(s, a, b, c, d)", ["8", "H", "3"], {"a": [3], "b": [-4], "c": [0], "d": [-1]}),
    (S + "y = Slice(s, a, b, c, d)", ["8", "3"], {"a": [9], "b": [-5], "c": [0], "d": [-2]}),
    (S + "y = Slice(s, a, b, c, d)", None, {"a": [0], "b": [4], "c": [0], "d": [0]}),
    (S + "y = Slice(s, a, b, c)", None, {"a": [0], "b": [4], "c": [1]}),
    (S + "y = Slice(s, a, b, c)", ["N"], {"a": [0], "b": [1], "c": [-1]}),
    (S + "y = Slice(s, a, b, , d)", ["N", "H"], {"a": [0], "b": [4], "d": [2]}),
    ("y = Slice(m, a, b)", ["4"], {"m": [[1, 2], [3, 4]], "a": [1, 1], "b": [2, 2]}),
    ("y = Slice(m, a, b, c)", ["2", "4"], {"m": [[1, 2], [3, 4]], "a": [1], "b": [2], "c": [1]}),
    ("y = Concat<axis=1>(m, m)", ["1", "2", "1", "2", "3", "4", "3", "4"],
     {"m": [[1, 2], [3, 4]]}),
    ("y = Concat<axis=0>(m)", ["1", "2"], {"m": [1, 2]}),
    ("y = Concat<axis=1>(m)", None, {"m": [1, 2]}),
    ("y = Concat<axis=-1>(m, k)", ["1", "2", "5", "3", "4", "6"],
     {"m": [[1, 2], [3, 4]], "k": [[5], [6]]}),
    ("y = Concat<axis=0>(m, k)", None, {"m": [[1, 2], [3, 4]], "k": [[5], [6]]}),
    ("y = Concat<axis=2>(m, m)", None, {"m": [[1, 2], [3, 4]]}),
    ("y = Concat<axis=-3>(m, m)", None, {"m": [[1, 2], [3, 4]]}),
    ("y = Tile(m, k)", ["1", "2", "1", "2"], {"m": [1, 2], "k": [2]}),
    ("y = Tile(m, k)", None, {"m": [1, 2], "k": [2, 1]}),
    ("y = Expand(m, k)", ["1", "1", "2", "2"], {"m": [[1], [2]], "k": [2, 2]}),
    ("y = Expand(w, k)", None, {"k": [1]}),
    ("y = Expand(m, k)", None, {"m": [1, 2], "k": [3]}),
    ("z, y = Split<axis=1, num_outputs=2>(m)", ["2", "4"], {"m": [[1, 2], [3, 4]]}),
    ("y, z = Split<axis=1, num_outputs=2>(m)", ["1", "3"], {"m": [[1, 2], [3, 4]]}),
    ("y, z = Split<axis=-2>(m, k)", ["1", "2"], {"m": [[1, 2], [3, 4]], "k": [1, 1]}),
    ("y, z = Split<axis=2, num_outputs=2>(m)", None, {"m": [[1, 2], [3, 4]]}),
    ("y, z = Split<num_outputs=2>(w)", None, {}),
    ("y, z = Split(m, w)", None, {"m": [1, 2, 3, 4]}),
    # reductions, generators, casts
    (S + "y = ReduceSum(s)", ["H + N + 11"], {}),
    ("y = ReduceSum<keepdims=0>(m, a)", None, {"m": [[1, 2], [3, 4]], "a": [0]}),
    ("y = ReduceProd(m)", ["24"], {"m": [[1, 2], [3, 4]]}),
    ("y = ReduceMin(m)", ["-3"], {"m": [[1, 2], [-3, 4]]}),
    ("y = ReduceSum(m)", None, {"m": np.zeros(0, np.int64)}),
    (S + "t = Where(u, s, w) y = ReduceSum(t)", None, {"u": U}),
    ("y = ReduceSum(w)", None, {}),
    ("y = Range(a, b, c)", ["2", "5", "8"], {"a": 2, "b": 9, "c": 3}),
    ("y = Range(a, b, c)", [], {"a": 9, "b": 2, "c": 3}),
    (S + "b = Gather(s, i) y = Range(a, b, c)", None, {"a": 0, "i": 0, "c": 1}),
    (S + "b = Gather(s, i) y = Range(b, a, c)", None, {"a": 3, "i": 0, "c": 1}),
    ("y = ConstantOfShape<value = int64[1] {7}>(k)", ["7"] * 6, {"k": [2, 3]}),
    ("y = ConstantOfShape<value = bool[1] {1}>(k)", ["1", "1"], {"k": [2]}),
    ("y = ConstantOfShape<value = int64[2] {7, 8}>(k)", None, {"k": [2]}),
    ("y = ConstantOfShape<value = int64[1] {7}>(w)", None, {}),
    ("y = ConstantOfShape<value = int64[1] {7}>(k)", None, {"k": [65]}),
    ("y = Cast<to=9>(k)", ["1", "0", "None", "1"],
     {"k": np.array([0.5, 0, np.nan, -2], np.float32)}),
    ("y = Cast<to=6>(k)", ["0", "-2", "None"], {"k": np.array([0.5, -2.9, np.inf], np.float64)}),
    ("y = Cast<to=7>(k)", ["3", "250"], {"k": np.array([3, 250], np.uint8)}),
    ("y = Cast<to=7>(r)", None, {}),
    ("y = Cast<to=7>(k)", ["1", "0"], {"k": np.array([1, 0], bool)}),
    ("y = Cast<to=6>(k)", [str(2**31 - 1), "None", str(-(2**31)), "None"],
     {"k": [2**31 - 1, 2**31, -(2**31), -(2**31) - 1]}),
    ("y = Add(k, j)", [str(2**63 - 1), "None"], {"k": [2**62, 2**62], "j": [2**62 - 1, 2**62]}),
    ("y = Sub(k, j)", [str(-(2**63)), "None"],
     {"k": [-(2**62), -(2**62)], "j": [2**62, 2**62 + 1]}),
    ("y = Shape<start=1>(x)", ["3", "H", "8"], {}),
    ("y = Shape<end=-2>(x)", ["N", "3"], {}),
    (S + "f = Flatten<axis=0>(s) y = Squeeze(f, k)", ["N", "3", "H", "8"], {"k": [0]}),
    (S + "i = Identity(s) y = Unsqueeze(i, k)", ["N", "3", "H", "8"], {"k": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected", "constants"), CASES)
def test_content(body: str, expected: list[str] | None, constants: dict[str, Any]) -> None:
    found, _ = infer(body, X, **constants)
    assert content(found["y"]) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Slice<starts=[1], ends=[3]>(s)", ["3", "H"]),
        ("y = Slice<starts=[1], ends=[3], axes=[0]>(s)", ["3", "H"]),
        ("y = Slice<starts=[1], ends=[3], axes=[1]>(s)", None),
    ],
)
def test_slices_before_opset_10(body: str, expected: list[str] | None) -> None:
    found, _ = infer(S + body, X, opset=9)
    assert content(found["y"]) == expected


def test_nothing_is_noted_of_floats_nor_of_unknown_shapes() -> None:
    found, _ = infer(
        "y = Add(k, k) z = Shape(v) s = Size(v)", "float[] v", k=np.ones(2, np.float32)
    )
    assert [content(found[name]) for name in "yzs"] == [None, None, None]
