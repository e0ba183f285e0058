"""Shape inputs that follow from the data become constants; what is not certain stays."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-shape")()
STRICT = get_pass("fold-shape")(empty_batch=True)  # type: ignore[call-arg]


def ints(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


def dim(name: str, axis: int, of: str = "x") -> str:
    """Nodes that give one dimension as a tensor of one element."""
    return f"{name}s = Shape({of})  {name} = Gather({name}s, i{axis})"


def initializer(ctx: object, name: str) -> list[int]:
    array = ctx.model.graph.initializers[name].const_value.numpy()  # type: ignore[attr-defined]
    return [int(n) for n in array]


@pytest.mark.parametrize(
    ("x", "parts", "result", "expected"),
    [
        ("float[N,8,4]", "d0, k32", "float[N,32]", [0, 32]),
        ("float[N,S,64]", "d0, d1, k4, k16", "float[N,S,4,16]", [0, 0, 4, 16]),
        ("float[N,S,64]", "d0, d1, k4, m1", "float[N,S,4,16]", [0, 0, 4, 16]),
        ("float[N,S,4,16]", "d0, d1, m1", "float[N,S,64]", [0, 0, 64]),
        ("float[3,N,64]", "k3, d1, k64", "float[3,N,64]", [3, 0, 64]),
        ("float[N,8,12,12]", "d0, k8, k144", "float[N,8,144]", [0, 8, 144]),
        ("float[N,6]", "k2, d0, k3", "float[2,N,3]", [2, -1, 3]),
    ],
)
def test_reshape(x: str, parts: str, result: str, expected: list[int]) -> None:
    consts = {f"k{n}": ints(n) for n in (2, 3, 4, 8, 16, 32, 64, 144)}
    axes = {f"i{n}": ints(n) for n in (0, 1)}
    body = f"{dim('d0', 0)}  {dim('d1', 1)}  c = Concat<axis = 0>({parts})  y = Reshape(x, c)"
    used = {k: v for k, v in {**consts, "m1": ints(-1)}.items() if k in parts.split(", ")}
    ctx = assert_pass(
        PASS, net(body, outputs={"y": result}, x=x, **axes, **used), unread_chain(body)
    )
    assert initializer(ctx, "c_s1") == expected


def unread_chain(body: str) -> list[str]:
    """What is left: Gathers whose result the Concat did not read stay dead until they are swept."""
    kept = []
    for name in ("d0", "d1"):
        if f"({name}," not in body and f" {name}," not in body and f" {name})" not in body:
            axis = name[1]
            kept += [f"{name}s = Shape(x)", f"{name} = Gather({name}s, i{axis})"]
    return [*kept, "y = Reshape(x, c_s1)"]


def test_reshape_by_a_product() -> None:
    sizes = f"{dim('a', 0)}  {dim('b', 1)}  p = Mul(a, b)"
    body = f"{sizes}  c = Concat<axis = 0>(p, k)  y = Reshape(x, c)"
    model = net(
        body, outputs={"y": "float[M,6]"}, x="float[N,S,6]", i0=ints(0), i1=ints(1), k=ints(6)
    )
    ctx = assert_pass(PASS, model, ["y = Reshape(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [-1, 6]


SPATIAL = (
    f"{dim('n', 0)}  {dim('h', 2)}  {dim('w', 3)}  p = Mul(h, w)  "
    "c = Concat<axis = 0>(n, k, p)  y = Reshape(x, c)"
)
NCHW = {"i0": ints(0), "i2": ints(2), "i3": ints(3), "k": ints(5)}


def test_a_batch_is_not_empty() -> None:
    model = net(SPATIAL, outputs={"y": "float[N,5,P]"}, x="float[N,5,H,W]", **NCHW)
    ctx = assert_pass(PASS, model, ["y = Reshape(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [0, 5, -1]


def test_an_empty_batch_is_kept_when_asked() -> None:
    model = net(SPATIAL, outputs={"y": "float[N,5,P]"}, x="float[N,5,H,W]", **NCHW)
    assert "empty" in assert_pass(STRICT, model, None).skipped[0][1]


def test_another_axis_may_be_empty() -> None:
    body = (
        f"{dim('h', 1)}  {dim('w', 2)}  {dim('v', 3)}  p = Mul(w, v)  "
        "c = Concat<axis = 0>(k, h, p)  y = Reshape(x, c)"
    )
    names = {"i1": ints(1), "i2": ints(2), "i3": ints(3), "k": ints(2)}
    model = net(body, outputs={"y": "float[2,B,P]"}, x="float[2,B,H,W]", **names)
    assert "empty" in assert_pass(PASS, model, None).skipped[0][1]


def test_a_minus_one_that_failed_before_may_fail_again() -> None:
    body = f"{dim('h', 1)}  c = Concat<axis = 0>(k, h, m)  y = Reshape(x, c)"
    names = {"i1": ints(1), "k": ints(2), "m": ints(-1)}
    model = net(body, outputs={"y": "float[2,B,P]"}, x="float[2,B,H,W]", **names)
    ctx = assert_pass(PASS, model, ["y = Reshape(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [2, 0, -1]


def test_keeps_two_unknown_sizes() -> None:
    body = f"{dim('a', 0)}  {dim('b', 1)}  c = Concat<axis = 0>(b, a)  y = Reshape(x, c)"
    model = net(body, outputs={"y": "float[S,N]"}, x="float[N,S]", i0=ints(0), i1=ints(1))
    assert "two sizes" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_a_shape_that_the_caller_gives() -> None:
    model = net("y = Reshape(x, s)", outputs={"y": "float[A]"}, x="float[2,3]", s="int64[1]")
    assert_pass(PASS, model, None, run=False)


def test_allowzero_goes_with_the_copied_size() -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(n, k)  y = Reshape<allowzero = 1>(x, c)"
    model = net(body, outputs={"y": "float[N,6]"}, x="float[N,2,3]", i0=ints(0), k=ints(6))
    ctx = assert_pass(PASS, model, ["y = Reshape(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [0, 6]


def test_keeps_a_literal_zero() -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(z, n)  y = Reshape<allowzero = 1>(x, c)"
    model = net(body, outputs={"y": "float[0,N]"}, x="float[N,0,3]", i0=ints(0), z=ints(0))
    assert_pass(PASS, model, None)


def test_result_is_a_graph_output_and_has_other_readers() -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(n, k)  y = Reshape(x, c)  z = Neg(c)"
    model = net(
        body, outputs={"y": "float[N,6]", "z": "int64[2]"}, x="float[N,2,3]", i0=ints(0), k=ints(6)
    )
    lines = [
        "ns = Shape(x)",
        "n = Gather(ns, i0)",
        "c = Concat(n, k) axis=0",
        "y = Reshape(x, c_s1)",
        "z = Neg(c)",
    ]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_opsets(opset: int) -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(n, k)  y = Reshape(x, c)"
    model = net(
        body, opset=opset, outputs={"y": "float[N,6]"}, x="float[N,2,3]", i0=ints(0), k=ints(6)
    )
    assert_pass(PASS, model, ["y = Reshape(x, c_s1)"])


def test_inside_a_subgraph() -> None:
    body = f"{dim('n', 0)}  c1 = Concat<axis = 0>(n, k)  o1 = Reshape(x, c1)"
    then = f"then_branch = t () => (float[] o1) {{ {body} }}"
    other = "else_branch = e () => (float[] o2) { o2 = Flatten(x) }"
    model = net(
        f"y = If<{then}, {other}>(c)",
        outputs={"y": "float[N,6]"},
        x="float[N,2,3]",
        i0=ints(0),
        k=ints(6),
    )
    lines = ["y = If(c) else_branch={o2 = Flatten(x)} then_branch={o1 = Reshape(x, c1_s1)}"]
    assert_pass(PASS, model, lines)


# -------------------------------------------------------------------- Expand


def test_expand() -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(n, k, k)  y = Expand(x, c)"
    model = net(body, outputs={"y": "float[N,4,4]"}, x="float[N,1,4]", i0=ints(0), k=ints(4))
    ctx = assert_pass(PASS, model, ["y = Expand(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [1, 4, 1]


def test_expand_that_adds_axes() -> None:
    body = f"{dim('n', 0)}  c = Concat<axis = 0>(k, n, k)  y = Expand(x, c)"
    model = net(body, outputs={"y": "float[4,N,4]"}, x="float[N,1]", i0=ints(0), k=ints(4))
    ctx = assert_pass(PASS, model, ["y = Expand(x, c_s1)"])
    assert initializer(ctx, "c_s1") == [4, 1, 4]


def test_keeps_an_expand_to_a_dynamic_size() -> None:
    body = f"{dim('n', 0, 'z')}  c = Concat<axis = 0>(n, k)  y = Expand(x, c)"
    model = net(
        body, outputs={"y": "float[N,4]"}, x="float[1,4]", z="float[N]", i0=ints(0), k=ints(4)
    )
    assert_pass(PASS, model, None)


# -------------------------------------------------------------------- Slice


@pytest.mark.parametrize(
    ("end", "expected"),
    [("n", [np.iinfo(np.int64).max]), ("p", [np.iinfo(np.int64).max])],
)
def test_slice_to_the_end(end: str, expected: list[int]) -> None:
    body = f"{dim('n', 1)}  p = Add(n, one)  y = Slice(x, one, {end}, one)"
    model = net(body, outputs={"y": "float[2,M]"}, x="float[2,N]", i1=ints(1), one=ints(1))
    rest = ["p = Add(n, one)"] if end == "n" else []
    lines = ["ns = Shape(x)", "n = Gather(ns, i1)", *rest] if rest else []
    ctx = assert_pass(PASS, model, [*lines, f"y = Slice(x, one, {end}_s1, one)"])
    assert initializer(ctx, f"{end}_s1") == expected


def test_keeps_a_slice_whose_bound_may_be_negative() -> None:
    body = f"{dim('n', 1)}  p = Sub(n, one)  y = Slice(x, zero, p, one)"
    model = net(
        body, outputs={"y": "float[2,M]"}, x="float[2,N]", i1=ints(1), one=ints(1), zero=ints(0)
    )
    assert_pass(PASS, model, None)


def test_slice_counts_from_the_end_when_the_bound_is_not_negative() -> None:
    first = "a = Concat<axis = 1>(x, x3)"
    body = f"{first}  {dim('n', 1, 'a')}  p = Sub(n, one)  y = Slice(a, zero, p, one)"
    model = net(
        body,
        outputs={"y": "float[2,M]"},
        x="float[2,N]",
        x3="float[2,3]",
        i1=ints(1),
        one=ints(1),
        zero=ints(0),
    )
    ctx = assert_pass(PASS, model, ["a = Concat(x, x3) axis=1", "y = Slice(a, zero, p_s1, one)"])
    assert initializer(ctx, "p_s1") == [-1]


def test_keeps_a_slice_with_steps() -> None:
    body = f"{dim('n', 1)}  y = Slice(x, one, n, one, two)"
    model = net(
        body, outputs={"y": "float[2,M]"}, x="float[2,N]", i1=ints(1), one=ints(1), two=ints(2)
    )
    assert_pass(PASS, model, None)


def test_keeps_a_slice_by_the_size_of_another_tensor() -> None:
    body = f"{dim('n', 1, 'z')}  y = Slice(x, zero, n, one)"
    model = net(
        body,
        outputs={"y": "float[2,M]"},
        x="float[2,8]",
        z="float[2,N]",
        i1=ints(1),
        one=ints(1),
        zero=ints(0),
    )
    assert_pass(PASS, model, None)
