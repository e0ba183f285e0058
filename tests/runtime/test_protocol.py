"""Messages between parent and child: what goes in comes out, garbage does not."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from onnxslim.errors import WorkerError
from onnxslim.runtime import protocol
from onnxslim.runtime.protocol import PREFIX, RawTensor, one_line


def there_and_back(values: list[Any], folder: Path) -> list[Any]:
    names = (f"t{n}" for n in itertools.count())
    message = protocol.encode({"op": "test"}, values, folder, lambda: next(names))
    header, payload = protocol.sizes(message[: PREFIX.size])
    rest = message[PREFIX.size :]
    assert len(rest) == header + payload
    head, back = protocol.decode(rest[:header], rest[header:], folder)
    assert head["op"] == "test"
    return back


@given(
    npst.arrays(
        npst.boolean_dtypes() | npst.integer_dtypes() | npst.floating_dtypes(sizes=(16, 32, 64)),
        npst.array_shapes(min_dims=0, min_side=0, max_side=4),
    )
)
def test_arrays(array: np.ndarray) -> None:
    (back,) = there_and_back([array], Path("/nonexistent"))
    assert back.dtype == array.dtype.newbyteorder("=") and back.shape == array.shape
    assert back.tobytes() == array.astype(back.dtype).tobytes() and back.flags.writeable


def test_large_values_share_one_file_that_is_gone(tmp_path: Path) -> None:
    big = np.arange(100_000, dtype=np.float32).reshape(100, 1000)
    values: list[Any] = [big, big.T, big[::2, 1::3], np.float64(2.5), b"raw", None]
    back = there_and_back(values, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for given_, got in zip(values[:4], back[:4], strict=True):
        assert np.array_equal(given_, got)
    assert back[4:] == [b"raw", None]
    back[0][0, 0] = 5  # a private copy
    assert back[1][0, 0] == 0


def test_sequences_maps_and_strings(tmp_path: Path) -> None:
    value = [{"a": 1.5, "é": 2.5}, [np.array([1, 2])], {1: np.array([3])}]
    first, second, third = there_and_back(value, tmp_path)
    assert first == {"a": 1.5, "é": 2.5} and second[0].tolist() == [1, 2] and list(third) == [1]
    texts = np.array([["a", b"b\xff"], ["", "\u2028\n"]], object)
    assert there_and_back([texts], tmp_path)[0].tolist() == [["a", "b\ufffd"], ["", "\u2028\n"]]


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2fnuz"])
def test_types_that_numpy_lacks(tmp_path: Path, name: str) -> None:
    array = np.arange(4).astype(getattr(ml_dtypes, name)).reshape(2, 2)
    (back,) = there_and_back([array], tmp_path)
    assert isinstance(back, RawTensor) and np.array_equal(back.array(), array)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("int4", b"\x21\xfd", [1, 2, -3]),
        ("uint4", b"\x21\xfd", [1, 2, 13]),
        ("int2", b"\xe4", [0, 1, -2]),
        ("uint2", b"\xe4", [0, 1, 2]),
        ("float4_e2m1fn", b"\x21\x0d", [0.5, 1, -3]),
    ],
)
def test_packed_types(name: str, data: bytes, expected: list[float]) -> None:
    array = RawTensor(name, (3,), data).array()
    assert array.dtype == getattr(ml_dtypes, name)
    assert array.astype(np.float32).tolist() == expected


@pytest.mark.parametrize("kind", ["datetime64[s]", "int4"])
def test_what_cannot_be_sent(tmp_path: Path, kind: str) -> None:
    array = np.zeros(2, getattr(ml_dtypes, kind, kind))
    with pytest.raises(ValueError, match="cannot be given"):
        there_and_back([array], tmp_path)


TENSOR = {"t": "tensor", "dtype": "float32", "shape": [2], "at": 0, "n": 8}


@pytest.mark.parametrize(
    "head",
    [
        [],
        {},
        {"values": [5]},
        {"values": [{"t": "pickle", "at": 0, "n": 8}]},
        {"values": [{**TENSOR, "n": 9}]},
        {"values": [{**TENSOR, "at": -8}]},
        {"values": [{**TENSOR, "at": 8}]},
        {"values": [{**TENSOR, "shape": [3]}]},
        {"values": [{**TENSOR, "shape": [-1, -2]}]},
        {"values": [{**TENSOR, "shape": [2.0]}]},
        {"values": [{**TENSOR, "dtype": "object"}]},
        {"values": [TENSOR], "file": "../etc/passwd"},
        {"values": [TENSOR], "file": 7},
    ],
)
def test_garbage_is_refused(tmp_path: Path, head: Any) -> None:
    with pytest.raises(WorkerError, match="no message"):
        protocol.decode(json.dumps(head).encode(), bytes(8), tmp_path)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100])
def test_no_json_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(WorkerError, match="no message"):
        protocol.decode(text, b"", tmp_path)


@given(st.binary(min_size=PREFIX.size, max_size=PREFIX.size))
def test_random_prefixes_are_refused(prefix: bytes) -> None:
    with pytest.raises(WorkerError, match="no message"):
        protocol.sizes(prefix)


def test_a_huge_prefix_is_refused() -> None:
    with pytest.raises(WorkerError, match="prefix"):
        protocol.sizes(PREFIX.pack(b"OSW1", 1 << 30, 0))


def test_one_line() -> None:
    said = "[ONNXRuntimeError] : 1 : FAIL : a\n\x1b[31mb\tc"
    assert one_line(said) == "FAIL : a b c"
    log = "\x1b[0;93m2026-11-22 02:23:37.86 [W:onnxruntime:Default, x.cc:1 Make] No cuDNN.\x1b[m"
    assert one_line(log) == "No cuDNN."
    assert one_line("a\x1b]0;title\x07b") == "a ]0;title b"
    assert len(one_line("x" * 10_000)) == 600
