from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.facts import content, infer, shape

X = "float[N,3,H,8] x"

CASES: list[tuple[str, list[str] | None, dict[str, Any]]] = [
    ("y = Shape(x)", ["N", "3", "H", "8"], {}),
    ("y = Shape<start=-3, end=-1>(x)", ["3", "H"], {}),
    ("y = Shape<start=3, end=1>(x)", [], {}),
    ("y = Size(x)", ["24*H*N"], {}),
    ("s = Shape(x) y = Gather(s, i)", ["8", "N"], {"i": [-1, 0]}),
    ("s = Shape(x) y = Gather(s, i)", None, {"i": [4]}),
    ("s = Shape(x) y = Slice(s, a, b)", ["3", "H"], {"a": [1], "b": [-1]}),
    ("s = Shape(x) y = Slice(s, a, b, c, d)", ["N"],
     {"a": [-9], "b": [-9], "c": [0], "d": [-1]}),
    ("s = Shape(x) y = Slice(s, a, b, c, d)", None,
     {"a": [-1], "b": [2**31 - 1], "c": [0], "d": [-1]}),
    ("s = Shape(x) y = Slice(s, a, b, c, d)", ["8", "H", "3", "N"],
     {"a": [-1], "b": [-9], "c": [0], "d": [-1]}),
    ("s = Shape(x) t = Gather(s, i) u = Unsqueeze(t, z) y = Concat<axis=0>(m, u)", ["-1", "N"],
     {"i": 0, "z": [0], "m": [-1]}),
    ("s = Shape(x) y = Cast<to=6>(s)", ["N", "3", "H", "8"], {}),
    ("s = Shape(x) y = Mul(s, k)", ["2*N", "6", "2*H", "16"], {"k": 2}),
    ("s = Shape(x) y = Div(s, k)", ["floordiv(N, 2)", "1", "floordiv(H, 2)", "4"], {"k": 2}),
    ("s = Shape(x) y = Mod(s, k)", ["N - 2*floordiv(N, 2)", "1", "H - 2*floordiv(H, 2)", "0"],
     {"k": 2}),
    ("y = Div(a, b)", ["-3", "3", "-3", "None"], {"a": [-7, -7, 7, 1], "b": [2, -2, -2, 0]}),
    ("y = Mod(a, b)", ["1", "-1", "1"], {"a": [-7, 7, 7], "b": [2, -2, 2]}),
    ("y = Mod<fmod=1>(a, b)", ["-1", "1", "1"], {"a": [-7, 7, 7], "b": [2, -2, 2]}),
    ("s = Shape(x) y = Sub(s, k)", ["N - 1", "2", "H - 1", "7"], {"k": 1}),
    ("s = Shape(x) y = Min(s, k)", ["N - max(N - 4, 0)", "3", "H - max(H - 4, 0)", "4"],
     {"k": 4}),
    ("s = Shape(x) y = Equal(s, k)", ["None", "1", "None", "0"], {"k": 3}),
    ("s = Shape(x) y = Equal(s, k)", ["0", "0", "0", "0"], {"k": -1}),
    ("s = Shape(x) e = Equal(s, k) y = Where(e, o, s)", ["N", "3", "H", "8"],
     {"k": -1, "o": [1]}),
    ("s = Shape(x) y = Less(s, k)", ["None", "1", "None", "0"], {"k": 8}),
    ("s = Shape(x) y = GreaterOrEqual(s, k)", ["1", "1", "1", "1"], {"k": 0}),
    ("s = Shape(x) e = Equal(s, k) y = Not(e)", ["None", "0", "None", "1"], {"k": 3}),
    ("s = Shape(x) e = Equal(s, k) g = Less(s, z) y = And(e, g)", ["0", "0", "0", "0"],
     {"k": 3, "z": 0}),
    ("s = Shape(x) e = Equal(s, k) g = Equal(s, s) y = Or(e, g)", ["1", "1", "1", "1"], {"k": 3}),
    ("s = Shape(x) e = Equal(s, k) g = Less(s, m) y = And(e, g)", ["None", "1", "None", "0"],
     {"k": 3, "m": 8}),
    ("s = Shape(x) e = Equal(s, k) g = Less(s, m) y = Or(e, g)", ["None", "1", "None", "0"],
     {"k": 3, "m": 8}),
    ("s = Shape(x) e = Equal(s, k) g = Less(s, z) y = Or(e, g)", ["None", "1", "None", "0"],
     {"k": 3, "z": 0}),
    ("s = Shape(x) y = ReduceProd<keepdims=0>(s)", ["24*H*N"], {}),
    ("y = ReduceMax(a)", ["9"], {"a": [3, 9, 4]}),
    ("y = ReduceMin<keepdims=0>(a)", ["3"], {"a": [3, 9, 4]}),
    ("y = ConstantOfShape<value=int64[1] {7}>(s)", ["7", "7"], {"s": [2]}),
    ("y = Range(a, b, c)", ["5", "3", "1"], {"a": 5, "b": 0, "c": -2}),
    ("s = Shape(x) a, y = Split<num_outputs=2>(s)", ["H", "8"], {}),
    ("s = Shape(x) r = Reshape(s, k) t = Transpose(r) y = Reshape(t, m)", ["N", "H", "3", "8"],
     {"k": [-1, 2], "m": [-1]}),
    ("f = NonZero(x) g = Shape(f) h = ConstantOfShape<value = int64[1] {1}>(g) r = Reshape(h, g)"
     " c = Cast<to=7>(r) y = Expand(z, c)", None, {"z": [5]}),
    ("s = Shape(x) y = Expand(z, s2)", ["5", "5", "5"], {"z": [5], "s2": [3]}),
    ("s = Size(x) u = Unsqueeze(s, z) y = Tile(u, r)", ["24*H*N", "24*H*N"], {"z": [0], "r": [2]}),
    ("y = Mul(a, b)", None, {"a": [2**62], "b": [4]}),
    ("y = Cast<to=6>(a)", ["7", "None"], {"a": [7, 2**40]}),
    ("y = Cast<to=9>(a)", ["0", "1"], {"a": [0, 5]}),
    ("y = Cast<to=7>(a)", ["1", "-1", "None"], {"a": np.array([1.7, -1.7, np.nan], np.float32)}),
    ("y = Abs(a)", ["3", "4"], {"a": [-3, 4]}),
    ("y = Neg(a)", ["3", "-4"], {"a": [-3, 4]}),
    ("y = Add(a, a)", [str(2 * i) for i in range(64)], {"a": np.arange(64)}),
    ("y = Add(a, a)", None, {"a": np.arange(65)}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected", "constants"), CASES)
def test_content(body: str, expected: list[str] | None, constants: dict[str, Any]) -> None:
    found, problems = infer(body, X, **constants)
    if "i" not in constants or constants["i"] != [4]:
        assert problems == []
    assert content(found["y"]) == expected


def test_unknown_elements_beside_known_ones() -> None:
    found, _ = infer("s = Shape(x) y = Concat<axis=0>(k, s)", X + ", int64[2] k")
    assert content(found["y"]) == ["None", "None", "N", "3", "H", "8"]


def test_a_shape_made_of_symbols_and_unknowns() -> None:
    body = "s = Shape(x) a = Slice(s, o, t) t2 = Concat<axis=0>(a, k) y = Reshape(x, t2)"
    found, problems = infer(body, X + ", int64[1] k", o=[0], t=[2])
    assert shape(found["y"]) == "float[N,3,_d0]" and problems == []


def test_two_unknown_dimensions_through_a_reshape() -> None:
    body = """
        s = Shape(x)  n = Gather(s, zero)  h = Gather(s, two)  p = Mul(n, h)
        p1 = Unsqueeze(p, ax)  t = Concat<axis=0>(p1, m)  y = Reshape(x, t)
    """
    found, problems = infer(body, X, zero=0, two=2, ax=[0], m=[-1])
    assert shape(found["y"]) == "float[H*N,24]" and problems == []


def test_expand_of_a_computed_mask_shape() -> None:
    body = """
        s = Shape(x)  e = Equal(s, minus)  o = ConstantOfShape<value=int64[1] {1}>(four)
        t = Where(e, o, s)  y = Expand(z, t)
    """
    found, _ = infer(body, X + ", float[1,1,1,1] z", minus=[-1], four=[4])
    assert shape(found["y"]) == "float[N,3,H,8]"
