from __future__ import annotations

import numpy as np
import pytest

from onnxslim.errors import UsageError
from onnxslim.runtime.dims import (
    Description,
    check,
    describe,
    parse_dim,
    parse_input_shape,
    parse_input_value,
    parse_state,
    symbols_of,
)
from onnxslim.runtime.sizes import Dims
from onnxslim.runtime.specs import InputSpec, clean_shape

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)
X = InputSpec("x", F32, ("batch", 3, None, 224))
IDS = InputSpec("ids", I64, ("batch", "seq"))
SR = InputSpec("sr", I64, ())
SPECS = [X, IDS, SR]


def test_parses_the_four_options() -> None:
    found = describe(
        SPECS,
        outputs=["y", "state=n"],
        input_shapes=["x=2,3,64,224"],
        dims=["seq=128"],
        input_values=["sr=16000"],
        states=["state=n=ids"],
    )
    assert found.shapes == {"x": (2, 3, 64, 224)}
    assert found.dims == {"seq": 128, "batch": 2}  # the shape says what batch is
    assert found.values == {"sr": 16000}
    assert found.state == {"state=n": "ids"}


def test_names_may_contain_equals_signs_and_colons() -> None:
    assert parse_input_shape("a=b:0=1,2", ["a=b:0"]) == ("a=b:0", (1, 2))
    assert parse_input_shape("s=", ["s"]) == ("s", ())
    assert parse_dim("seq=0", ["seq"]) == ("seq", 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=16000", 16000),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=word", "word"),
        ("a=1,2,3", (1, 2, 3)),
        ("a=-1e-3", -1e-3),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse_input_value(text, ["a"])[1]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("input_shapes", "x", "no equals sign: write it as NAME=1,3,224,224"),
        ("input_shapes", "y=1", "no input 'y'; the model has 'x', 'ids', 'sr'"),
        ("input_shapes", "x=1,a,3,4", "'a' is no size"),
        ("input_shapes", "x=1,3,-4,224", "'-4' is no size"),
        ("input_shapes", "x=1,3,64", "declares [batch, 3, ?, 224]"),
        ("input_shapes", "x=1,4,64,224", "declares [batch, 3, ?, 224]"),
        ("dims", "sequence=3", "no dimension 'sequence'; the model has 'batch', 'seq'"),
        ("dims", "seq=many", "'many' is no size"),
        ("input_values", "sr=", "has no value"),
        ("input_values", "rate=3", "no input 'rate'"),
        ("states", "z=ids", "no output 'z'; the model has 'y'"),
        ("states", "y=z", "no input 'z'"),
    ],
)
def test_refuses(kind: str, text: str, said: str) -> None:
    options: dict[str, list[str]] = {kind: [text]}
    with pytest.raises(UsageError) as error:
        describe(SPECS, outputs=["y"], **options)
    assert said in str(error.value)


def test_refuses_contradictions() -> None:
    with pytest.raises(UsageError, match="given twice"):
        describe(SPECS, dims=["seq=1", "seq=2"])
    with pytest.raises(UsageError, match="'batch' would be 2 here and 4 elsewhere"):
        describe(SPECS, input_shapes=["x=2,3,64,224"], dims=["batch=4"])
    with pytest.raises(UsageError, match="no named dimension"):
        parse_dim("n=3", [])


def test_state_needs_both_ends_when_the_outputs_are_known() -> None:
    assert parse_state("h1=h", ["h1"], ["h"]) == ("h1", "h")
    assert check(Description(state={"o": "ids"}), SPECS).state == {"o": "ids"}
    with pytest.raises(UsageError, match="no output 'o'"):
        check(Description(state={"o": "ids"}), SPECS, ["y"])


def test_placeholders_are_anonymous() -> None:
    assert clean_shape([-1, "?", "", "N", 0, None]) == (None, None, None, "N", 0, None)
    assert clean_shape(None) is None
    assert symbols_of([X, IDS]) == ["batch", "seq"]


def test_first_guesses() -> None:
    specs = [
        InputSpec("nchw", F32, (None, None, None, None)),
        InputSpec("nhwc", F32, ("N", "H", "W", 3)),
        InputSpec("state", F32, (2, None, 128)),
        InputSpec("feats", F32, (1, None, 80)),
        InputSpec("mel", F32, ("n_utt", "frames", None)),
        InputSpec("wave", F32, ("T",)),
        InputSpec("flat", F32, (0, 4)),
    ]
    dims = Dims(specs, Description(), {})
    shapes = dims.shapes(dims.sizes())
    assert shapes == {
        "nchw": (1, 3, 64, 64),
        "nhwc": (1, 64, 64, 3),
        "state": (2, 1, 128),
        "feats": (1, 16, 80),
        "mel": (1, 16, 80),
        "wave": (16,),
        "flat": (0, 4),
    }
    assert dims.free()[:2] == ["nchw[0]", "nchw[1]"]


def test_derived_symbols_follow() -> None:
    specs = [
        InputSpec("ids", I64, ("batch", "seq")),
        InputSpec("past", F32, ("batch", 4, "past_len", 16)),
        InputSpec("mask", I64, ("batch", "past_len + seq")),
        InputSpec("half", I64, ("2*(seq//2) - 1",)),
        InputSpec("odd", I64, ("batch-size",)),
    ]
    dims = Dims(specs, Description(dims={"past_len": 5}), {})
    shapes = dims.shapes({**dims.sizes(), "seq": 8})
    assert shapes["mask"] == (1, 13)
    assert shapes["half"] == (7,)
    assert shapes["odd"] == (1,)  # "size" is no symbol, so this is a name
    assert dims.free() == ["batch", "seq", "batch-size"]


def test_user_sizes_are_not_free() -> None:
    given = check(Description(shapes={"x": (4, 3, 32, 224)}), SPECS)
    dims = Dims(SPECS, given, {})
    assert dims.free() == ["seq"]
    assert dims.shapes(dims.sizes())["ids"] == (4, 16)


def test_unknown_rank_takes_the_given_shape() -> None:
    spec = InputSpec("x", F32, None)
    given = check(Description(shapes={"x": (1, 2, 3)}), [spec])
    assert Dims([spec], given, {}).shapes({}) == {"x": (1, 2, 3)}
    assert len(Dims([spec], Description(), {}).declared("x")) == 2
