"""Models by strangers: refused in one line, or optimized to something equal, nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.errors import OnnxSlimError
from onnxslim.testing import assert_equal
from tests.hostile.cases import CASES, Case

SECRET = b"\x00\x00\x80\x3f" * 16
SECONDS = 60


def write(case: Case, folder: Path) -> Path:
    model = case.build()
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    (folder.parent / "secret.bin").write_bytes(SECRET)
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_survives(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path, target = write(case, folder), tmp_path / "out.onnx"
    begun = time.monotonic()
    try:
        result = onnxslim.optimize(path, output=target)
    except OnnxSlimError as error:
        assert case.expect != "equal", error
        assert error.exit_code == 2, error
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000
        assert all(character.isprintable() for character in str(error))
        assert not target.exists()
    else:
        assert case.expect != "error", "it was taken"
        assert result.verification.ok
        assert (result.verification.level == "full") == case.runs
        _check(case, path, target)
    assert time.monotonic() - begun < SECONDS
    litter = {p.name for p in tmp_path.iterdir()} - {"model", "secret.bin", "out.onnx"}
    assert not litter
    assert {p.name for p in folder.iterdir()} == {"model.onnx", *case.files}


def _check(case: Case, path: Path, target: Path) -> None:
    written = onnx.load(target)
    given = onnx.load(path)
    assert list(written.graph.output) == list(given.graph.output)
    assert list(written.graph.input) == list(given.graph.input)
    assert target.stat().st_size < path.stat().st_size + (1 << 20)
    ops = [node.op_type for node in written.graph.node]
    assert all(op in ops for op in case.keeps)
    if case.runs and case.expect == "equal":
        assert_equal(given.SerializeToString(), target.read_bytes(), seeds=2)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_weights_that_are_no_file_of_the_folder(kind: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "external")
    folder = tmp_path / "model"
    folder.mkdir()
    path = write(case, folder)
    data = folder / "w.bin"
    data.unlink()
    if kind == "symlink":
        data.symlink_to("../secret.bin")
    elif kind == "hard link":
        os.link(tmp_path / "secret.bin", data)
    elif kind == "fifo":
        os.mkfifo(data)
    else:
        data.mkdir()
    with pytest.raises(OnnxSlimError, match=r"^[^\n]*w\.bin[^\n]*$") as caught:
        onnxslim.optimize(path, output=tmp_path / "out.onnx")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "3 GiB of nothing"])
def test_a_path_that_is_no_model(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        with path.open("wb") as file:
            file.truncate(3 << 30)
    begun = time.monotonic()
    with pytest.raises(OnnxSlimError, match=r"^[^\n]+$") as caught:
        onnxslim.optimize(path, output=tmp_path / "out.onnx")
    assert caught.value.exit_code == 2
    assert time.monotonic() - begun < SECONDS
