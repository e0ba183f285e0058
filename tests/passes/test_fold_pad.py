"""A Pad folds into the convolution or pooling after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-pad")()
FRAME = np.array([0, 0, 1, 1, 0, 0, 1, 1])
END = np.array([0, 0, 0, 0, 0, 0, 1, 2])
LOWEST = np.float32(-np.inf)


def _pads(pads: Any) -> str:
    return "pads=" + str(tuple(pads)).replace("[", "(")


@pytest.mark.parametrize(
    ("conv", "line", "given"),
    [
        ("Conv(h, w)", "y = Conv(x, w) pads=(1, 1, 1, 1)", {}),
        ("Conv(h, w, b)", "y = Conv(x, w, b) pads=(1, 1, 1, 1)", {}),
        ("Conv(h, w)", "y = Conv(x, w) pads=(0, 0, 1, 2)", {"p": END}),
        ("Conv<pads = [1, 0, 2, 0]>(h, w)", "y = Conv(x, w) pads=(1, 0, 3, 2)", {"p": END}),
        (
            'Conv<auto_pad = "VALID", strides = [2, 2]>(h, w)',
            "y = Conv(x, w) pads=(1, 1, 1, 1) strides=(2, 2)",
            {},
        ),
        (
            'Conv<auto_pad = "NOTSET", dilations = [2, 2]>(h, w)',
            "y = Conv(x, w) dilations=(2, 2) pads=(1, 1, 1, 1)",
            {},
        ),
        (
            "Conv<group = 4>(h, w)",
            "y = Conv(x, w) group=4 pads=(1, 1, 1, 1)",
            {"w": (4, 1, 3, 3), "x": "float[N,4,H,W]"},
        ),
        ("Conv(h, w)", "y = Conv(x, w) pads=(4, 4, 4, 4)", {"p": FRAME * 4}),
        (
            "Conv(h, w)",
            "y = Conv(x, w) pads=(2, 1)",
            {"x": "float[2,4,9]", "w": (4, 4, 3), "p": np.array([0, 0, 2, 0, 0, 1])},
        ),
        ("Conv(h, w)", "y = Conv(x, w) pads=(1, 1, 1, 1)", {"w": "float[4,4,3,3]"}),
        ("Conv(h, w)", "y = Conv(x, w) pads=(1, 1, 1, 1)", {"dtype": "float16"}),
    ],
)
def test_folds_into_a_convolution(conv: str, line: str, given: dict[str, Any]) -> None:
    model = net(f"h = Pad(x, p)  y = {conv}", **{"p": FRAME, **given})
    assert_pass(PASS, model, [line])


@pytest.mark.parametrize(
    ("pad", "opset", "given"),
    [
        ("Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(x)", 7, {}),
        ("Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.0>(x)", 10, {}),
        ('Pad<mode = "constant">(x, p, zero)', 11, {"zero": np.float32(0)}),
        ("Pad(x, p, )", 13, {}),
        ("Pad(x, p, , axes)", 18, {"p": np.ones(4, np.int64), "axes": np.array([2, 3])}),
        ("Pad(x, p, , axes)", 21, {"p": np.ones(4, np.int64), "axes": np.array([-1, -2])}),
    ],
)
def test_folds_in_every_version(pad: str, opset: int, given: dict[str, Any]) -> None:
    if opset >= 11:
        given = {"p": FRAME, **given}
    model = net(f"h = {pad}  y = Conv(h, w)", opset=opset, **given)
    assert_pass(PASS, model, ["y = Conv(x, w) pads=(1, 1, 1, 1)"])


def test_axes_keep_the_side_they_pad() -> None:
    given: dict[str, Any] = {"p": np.array([0, 1, 2, 3]), "axes": np.array([3, 2])}
    model = net("h = Pad(x, p, , axes)  y = Conv(h, w)", opset=18, **given)
    assert_pass(PASS, model, ["y = Conv(x, w) pads=(1, 0, 3, 2)"])


def test_padding_may_come_from_constant_nodes() -> None:
    text = "p = Constant<value_ints = [0, 0, 1, 1, 0, 0, 1, 1]>()  h = Pad(x, p)  y = Conv(h, w)"
    lines = [
        "p = Constant() value_ints=(0, 0, 1, 1, 0, 0, 1, 1)",
        "y = Conv(x, w) pads=(1, 1, 1, 1)",
    ]
    assert_pass(PASS, net(text), lines)


def test_folds_into_several_readers() -> None:
    text = "h = Pad(x, p)  y = Conv(h, w)  z = Conv<strides = [2, 2]>(h, v)"
    lines = ["y = Conv(x, w) pads=(1, 1, 1, 1)", "z = Conv(x, v) pads=(1, 1, 1, 1) strides=(2, 2)"]
    assert_pass(PASS, net(text, p=FRAME, v=(4, 4, 3, 3)), lines)


AVERAGE = "AveragePool<kernel_shape = [3, 3]"


@pytest.mark.parametrize(
    ("pool", "line", "pads"),
    [
        (f"{AVERAGE}>(h)", "count_include_pad=1 kernel_shape=(3, 3) pads=(1, 1, 1, 1)", FRAME),
        (
            f"{AVERAGE}, count_include_pad = 1, pads = [1, 0, 0, 0], strides = [2, 2]>(h)",
            "count_include_pad=1 kernel_shape=(3, 3) pads=(1, 0, 1, 2) strides=(2, 2)",
            END,
        ),
        (
            f'{AVERAGE}, auto_pad = "VALID">(h)',
            "count_include_pad=1 kernel_shape=(3, 3) pads=(0, 0, 1, 2)",
            END,
        ),
    ],
)
def test_folds_into_an_average(pool: str, line: str, pads: Any) -> None:
    model = net(f"h = Pad(x, p)  y = {pool}", p=pads)
    assert_pass(PASS, model, [f"y = AveragePool(x) {line}"])


MAX = "MaxPool<kernel_shape = [3, 3]"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (f"h = Pad(x, p, low)  y = {MAX}>(h)", {"low": LOWEST}),
        (f"h = Pad(x, p, low)  y = {MAX}>(h)", {"low": np.int8(-128), "x": "int8[2,4,8,8]"}),
        (f"h = Pad(x, p)  y = {MAX}>(h)", {"x": "uint8[2,4,8,8]"}),
    ],
)
def test_folds_the_lowest_number_into_a_maximum(text: str, given: dict[str, Any]) -> None:
    model = net(text, p=FRAME, **given)
    assert_pass(PASS, model, ["y = MaxPool(x) kernel_shape=(3, 3) pads=(1, 1, 1, 1)"])


@pytest.mark.parametrize(
    "before", ["r = Relu(x)", "r = Sigmoid(x)", "r = Clip(x, lo)", "r = Softmax(x)"]
)
def test_zeros_below_nonnegative_numbers_fold_into_a_maximum(before: str) -> None:
    given: dict[str, Any] = {"lo": np.float32(0.25)} if "Clip" in before else {}
    model = net(f"{before}  h = Pad(r, p)  y = {MAX}>(h)", p=FRAME, **given)
    lines = [before, "y = MaxPool(r) kernel_shape=(3, 3) pads=(1, 1, 1, 1)"]
    assert_pass(PASS, model, lines)


def test_folds_into_integer_convolutions() -> None:
    given: dict[str, Any] = {"x": "uint8[2,4,8,8]", "p": FRAME}
    weight = np.arange(-72, 72).reshape(4, 4, 3, 3).astype(np.int8)
    text = "h = Pad(x, p, v)  y = ConvInteger(h, w, v)"
    model = net(text, v=np.uint8(7), w=weight, **given)
    assert_pass(PASS, model, ["y = ConvInteger(x, w, v) pads=(1, 1, 1, 1)"])
    model = net("h = Pad(x, p)  y = ConvInteger(h, w)", w=weight, **given)
    assert_pass(PASS, model, ["y = ConvInteger(x, w) pads=(1, 1, 1, 1)"])
    text = "h = Pad(x, p, v)  y = QLinearConv(h, s, v, w, s, k, t, v)"
    scales: dict[str, Any] = {"s": np.float32(0.5), "t": np.float32(20), "k": np.int8(0)}
    model = net(text, v=np.uint8(7), w=weight, **given, **scales)
    line = "y = QLinearConv(x, s, v, w, s, k, t, v) pads=(1, 1, 1, 1)"
    assert_pass(PASS, model, [line])


@pytest.mark.parametrize(
    ("text", "reason", "given"),
    [
        ("h = Pad(x, p)  y = Conv(h, w)  z = Relu(h)", "another reader", {}),
        ('h = Pad<mode = "reflect">(x, p)  y = Conv(h, w)', "a constant", {}),
        ('h = Pad<mode = "edge">(x, p)  y = Conv(h, w)', "a constant", {}),
        ("h = Pad(x, p, one)  y = Conv(h, w)", "another number", {"one": np.float32(1)}),
        ("h = Pad(x, p, one)  y = Conv(h, w)", "not known", {"one": "float[]"}),
        ("h = Pad(x, p)  y = Conv(h, w)", "not known", {"p": "int64[8]"}),
        (
            "h = Pad(x, p)  y = Conv(h, w)",
            "batch or channels",
            {"p": np.array([0, 1, 0, 0, 0, 0, 0, 0]), "w": (4, 5, 3, 3)},
        ),
        (
            "h = Pad(x, p)  y = Conv(h, w)",
            "batch or channels",
            {"p": np.array([0, 0, 0, 0, 1, 0, 0, 0])},
        ),
        ("h = Pad(x, p)  y = Conv(h, w)", "takes elements away", {"p": -FRAME}),
        ('h = Pad(x, p)  y = Conv<auto_pad = "SAME_UPPER">(h, w)', "derives its padding", {}),
        ('h = Pad(x, p)  y = Conv<auto_pad = "SAME_LOWER">(h, w)', "derives its padding", {}),
        (f"h = Pad(x, p, one)  y = {AVERAGE}>(h)", "over zeros", {"one": np.float32(1)}),
        (f"h = Pad(x, p)  y = {AVERAGE}, pads = [1, 0, 0, 0]>(h)", "out of the average", {}),
        (f"h = Pad(x, p)  y = {AVERAGE}, ceil_mode = 1, strides = [2, 2]>(h)", "rounds up", {}),
        (f"h = Pad(x, p)  y = {AVERAGE}>(h)", "nothing but padding", {"p": FRAME * 3}),
        (f"h = Pad(x, p)  y = {MAX}>(h)", "lowest number", {}),
        (f"h = Pad(x, p, low)  y = {MAX}>(h)", "lowest number", {"low": np.float32(-3e38)}),
        (
            f"h = Pad(x, p, low)  y = {MAX}>(h)",
            "nothing but padding",
            {"low": LOWEST, "p": FRAME * 3},
        ),
        (f"h = Pad(x, p, low)  y = {MAX}, dilations = [2, 2]>(h)", "dilated", {"low": LOWEST}),
        (f"h = Pad(x, p, low)  y, i = {MAX}>(h)", "indices", {"low": LOWEST}),
        (f"r = Clip(x, lo)  h = Pad(r, p)  y = {MAX}>(h)", "lowest", {"lo": np.float32(-1)}),
    ],
)
def test_skips(text: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(text, **{"p": FRAME, **given}), None)
    assert reason in ctx.skipped[0][1]


def test_skips_a_graph_output() -> None:
    model = net("h = Pad(x, p)  y = Conv(h, w)", p=FRAME, outputs=["h", "y"])
    ctx = assert_pass(PASS, model, None)
    assert "another reader" in ctx.skipped[0][1]


def test_skips_an_average_before_opset_7() -> None:
    text = f"h = Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(x)  y = {AVERAGE}>(h)"
    ctx = assert_pass(PASS, net(text, opset=6), None, run=False)
    assert "before opset 7" in ctx.skipped[0][1]


def test_skips_another_zero_point() -> None:
    weight = np.ones((4, 4, 3, 3), np.int8)
    text = "h = Pad(x, p)  y = ConvInteger(h, w, v)"
    model = net(text, v=np.uint8(7), w=weight, x="uint8[2,4,8,8]", p=FRAME)
    assert "another number" in assert_pass(PASS, model, None).skipped[0][1]


def test_skips_a_padded_weight_and_other_operators() -> None:
    model = net("h = Pad(w, p)  y = Conv(x, h)", p=FRAME)
    assert "is a weight" in assert_pass(PASS, model, None).skipped[0][1]
    assert not assert_pass(PASS, net("h = Pad(x, p)  y = Relu(h)", p=FRAME), None).skipped
    text = "h = Pad(x, p)  y = ConvTranspose(h, w)"
    assert not assert_pass(PASS, net(text, p=FRAME), None).skipped


def test_skips_a_reader_in_a_branch() -> None:
    text = """h = Pad(x, p)
      y = If(c) <then_branch = t () => (float[N,4,H,W] a) {a = Conv(h, w)},
                 else_branch = e () => (float[N,4,H,W] a) {a = Identity(x)}>"""
    ctx = assert_pass(PASS, net(text, p=FRAME, outputs={"y": "float[N,4,H,W]"}), None)
    assert "another scope" in ctx.skipped[0][1]


def test_folds_inside_a_branch() -> None:
    text = """y = If(c) <then_branch = t () => (float[N,4,H,W] a) {h = Pad(x, p) a = Conv(h, w)},
                 else_branch = e () => (float[N,4,H,W] a) {a = Identity(x)}>"""
    model = net(text, p=FRAME, outputs={"y": "float[N,4,H,W]"})
    line = "y = If(c) else_branch={a = Identity(x)} then_branch={a = Conv(x, w) pads=(1, 1, 1, 1)}"
    assert_pass(PASS, model, [line])
