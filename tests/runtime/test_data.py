"""Every form of ``--data``, and what a newcomer gets wrong with it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxslim.errors import CalibrationError, DataError, OnnxSlimError, UsageError
from onnxslim.runtime.data import DataOptions, DataSource, open_data
from onnxslim.runtime.dims import Description
from onnxslim.runtime.specs import InputSpec, specs_of

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)
X = InputSpec("x", F32, ("batch", 3, 4))
IDS = InputSpec("ids", I64, ("batch", "seq"))
MASK = InputSpec("mask", I64, ("batch", "seq"))
FIXED = InputSpec("x", F32, (4, 3))
SR = InputSpec("sr", I64, ())


def ramp(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def opened(src: Any, *specs: InputSpec, **options: Any) -> DataSource:
    return open_data(src, specs, DataOptions(**options))


def rows(source: DataSource, name: str = "x") -> np.ndarray[Any, Any]:
    return np.concatenate([batch.real(name) for batch in source])


# .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_in_batches(tmp_path: Path, save: Any) -> None:
    x, y = ramp(70, 3, 4), np.arange(70)
    save(tmp_path / "d.npz", x=x, y=y)
    source = opened(tmp_path / "d.npz", X, labels="y")
    assert len(source) == 70
    assert [b.count for b in source] == [32, 32, 6]
    assert [b.feeds["x"].shape[0] for b in source] == [32, 32, 6]
    assert np.array_equal(rows(source), x)
    assert source.labels is not None
    assert np.array_equal(source.labels, y)
    assert np.array_equal(np.concatenate([b.labels for b in source if b.labels is not None]), y)
    assert [b.count for b in source.rebatched(50)] == [50, 20]


def test_npz_column_major_and_empty_strings(tmp_path: Path) -> None:
    x = np.asfortranarray(ramp(5, 3, 4))
    text = np.array([["a"], ["bc"], ["d"], ["e"], [""]])
    specs = [X, InputSpec("s", "string", ("batch", 1))]
    source = opened(npz(tmp_path / "d.npz", x=x, s=text), *specs)
    assert np.array_equal(rows(source), x)
    assert rows(source, "s").tolist() == text.tolist()
    assert rows(source, "s").dtype == object
    assert source.describe()["s"].mean is None


def test_large_arrays_are_mapped_and_batches_bounded(tmp_path: Path) -> None:
    spec = InputSpec("x", F32, ("n", 1 << 20))
    source = opened(npz(tmp_path / "d.npz", x=np.zeros((40, 1 << 20), np.float32)), spec)
    assert source.batch_size == 8  # 32 MB


def test_fixed_batches_are_padded(tmp_path: Path) -> None:
    x = ramp(10, 3)
    source = opened(npz(tmp_path / "d.npz", x=x, y=np.arange(10)), FIXED, labels="y")
    batches = list(source)
    assert [b.count for b in batches] == [4, 4, 2]
    assert all(b.feeds["x"].shape == (4, 3) for b in batches)
    assert np.array_equal(batches[2].feeds["x"][2:], x[[9, 9]])
    assert np.array_equal(rows(source), x)
    assert batches[2].labels is not None
    assert batches[2].labels.tolist() == [8, 9]
    assert opened(npz(tmp_path / "e.npz", x=x), FIXED, batch=3).batch_size == 4


def test_one_exact_batch(tmp_path: Path) -> None:
    (batch,) = opened(npz(tmp_path / "d.npz", x=ramp(4, 3)), FIXED)
    assert batch.count == 4


def test_an_array_of_the_inputs_own_shape_is_repeated(tmp_path: Path) -> None:
    anchors = InputSpec("anchors", F32, (2, 2))
    src = npz(tmp_path / "d.npz", x=ramp(40, 3, 4), anchors=ramp(2, 2), sr=16000)
    source = opened(src, X, anchors, SR)
    assert len(source) == 40
    for batch in source:
        assert np.array_equal(batch.feeds["anchors"], ramp(2, 2))
        assert batch.feeds["sr"] == 16000
    assert [b.count for b in source] == [32, 8]


def test_a_repeated_array_with_a_dynamic_axis_means_one_at_a_time(tmp_path: Path) -> None:
    specs = [InputSpec("input", F32, (None, None)), InputSpec("state", F32, (2, None, 4)), SR]
    src = npz(tmp_path / "d.npz", input=ramp(3, 8), state=ramp(2, 1, 4), sr=np.int64(16000))
    source = opened(src, *specs)
    assert [b.feeds["input"].shape for b in source] == [(1, 8)] * 3
    assert [b.feeds["state"].shape for b in source] == [(2, 1, 4)] * 3


def test_samples_of_an_input_without_a_batch_axis(tmp_path: Path) -> None:
    specs = [InputSpec("input", F32, (None, 8)), InputSpec("state", F32, (2, None, 4)), SR]
    src = npz(tmp_path / "d.npz", input=ramp(3, 8), state=ramp(3, 2, 1, 4), sr=np.arange(3))
    batches = list(opened(src, *specs))
    assert [int(b.feeds["sr"]) for b in batches] == [0, 1, 2]
    assert np.array_equal(batches[2].feeds["state"], ramp(3, 2, 1, 4)[2])


@pytest.mark.parametrize("key", ["images", "arr_0"])
def test_the_only_array_that_fits_serves(tmp_path: Path, key: str) -> None:
    arrays = {key: ramp(5, 3, 4), "wide": ramp(5, 3, 5), "text": np.array(["a"] * 5)}
    source = opened(npz(tmp_path / "d.npz", y=np.arange(5), **arrays), X, labels="y")
    assert np.array_equal(rows(source), ramp(5, 3, 4))


def test_the_labels_never_serve_as_the_input(tmp_path: Path) -> None:
    spec = InputSpec("x", I64, ("batch",))
    src = npz(tmp_path / "d.npz", a=np.arange(5), y=np.arange(5) + 10)
    assert rows(opened(src, spec, labels="y")).tolist() == [0, 1, 2, 3, 4]
    assert rows(opened(src, spec, labels="a")).tolist() == [10, 11, 12, 13, 14]


def test_integers_are_cast_not_scaled(tmp_path: Path) -> None:
    x = ramp(5, 3, 4, dtype=np.uint8)
    source = opened(npz(tmp_path / "d.npz", x=x), X)
    assert rows(source).dtype == F32
    assert np.array_equal(rows(source), x)
    stats = source.describe()["x"]
    assert (stats.minimum, stats.maximum, stats.mean) == (0, 59, 29.5)
    assert (stats.dtype, stats.shape) == ("float32", (5, 3, 4))


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        (np.float32, np.array([[0.5]], np.float64)),
        (np.float16, np.array([[0.5]], np.float64)),
        (np.float32, np.array([[True]])),
        (np.int64, np.array([[7]], np.int32)),
        (np.int8, np.array([[-128]], np.int64)),
        (np.bool_, np.array([[1]], np.int64)),
        (np.float32, np.array([[0.5]], ">f4")),
        (ml_dtypes.bfloat16, np.array([[0.5]], np.float32)),
        (ml_dtypes.bfloat16, np.array([[0.5]], ml_dtypes.bfloat16)),
        (np.complex64, np.array([[0.5]], np.float32)),
    ],
)
def test_casts(tmp_path: Path, dtype: Any, array: Any) -> None:
    spec = InputSpec("x", np.dtype(dtype), ("n", 1))
    found = rows(opened(npz(tmp_path / "d.npz", x=array), spec))
    assert found.dtype == np.dtype(dtype)
    assert found[0, 0] == array[0, 0]


def test_a_choice_of_samples_is_seeded_and_in_order(tmp_path: Path) -> None:
    src = npz(tmp_path / "d.npz", x=ramp(50, 3, 4), y=np.arange(50))
    one, same = (opened(src, X, samples=9, seed=3, labels="y") for _ in range(2))
    other = opened(src, X, samples=9, seed=4, labels="y")
    assert one.labels is not None and same.labels is not None and other.labels is not None
    assert len(one) == 9
    assert one.labels.tolist() == sorted(set(one.labels.tolist())) == same.labels.tolist()
    assert one.labels.tolist() != other.labels.tolist()
    assert np.array_equal(rows(one), ramp(50, 3, 4)[one.labels])
    assert len(opened(src, X, samples=500)) == 50


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    src = npz(tmp_path / "d.npz", x=ramp(50, 3, 4), y=np.arange(50))
    source = opened(src, X)
    digest = source.digest()
    assert digest == source.rebatched(7).digest() == source.digest()
    assert digest != opened(src, X, samples=49).digest()
    assert digest != opened(src, X, labels="y").digest()
    folder = tmp_path / "f"
    folder.mkdir()
    for i in range(50):
        np.save(folder / f"{i}.npy", ramp(50, 3, 4)[i])
    assert digest == opened(folder, X).digest()
    changed = ramp(50, 3, 4)
    changed[49, 2, 3] = 0
    assert digest != opened(npz(tmp_path / "e.npz", x=changed), X).digest()


def test_described_inputs_need_no_data(tmp_path: Path) -> None:
    state = InputSpec("h", F32, (1, "batch", 8))
    given = Description(values={"sr": 8000}, state={"hn": "h"}, dims={"batch": 1})
    src = npz(tmp_path / "d.npz", audio=ramp(4, 3, 4))
    steps = list(opened(src, X, SR, state, description=given))
    assert [b.count for b in steps] == [1, 1, 1, 1]  # a stream goes step by step
    assert steps[3].feeds["sr"] == 8000
    assert steps[3].feeds["h"].shape == (1, 1, 8)
    assert not steps[3].feeds["h"].any()
    assert list(steps[3].feeds) == ["x", "sr", "h"]


def test_described_inputs_follow_the_batch(tmp_path: Path) -> None:
    cells = InputSpec("cells", F32, (2, None, 8))
    given = Description(values={"mask": 1, "cells": 0.5})
    src = npz(tmp_path / "d.npz", ids=ramp(40, 7, dtype=int), mask=ramp(3))
    batches = list(opened(src, IDS, MASK, cells, description=given))
    assert [b.feeds["mask"].shape for b in batches] == [(32, 7), (8, 7)]
    assert [b.feeds["cells"].shape for b in batches] == [(2, 32, 8), (2, 8, 8)]
    assert batches[0].feeds["mask"].all()
    (again,) = opened([{"ids": ramp(2, 5, dtype=int)}], IDS, MASK, description=given_mask())
    assert again.feeds["mask"].shape == (2, 5)


def given_mask() -> Description:
    return Description(values={"mask": 1})


def test_single_samples_from_python_go_one_at_a_time() -> None:
    state = InputSpec("h", F32, (2, None, 4))
    feeds = [{"x": ramp(3, 3, 4), "h": ramp(3, 2, 1, 4)}]
    batches = list(opened(feeds, X, state))
    assert [b.feeds["x"].shape for b in batches] == [(1, 3, 4)] * 3
    assert np.array_equal(batches[2].feeds["h"], ramp(3, 2, 1, 4)[2])


# folders


def test_a_folder_of_samples_and_batches(tmp_path: Path) -> None:
    np.save(tmp_path / "s2.npy", ramp(3, 4) + 2)
    np.save(tmp_path / "s10.npy", ramp(5, 3, 4) + 10)
    np.savez(tmp_path / "s11.npz", x=ramp(3, 4) + 11)
    (tmp_path / ".hidden.npy").write_bytes(b"no")
    (tmp_path / "notes.txt").write_text("ignored")
    source = opened(tmp_path, X)
    assert len(source) == 7
    (batch,) = source
    assert batch.feeds["x"][:, 0, 0].tolist() == [2, 10, 22, 34, 46, 58, 11]


def test_a_folder_of_different_lengths(tmp_path: Path) -> None:
    for i, length in enumerate([5, 5, 7]):
        np.savez(
            tmp_path / f"{i}.npz", ids=ramp(length, dtype=np.int64), mask=ramp(1, length, dtype=int)
        )
    batches = list(opened(tmp_path, IDS, MASK))
    assert [b.feeds["ids"].shape for b in batches] == [(2, 5), (1, 7)]


def test_labels_of_a_folder(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=ramp(2, 3, 4), y=np.array([i, i]))
    source = opened(tmp_path, X, labels="y")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_folder_for_a_fixed_batch(tmp_path: Path) -> None:
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", ramp(3) + i)
    assert [b.count for b in opened(tmp_path, FIXED)] == [4, 2]


def save_tensor(path: Path, array: Any, name: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(numpy_helper.from_array(np.asarray(array), name).SerializeToString())


def test_onnx_test_data_sets(tmp_path: Path) -> None:
    for i in (0, 2, 10):
        save_tensor(tmp_path / f"test_data_set_{i}" / "input_0.pb", ramp(1, 5, dtype=np.int64) + i)
        save_tensor(tmp_path / f"test_data_set_{i}" / "input_1.pb", ramp(1, 5, dtype=np.int64))
        save_tensor(tmp_path / f"test_data_set_{i}" / "output_0.pb", ramp(1))
    source = opened(tmp_path, IDS, MASK)
    assert [int(b.feeds["ids"][0, 0]) for b in source] == [0, 2, 10]
    assert len(source) == 3
    (one,) = opened(tmp_path / "test_data_set_2", IDS, MASK)
    assert one.feeds["ids"][0, 0] == 2
    save_tensor(tmp_path / "named" / "input_0.pb", ramp(1, 5, dtype=np.int64) + 7, "mask")
    save_tensor(tmp_path / "named" / "input_1.pb", ramp(1, 5, dtype=np.int64), "ids")
    (named,) = opened(tmp_path / "named", IDS, MASK)
    assert named.feeds["mask"][0, 0] == 7


# Python


SCRIPT = """
from helper import scale
import numpy as np

def feeds():
    for i in range(5):
        yield {"x": np.full((2, 3, 4), i * scale, np.float64), "y": [i, i]}

def samples():
    return [{"x": np.full((3, 4), i)} for i in range(5)]

ready = [{"x": np.zeros((1, 3, 4))}]

def bad():
    yield {"x": 1 / 0}

def wrong():
    return {"x": 1}

def arguments(a):
    return []

def nothing():
    return []
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("scale = 3\n")
    (tmp_path / "my.py").write_text(SCRIPT)
    return tmp_path / "my.py"


def test_a_python_function(script: Path) -> None:
    source = opened(f"{script}:feeds", X, labels="y", samples=7)
    assert [b.count for b in source] == [2, 2, 2, 1]
    assert all(b.feeds["x"].shape == (2, 3, 4) for b in source)  # batches of the user's stay whole
    assert len(source) == 7
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert next(iter(source)).feeds["x"].dtype == F32
    assert rows(opened(f"{script}:samples", X))[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert len(list(opened(f"{script}:samples", X))) == 1
    assert len(opened(f"{script}:ready", X)) == 1


def test_python_iterables_can_be_read_again() -> None:
    feeds = [{"x": ramp(1, 3, 4) + i} for i in range(3)]
    sources = [opened(feeds, X), opened(iter(feeds), X), opened((f for f in feeds), X)]
    for source in sources:
        assert [int(b.feeds["x"][0, 0, 0]) for b in source] == [0, 1, 2]
        assert [int(b.feeds["x"][0, 0, 0]) for b in source] == [0, 1, 2]
    (batch,) = opened(feeds[0], X)
    assert batch.count == 1
    assert open_data(sources[0], [X]) is sources[0]


class Reader:
    """As ONNX Runtime's: one pass, None at the end."""

    def __init__(self) -> None:
        self.left = iter([{"x": ramp(1, 3, 4) + i} for i in range(3)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.left, None)

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("get_next is the interface")


class Rewinding(Reader):
    def rewind(self) -> None:
        self.__init__()  # type: ignore[misc]


@pytest.mark.parametrize("reader", [Reader, Rewinding])
def test_a_calibration_data_reader(reader: type[Reader]) -> None:
    source = opened(reader(), X)
    for _ in range(3):
        assert [int(b.feeds["x"][0, 0, 0]) for b in source] == [0, 1, 2]


def test_random_samples() -> None:
    source_text = "g (int64[N] x) => (float y) { y = Gather(t, x) }"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {source_text}')
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((6, 2), np.float32), "t"))
    model = ir.from_proto(proto)
    options = DataOptions(samples=150, sizes={"N": 100})
    source = open_data("random", specs_of(model), options, model=model)
    values = rows(source)
    assert values.max() == 5
    assert np.array_equal(values, rows(source))
    assert len(source) == len(values) == 150
    assert [(b.count, b.feeds["x"].shape) for b in source] == [(100, (100,)), (50, (100,))]


# what newcomers get wrong: one line that says what was found, what was expected and what to do


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def lying_npy(path: Path, shape: tuple[int, ...]) -> None:
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    path.write_bytes(buffer.getvalue() + b"\0" * 48)


def lying_npz(path: Path) -> None:
    lying_npy(path.with_suffix(".raw"), (1 << 40, 3, 4))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", path.with_suffix(".raw").read_bytes())


def damaged(path: Path, cut: int) -> None:
    np.savez(path, x=ramp(50, 3, 4))
    path.write_bytes(path.read_bytes()[:-cut])


def corrupted(path: Path) -> None:
    np.savez_compressed(path, x=np.random.default_rng(0).random((50, 3, 4)))
    content = bytearray(path.read_bytes())
    content[800:900] = bytes(100)
    path.write_bytes(bytes(content))


def huge_header(path: Path) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 100_000 + "), }\n"
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode())


def folder_with(path: Path, *names: str) -> None:
    path.mkdir()
    for name in names:
        (path / name).write_text("no")


MISTAKES: list[tuple[str, Any, dict[str, Any], str]] = [
    ("none.npz", lambda p: None, {}, "there is no file or folder"),
    ("model.onnx", lambda p: p.write_bytes(b"x"), {}, "'model.onnx' is no data that can be read"),
    ("d.csv", lambda p: p.write_text("1,2"), {}, "expected a .npz file, a folder"),
    (
        "d.npz",
        lambda p: p.write_text("hello"),
        {},
        "not an .npz file; save the arrays with",
    ),
    ("d.npz", lambda p: p.write_bytes(b""), {}, "not an .npz file"),
    ("d.npy", lambda p: p.write_bytes(b""), {}, "d.npy cannot be read as arrays"),
    ("d.npz", lambda p: zipfile.ZipFile(p, "w").close(), {}, "has no arrays"),
    ("d.npz", lambda p: damaged(p, 400), {}, "not an .npz file"),
    ("d.npz", corrupted, {}, "d.npz is damaged"),
    ("d.npz", lying_npz, {}, "bytes of data but has 48; it is damaged"),
    ("d.npy", lambda p: lying_npy(p, (1 << 50, 3, 4)), {}, "it is damaged"),
    ("d.npy", lambda p: lying_npy(p, (-1, 3, 4)), {}, "no negative size"),
    ("d.npy", huge_header, {}, "d.npy cannot be read as arrays: Header info length"),
    ("d.npy", pickled, {}, "pickled Python objects, which are never loaded"),
    ("d.npz", lambda p: npz(p, x=np.array([None], object)), {}, "pickled Python objects"),
    ("d.npz", lambda p: npz(p, x=np.zeros((2, 3, 4), "M8[s]")), {}, "expected numbers"),
    ("d.npz", lambda p: npz(p, x=ramp(5, 4, 3)), {}, "has shape [5, 4, 3], but input 'x' (float32"),
    ("d.npz", lambda p: npz(p, x=ramp(3, 4)), {}, "needs an axis in front: array[None]"),
    ("d.npz", lambda p: npz(p, x=ramp(0, 3, 4)), {}, "has no samples"),
    ("d.npz", lambda p: npz(p, img=ramp(5, 9)), {}, "d.npz['img'] has shape [5, 9]"),
    ("d.npz", lambda p: npz(p, a=ramp(5, 3), b=ramp(5)), {}, "no array named 'x' and none of 'a'"),
    (
        "d.npz",
        lambda p: npz(p, a=ramp(5, 3, 4), b=ramp(5, 3, 4)),
        {},
        "several of 'a' float32 [5, 3, 4], 'b' float32 [5, 3, 4]",
    ),
    ("d.npz", lambda p: npz(p, x=np.full((2, 3, 4), "a")), {}, "d.npz['x'] is <U1, but input 'x'"),
    ("d.npz", lambda p: npz(p, x=np.full((2, 3, 4), 1e300)), {}, "do not fit float32"),
    (
        "d.npz",
        lambda p: npz(p, x=ramp(5, 3, 4)),
        {"labels": "y"},
        "--labels 'y': d.npz has no such",
    ),
    ("d.npz", lambda p: npz(p, x=ramp(5, 3, 4), y=ramp(4)), {"labels": "y"}, "there are 5 samples"),
    (
        "d.npz",
        lambda p: npz(p, x=ramp(5, 3, 4), y=3),
        {"labels": "y"},
        "one label per sample",
    ),
    ("d.npz", lambda p: npz(p, x=ramp(5, 3, 4)), {"samples": 0}, "--samples is 0"),
    ("d.npz", os.mkfifo, {}, "is not a regular file"),
    ("f", lambda p: p.mkdir(), {}, "the folder 'f' is empty"),
    (
        "f",
        lambda p: folder_with(p, "a.txt"),
        {},
        "can be read (such as 'a.txt')",
    ),
    ("f", lambda p: folder_with(p, "a.npy", "b.png"), {}, "holds arrays and images"),
    ("f", lambda p: folder_with(p, "a.npy"), {}, "a.npy cannot be read as arrays"),
    ("f", lambda p: folder_with(p, "b.png"), {"labels": "y"}, "--labels 'y' needs .npz data"),
    ("f", lambda p: folder_with(p, "input_0.pb"), {}, "input_0.pb is not an ONNX tensor"),
    ("my.py", lambda p: p.write_text("x = 1"), {}, "names no function; expected FILE.py:FUNCTION"),
]


@pytest.mark.parametrize(("name", "make", "options", "said"), MISTAKES)
def test_mistakes(tmp_path: Path, name: str, make: Any, options: Any, said: str) -> None:
    make(tmp_path / name)
    with pytest.raises(OnnxSlimError) as error:
        list(opened(tmp_path / name, X, **options))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("src", "said"),
    [
        ("my.py:missing", "my.py has no function 'missing'; it has feeds, samples, bad"),
        ("none.py:feeds", "there is no file"),
        ("my.py:bad", "my.py:bad failed: ZeroDivisionError"),
        ("my.py:wrong", "gave a dict; expected to yield dicts"),
        ("my.py:arguments", "failed: TypeError"),
        ("my.py:nothing", "gave no samples"),
        ("broken.py:f", "broken.py failed: SyntaxError"),
        ("imports.py:f", "imports.py failed: ModuleNotFoundError"),
    ],
)
def test_mistakes_in_python_files(script: Path, src: str, said: str) -> None:
    (script.parent / "broken.py").write_text("def f(:\n")
    (script.parent / "imports.py").write_text("import there_is_no_such_module\n")
    with pytest.raises(DataError) as error:
        list(opened(f"{script.parent}/{src}", X))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        (3, "data is a int"),
        ([3], "feed 0 is a int; expected a dict"),
        ([{"z": ramp(1, 3, 4)}], "has no array for input 'x'; the model's inputs are 'x'"),
        ([{"x": ramp(1, 3, 4), "z": ramp(1)}], "has an array named 'z'"),
        ([{"x": object()}], "holds Python objects"),
        ([{"x": [[1], [2, 3]]}], "is no array"),
        ([{"x": ramp(2, 2, 2, 2)}], "has shape [2, 2, 2, 2], but input 'x'"),
        ([{"x": ramp(0, 3, 4)}], "has no samples"),
        ([], "gave no samples"),
    ],
)
def test_mistakes_in_python(feeds: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        list(opened(feeds, X))
    assert said in str(error.value)


def test_missing_inputs_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no array for input 'mask' .*it has 'ids' int64"):
        opened(npz(tmp_path / "d.npz", ids=ramp(5, 7, dtype=int)), IDS, MASK)
    np.save(tmp_path / "a.npy", ramp(5, 7))
    with pytest.raises(DataError, match="no array for input 'ids'"):
        opened(tmp_path / "a.npy", IDS, MASK)


def test_counts_must_agree(tmp_path: Path) -> None:
    src = npz(tmp_path / "d.npz", ids=ramp(5, 7, dtype=int), mask=ramp(4, 7, dtype=int))
    with pytest.raises(DataError, match=r"d.npz\['ids'\] has 5, d.npz\['mask'\] has 4"):
        opened(src, IDS, MASK)


def test_float_data_for_integers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is float32, but input 'ids'"):
        opened(npz(tmp_path / "d.npz", ids=ramp(5, 7)), IDS)


def test_channels_last_is_recognized(tmp_path: Path) -> None:
    spec = InputSpec("x", F32, ("n", 3, 8, 8))
    with pytest.raises(DataError, match=r"looks channels-last: .*transpose\(\(0, 3, 1, 2\)\)"):
        opened(npz(tmp_path / "d.npz", x=ramp(5, 8, 8, 3)), spec)


def test_ambiguous_batch_sizes_are_refused(tmp_path: Path) -> None:
    specs = [InputSpec("a", F32, (1, 4)), InputSpec("b", F32, (2, 4))]
    src = npz(tmp_path / "d.npz", a=ramp(8, 4), b=ramp(8, 4))
    with pytest.raises(DataError, match=r"different numbers of samples at once \('a' 1, 'b' 2\)"):
        opened(src, *specs)


@pytest.mark.parametrize("content", ["external", "short", "negative", "huge", "undefined"])
def test_bad_tensors(tmp_path: Path, content: str) -> None:
    tensor = numpy_helper.from_array(ramp(1, 3, 4), "x")
    if content == "external":
        tensor.data_location = onnx.TensorProto.EXTERNAL
    elif content == "short":
        tensor.raw_data = tensor.raw_data[:7]
    elif content == "negative":
        tensor.dims[0] = -1
    elif content == "huge":
        tensor.dims[0] = 1 << 60
    else:
        tensor.data_type = 0
    (tmp_path / "input_0.pb").write_bytes(tensor.SerializeToString())
    with pytest.raises(DataError, match=r"^input_0.pb"):
        list(opened(tmp_path, X))


def test_too_many_tensors(tmp_path: Path) -> None:
    for i in range(2):
        save_tensor(tmp_path / f"input_{i}.pb", ramp(1, 3, 4))
    with pytest.raises(DataError, match="has 2 inputs, but the model has 1"):
        list(opened(tmp_path, X))


def test_random_is_refused_for_calibration() -> None:
    with pytest.raises(CalibrationError, match="--allow-random-calibration"):
        opened("random", X, calibration=True)
    source = opened("random", X, calibration=True, allow_random=True)
    assert len(source) == 8
    with pytest.raises(DataError, match="no labels"):
        opened("random", X, labels="y")
    with pytest.raises(UsageError, match="batch size is -1"):
        opened("random", X, batch=-1)


@pytest.mark.parametrize("name", ["plain.npz", "packed.npz", "one.npy", "input_0.pb"])
def test_random_damage_gives_data_or_one_line(tmp_path: Path, name: str) -> None:
    path, x = tmp_path / name, ramp(1, 3, 4)
    if name == "plain.npz":
        np.savez(path, x=x)
    elif name == "packed.npz":
        np.savez_compressed(path, x=x)
    elif name == "one.npy":
        np.save(path, x)
    else:
        save_tensor(path, x)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            list(opened(tmp_path if name.endswith("pb") else path, X))
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20
