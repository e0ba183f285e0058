from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxslim.errors import DataError, UsageError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.feeds import feed_back, random_feed, zeros
from onnxslim.runtime.hints import hints_of
from onnxslim.runtime.specs import (
    InputSpec,
    kind_of,
    output_names,
    specs_from,
    specs_of,
)

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


HEAD = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'


def model_of(text: str, **weights: object) -> ir.Model:
    """A model from text, with initializers: arrays, or shapes of zeros."""
    proto = onnx.parser.parse_model(HEAD + text)
    for name, given in weights.items():
        array = np.zeros(given, np.float32) if isinstance(given, tuple) else np.asarray(given)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


TABLES = {"table": (7, 2), "big": (40, 2), "one": [1], "two": 2}
EMBED = """
g (int64[batch, seq] ids, int64[batch, seq] other, int64[N] third)
=> (float y, float a, float b)
{
  u = Unsqueeze(ids, one)
  c = Cast<to = 6>(u)
  s = Squeeze(c, one)
  y = Gather(table, s)
  moved = Add(other, two)
  a = Gather(big, moved)
  depth = Constant<value = int64 {5}>()
  off_on = Constant<value = float[2] {0, 1}>()
  b = OneHot(third, depth, off_on)
}
"""


def test_specs_leave_initializers_out() -> None:
    model = model_of(
        "g (float[2, N, ?] x, string s, float[1] w) => (float y)"
        " <float[1] w = {1}> { y = Add(x, w) }"
    )
    assert specs_of(model) == [
        InputSpec("x", F32, (2, "N", None)),
        InputSpec("s", "string", ()),
    ]
    assert output_names(model) == ["y"]
    assert specs_from(specs_of(model)) == specs_of(model)


def test_specs_know_what_cannot_be_fed() -> None:
    model = model_of("g (seq(float[2]) x) => (int64 y) { y = SequenceLength(x) }")
    (spec,) = specs_of(model)
    assert spec.dtype == "sequence"
    assert not spec.feedable
    with pytest.raises(DataError, match="'x' is a sequence"):
        random_feed([spec])


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (np.float16, "float"),
        (ml_dtypes.bfloat16, "float"),
        (ml_dtypes.float8_e4m3fn, "float"),
        (ml_dtypes.int4, "int"),
        (ml_dtypes.uint4, "int"),
        (np.uint8, "int"),
        (np.bool_, "bool"),
        (np.complex64, "complex"),
        ("U4", "string"),
    ],
)
def test_kinds(dtype: object, kind: str) -> None:
    assert kind_of(np.dtype(dtype)) == kind  # type: ignore[call-overload]


def test_indices_stay_below_their_tables() -> None:
    model = model_of(EMBED, **TABLES)
    found = hints_of(model)
    assert found["ids"].bound == 7
    assert found["other"].bound == 38  # two is added on the way
    assert found["third"].bound == 5
    feed = random_feed(specs_of(model), model=model, sizes={"seq": 500, "N": 100})
    assert feed["ids"].max() < 7 <= feed["other"].max() < 38
    assert feed["third"].max() < 5


def test_indices_are_seen_through_loops_and_functions() -> None:
    text = """
    g (int64[N] a, int64[N] b, int64 n, bool go) => (float y, float z) {
      y = own.look(a, table)
      last, z = Loop(n, go, b) <body = body (int64 i, bool c, int64[N] v)
        => (bool c2, int64[N] v2, float[N, 2] e)
        { c2 = Identity(c)  v2 = Identity(v)  e = Gather(t2, v) }>
    }
    <domain: "own", opset_import: ["" : 17]> look (idx, tab) => (out) { out = Gather(tab, idx) }
    """
    found = hints_of(model_of(text, table=(6, 2), t2=(9, 2)))
    assert found["b"].bound == 9
    assert found["a"].bound is None  # the table is an argument: nothing is known, nothing breaks


@pytest.mark.parametrize(
    ("line", "weight", "shape"),
    [
        ("Conv<group = 2>(x, w)", (4, 5, 3), (1, 10, 80)),
        ("ConvTranspose(x, w)", (4, 5, 3), (1, 4, 80)),
        ("Gemm<transB = 1>(x, w)", (4, 9), (1, 9)),
        ("MatMul(x, w)", (9, 4), (1, 9)),
        ("LSTM(x, w, w)", (1, 8, 6), (1, 16, 6)),
    ],
)
def test_layers_say_what_they_want(
    line: str, weight: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    rank = ", ".join("?" * len(shape))
    model = model_of(f"g (float[{rank}] h) => (float y) {{ x = Relu(h)  y = {line} }}", w=weight)
    assert random_feed(specs_of(model), model=model)["h"].shape == shape


def test_the_rank_comes_from_the_layer() -> None:
    model = model_of("g (float h) => (float y) { y = Conv(h, w) }", w=(4, 3, 3, 3))
    feed = random_feed([InputSpec("h", F32, None)], model=model)
    assert feed["h"].shape == (1, 3, 64, 64)


def test_names_say_what_integers_mean() -> None:
    names = ["attention_mask", "token_type_ids", "position_ids", "sr", "x_lengths", "ids"]
    shapes: dict[str, tuple[int | str | None, ...]] = {n: ("b", "seq") for n in names}
    shapes |= {"sr": (), "x_lengths": ("b",)}
    feed = random_feed([InputSpec(n, I64, shapes[n]) for n in names])
    assert np.all(feed["attention_mask"] == 1)
    assert not feed["token_type_ids"].any()
    assert np.array_equal(feed["position_ids"], np.arange(16)[None])
    assert feed["sr"] == 16000
    assert np.array_equal(feed["x_lengths"], [16])
    assert len(np.unique(feed["ids"])) > 1


@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        np.float64,
        ml_dtypes.bfloat16,
        np.int8,
        np.uint8,
        np.uint64,
        ml_dtypes.int4,
        np.complex64,
    ],
)
def test_every_type_can_be_drawn(dtype: type) -> None:
    array = random_feed([InputSpec("x", np.dtype(dtype), (4, 50))])["x"]
    assert array.dtype == np.dtype(dtype)
    assert array.shape == (4, 50)
    assert len({str(v) for v in array.flat}) > 3


def test_strings_and_booleans() -> None:
    feed = random_feed([InputSpec("s", "string", (2, 9)), InputSpec("b", np.dtype(bool), ("n",))])
    assert feed["s"].dtype == object
    assert all(isinstance(v, str) for v in feed["s"].flat)
    assert feed["b"].all()


def test_the_seed_and_the_name_decide() -> None:
    specs = [InputSpec("a", F32, (9,)), InputSpec("b", F32, (9,))]
    one, two = random_feed(specs, 1), random_feed(specs[::-1], 1)
    assert np.array_equal(one["a"], two["a"])
    assert not np.array_equal(one["a"], one["b"])
    assert not np.array_equal(one["a"], random_feed(specs, 2)["a"])
    assert one["a"].min() < 0 < one["a"].max()


def test_values_win() -> None:
    specs = [InputSpec("a", F32, (2, 3)), InputSpec("s", "string", (2,))]
    feed = random_feed(specs, description=Description(values={"a": (1, 2, 3), "s": "w"}))
    assert np.array_equal(feed["a"], [[1, 2, 3], [1, 2, 3]])
    assert feed["a"].dtype == F32
    assert list(feed["s"]) == ["w", "w"]


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        (I64, 0.5, "0.5 does not fit"),
        (F32, "word", "'word' does not fit"),
        (F32, (1, 2), "2 values for input 'a' do not fill"),
        (np.dtype(np.int8), 300, "300 is out of range"),
        (np.dtype(np.uint8), -1, "-1 is out of range"),
    ],
)
def test_values_that_do_not_fit(dtype: np.dtype[Any], value: Any, said: str) -> None:
    given = Description(values={"a": value})
    with pytest.raises(UsageError, match=said):
        random_feed([InputSpec("a", dtype, (2, 3))], description=given)


def test_nothing_huge_is_allocated() -> None:
    with pytest.raises(DataError, match="--input-shape or --dim"):
        random_feed([InputSpec("x", F32, (1 << 40, 1 << 40))])


def test_states() -> None:
    spec = InputSpec("h", F32, (2, 1))
    start = {"x": np.ones(1), "h": zeros(spec, (2, 1))}
    assert not start["h"].any()
    after = feed_back(start, {"hn": np.full((2, 1), 3.0), "y": np.ones(1)}, {"hn": "h"})
    assert after["h"][0, 0] == 3
    assert after["x"] is start["x"]
    assert not start["h"].any()
