"""A newcomer's mistakes: each gets one line that says what was found and what to do, and exit 2."""

from __future__ import annotations

import gzip
import os
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxslim.cli.main import invoke
from onnxslim.demo import model_path
from onnxslim.runtime import installed
from tests.nets import net

RECIPES = {
    "typo.toml": '[[step]]\nuse = "fold-batchnorm"\n',
    "pass.toml": '[[steps]]\nuse = "fold-batchnrm"\n',
    "key.toml": '[[steps]]\npass = "fold-batchnorm"\n',
    "broken.toml": '[[steps]\nuse = "fold-batchnorm"\n',
}
FILES = {
    "notes.txt": b"not a model\n",
    "empty.onnx": b"",
    "lfs.onnx": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "net.pth": b"\x80\x02}q\x00.",
    "net.h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "net.tflite": b"\x1c\0\0\0TFL3" + bytes(64),
    "net.safetensors": (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}',
    "page.onnx": b"<!DOCTYPE html><html></html>",
    "net.onnx.gz": gzip.compress(b"\x08\x08"),
    "existing.onnx": b"old",
    "bad.npz": b"hello",
    "feed.py": b"def samples():\n    yield {'x': [1]}\n",
    "script.py": b"import nothing_there\n",
    **{name: text.encode() for name, text in RECIPES.items()},
}
ARRAYS: dict[str, dict[str, np.ndarray]] = {
    "ok.npz": {"x": np.ones((9, 4), np.float32), "y": np.zeros(9, np.int64)},
    "key.npz": {"z": np.ones((9, 4), np.float32)},
    "dtype.npz": {"x": np.full((9, 4), "a")},
    "width.npz": {"x": np.ones((9, 3), np.float32)},
    "labels.npz": {"x": np.ones((9, 4), np.float32), "y": np.zeros(8, np.int64)},
    "few.npz": {"x": np.ones((2, 4), np.float32)},
    "none.npz": {},
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a newcomer may confuse."""
    folder = tmp_path_factory.mktemp("desk")
    small = net("h = MatMul(x, w)  y = Relu(h)", x="float[batch,4]", w=np.ones((4, 2), np.float32))
    onnx.save(small, str(folder / "m.onnx"))
    onnx.save(
        net("y = Add(x, z)", x="float[batch,4]", z="float[batch,4]"), str(folder / "two.onnx")
    )
    onnx.save(
        net("y = MatMul(x, w)", x="float[2,64]", w=np.ones((64, 64), np.float32)),
        str(folder / "external.onnx"), save_as_external_data=True, location="weights.bin",
    )  # fmt: skip
    (folder / "weights.bin").unlink()
    (folder / "cut.onnx").write_bytes(model_path().read_bytes()[:3000])
    (folder / "demo.onnx").write_bytes(model_path().read_bytes())
    with zipfile.ZipFile(folder / "net.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    for name, arrays in ARRAYS.items():
        np.savez(folder / name, **arrays)  # type: ignore[arg-type]
    for name in ("folder", "images"):
        (folder / name).mkdir()
    Image.new("L", (8, 8)).save(folder / "images" / "a.png")
    return folder


@pytest.fixture
def at_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as the current one; a mistake leaves no file in it."""
    before = {p: p.stat().st_mtime_ns for p in desk.rglob("*") if p.is_file()}
    monkeypatch.chdir(desk)
    yield desk
    after = {p: p.stat().st_mtime_ns for p in desk.rglob("*") if p.is_file()}
    assert after == before


def complaint(line: str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What a command line says on standard error: one line, and nothing on standard output."""
    assert invoke(shlex.split(line)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1 and said.err.startswith("onnxslim: "), said.err
    assert "Traceback" not in said.err
    return said.err


# What is typed: parts of what is answered (what was found, what to do).
MODELS = {
    "missing.onnx": ("missing.onnx", "No such file", "path of a model file"),
    "notes.txt": ("notes.txt", "no protobuf", "expected an ONNX model"),
    "folder": ("it is a folder", "expected a model file"),
    "empty.onnx": ("an empty file", "expected an ONNX model"),
    "cut.onnx": ("truncated", "a complete file"),
    "lfs.onnx": ("Git LFS pointer", "git lfs pull"),
    "net.pt": ("zip archive", "PyTorch", "export it to ONNX"),
    "net.pth": ("pickle", "export the model to ONNX"),
    "net.h5": ("HDF5", "tf2onnx"),
    "net.tflite": ("TensorFlow Lite", "tf2onnx"),
    "net.safetensors": ("weights without a graph", "export the model to ONNX"),
    "net.onnx.gz": ("gzip", "unpack it"),
    "page.onnx": ("HTML", "expected an ONNX model"),
    "external.onnx": ("weights.bin", "No such file", "beside the model"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_that_is_no_model(
    name: str, at_desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(f"optimize {name} -o out.onnx", capsys)
    assert [part for part in MODELS[name] if part not in said] == [], said


OTHERS = (
    "inspect {}", "bench {}", "diff m.onnx {}", "validate {} m.onnx",
    "prune {} -o o.onnx --macs 0.5",
    "quantize {} -o o.onnx --mode dynamic", "compress {} -o o.onnx --data ok.npz",
    "reduce {} -o o.onnx --check 'true {{}}'",
)  # fmt: skip


@pytest.mark.parametrize("command", OTHERS, ids=[line.split()[0] for line in OTHERS])
def test_every_command_says_it_alike(
    command: str, at_desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expected the path of a model file" in complaint(command.format("none.onnx"), capsys)


LINES = {
    # commands and options
    "optimise m.onnx -o out.onnx": ("'optimise'", "did you mean optimize?"),
    "slim m.onnx out.onnx": ("'slim'", "expected one of optimize, prune"),
    "m.onnx": ("onnxslim optimize m.onnx -o OUT",),
    "m.onnx -o out.onnx": ("onnxslim optimize m.onnx -o OUT",),
    "optimize m.onnx": ("'--output'", "onnxslim optimize --help"),
    "optimize m.onnx two.onnx -o out.onnx": ("two.onnx", "onnxslim optimize --help"),
    "optimize m.onnx -o out.onnx --ouput x": ("--ouput", "--output", "onnxslim optimize --help"),
    "diff m.onnx": ("1 model given", "onnxslim diff A.onnx B.onnx"),
    "validate m.onnx": ("'CANDIDATE'", "onnxslim validate --help"),
    "passes fold-batchnrm": ("fold-batchnrm", "did you mean fold-batchnorm"),
    # where the result goes
    "optimize m.onnx -o existing.onnx": ("existing.onnx exists", "--force"),
    "optimize m.onnx -o m.onnx": ("is the model itself", "another name"),
    "optimize m.onnx -o folder --force": ("it is a folder", "give the name of a file"),
    "optimize m.onnx -o /dev/full --force": ("it is a device", "give the name of a file"),
    "optimize m.onnx -o none/x.onnx": ("there is no folder", "create it"),
    "optimize m.onnx -o out.onnx --save-recipe none/r.toml": ("there is no folder", "create it"),
    "optimize m.onnx -o out.onnx --save-recipe m.onnx": ("is a model", "another name"),
    "optimize m.onnx -o out.onnx --report none/r.html": ("--report", "none does not exist"),
    "optimize m.onnx -o out.onnx --report m.onnx": ("that is a model", "give another name"),
    "prune demo.onnx --ratio 0.5": ("-o OUT", "--dry-run"),
    "quantize m.onnx --data ok.npz": ("-o OUT", "--dry-run"),
    "batch default m.onnx -o existing.onnx": ("is a file", "name of a folder"),
    "demo -o existing.onnx": ("is a file", "name of a folder"),
    # passes and recipes
    "optimize m.onnx -o out.onnx -p fold-batchnrm": ("did you mean fold-batchnorm",),
    "optimize m.onnx -o out.onnx --skip fold-batchnrm": ("did you mean fold-batchnorm",),
    "optimize m.onnx -o out.onnx -p fold-constants{limt=3}": ("'limt'", "its options: limit"),
    "optimize m.onnx -o out.onnx -p fold-constants{limit=x}": ("'x'", "expected int"),
    "optimize m.onnx -o out.onnx -p fold-constants{limit": ("name{option=value,...}",),
    "optimize m.onnx -o out.onnx --recipe defalt": ("'defalt'", "expected one of none", ".toml"),
    "optimize m.onnx -o out.onnx --recipe missing.toml": ("missing.toml", "No such file"),
    "optimize m.onnx -o out.onnx --recipe typo.toml": ("typo.toml", "`[[steps]]`"),
    "optimize m.onnx -o out.onnx --recipe pass.toml": ("did you mean fold-batchnorm",),
    "optimize m.onnx -o out.onnx --recipe key.toml": ("key.toml", "neither `use` nor `repeat`"),
    "optimize m.onnx -o out.onnx --recipe broken.toml": ("no TOML", "line 1"),
    "batch m.onnx default -o results": ("there is no recipe 'm.onnx'", "expected one of none"),
    "batch default nothing*.onnx -o results": ("nothing*.onnx", "give files, folders or a pattern"),
    # the inputs of the model
    "optimize m.onnx -o out.onnx --input-shape z=1,4": ("no input 'z'", "the model has 'x'"),
    "optimize m.onnx -o out.onnx --input-shape x=1,5": ("[1, 5]", "declares [batch, 4]"),
    "optimize m.onnx -o out.onnx --input-shape 1,4": ("no equals sign", "NAME=1,3,224,224"),
    "optimize m.onnx -o out.onnx --dim seq=3": ("no dimension 'seq'", "the model has 'batch'"),
    "optimize m.onnx -o out.onnx --dim batch=two": ("'two' is no size", "whole number"),
    "optimize m.onnx -o out.onnx --input-value x=abc": ("'abc' does not fit", "float32"),
    "optimize m.onnx -o out.onnx --state y=z": ("no input 'z'", "the model has 'x'"),
    "optimize m.onnx -o out.onnx --fix-shape x=a": ("--fix-shape", "NAME=1,3,224,224"),
    "optimize m.onnx -o out.onnx --outputs z": ("no tensor 'z'", "there are h, x, y"),
    "optimize m.onnx -o out.onnx --opset 999": ("999", "newest known"),
    "optimize m.onnx -o out.onnx --opset 9": ("the model has opset", "only raised"),
    # the runtime
    "optimize m.onnx -o out.onnx --provider cuda": ("no CUDAExecutionProvider", "pip install"),
    "optimize m.onnx -o out.onnx --provider fast": ("'fast'", "use one that it has"),
    "optimize m.onnx -o out.onnx --custom-ops none.so": ("none.so", "give a library"),
    "validate m.onnx m.onnx --provider a,b,c": ("'a,b,c'", "or two as A,B"),
    "batch default m.onnx -o results --executor threads:3": ("threads:3", "expected processes:N"),
    # data
    "optimize m.onnx -o out.onnx --data none": ("no file or folder 'none'", "expected a .npz"),
    "optimize two.onnx -o out.onnx --data key.npz": ("key.npz", "'x'", "'z'"),
    "optimize m.onnx -o out.onnx --data dtype.npz": ("<U1", "expected float32"),
    "optimize m.onnx -o out.onnx --data width.npz": ("[9, 3]", "[batch, 4]"),
    "optimize m.onnx -o out.onnx --data none.npz": ("no arrays", "numpy.savez"),
    "optimize m.onnx -o out.onnx --data bad.npz": ("not an .npz file", "numpy.savez"),
    "optimize m.onnx -o out.onnx --data notes.txt": ("notes.txt", "expected a .npz file"),
    "optimize m.onnx -o out.onnx --data folder": ("'folder' is empty", "expected a .npz file"),
    "optimize m.onnx -o out.onnx --data images": ("one input of four axes", "'x'"),
    "optimize m.onnx -o out.onnx --data feed.py": ("names no function", "FILE.py:FUNCTION"),
    "optimize m.onnx -o out.onnx --data feed.py:feed": ("no function 'feed'", "it has samples"),
    "optimize m.onnx -o out.onnx --data script.py:samples": ("script.py failed", "nothing_there"),
    "optimize m.onnx -o out.onnx --samples 0": ("'--samples'", "greater than or equal to 1"),
    "quantize m.onnx -o out.onnx": ("needs real samples", "--data", "--mode dynamic"),
    "quantize m.onnx -o out.onnx --data random": ("refused", "--allow-random-calibration"),
    "quantize m.onnx -o out.onnx --data few.npz": ("2 calibration samples", "at least 8"),
    "compress m.onnx -o out.onnx": ("needs samples", "--data"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --require-data": ("no sample data", "--data"),
    "validate m.onnx m.onnx --labels y": ("labels need data", "--data"),
    "validate m.onnx m.onnx --data ok.npz --labels z": ("no such array", "'y' int64 [9]"),
    "validate m.onnx m.onnx --data labels.npz --labels y": ("[8]", "9 samples", "one label per"),
    "validate m.onnx m.onnx --data ok.npz --max-drop 1": ("needs labels", "--labels KEY"),
    "validate m.onnx m.onnx --data ok.npz --labels y --metric top7": ("'top7'", "top1, top5"),
    "validate m.onnx m.onnx --min-cosine 2": ("'--min-cosine'", "less than or equal to 1"),
    # budgets and choices
    "prune demo.onnx -o out.onnx": ("needs one budget", "--ratio", "found none"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --macs 0.5": ("one budget", "--ratio and --macs"),
    "prune demo.onnx -o out.onnx --ratio -0.5": ("'-0.5'", "expected a part (0.7, 70%)"),
    "prune demo.onnx -o out.onnx --ratio 0": ("removes nothing", "above 0"),
    "prune demo.onnx -o out.onnx --ratio 70": ("--ratio is 70", "0 to below 1"),
    "prune demo.onnx -o out.onnx --macs 5X": ("'5X'", "an amount (120M)"),
    "prune demo.onnx -o out.onnx --latency fast": ("'fast'", "milliseconds (8ms)"),
    "prune demo.onnx -o out.onnx --max-drop 1": ("--max-drop", "give them with --data"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --latency-table t.json": ("give --latency R",),
    "prune demo.onnx -o out.onnx --ratio 0.5 --graph g.png": ("g.png", ".dot, .gv, .svg"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --keep nope*": ("matches nothing", "inspect MODEL"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --layer nope=0.3": ("matches nothing", "inspect"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --layer nope": ("'nope'", "expected GLOB=R"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --criterion l3": ("'l3'", "expected one of l1"),
    "prune demo.onnx -o out.onnx --ratio 0.5 --scope globl": ("'globl'", "local, global"),
    "quantize m.onnx -o out.onnx --data ok.npz --include nope": ("matches nothing", "inspect"),
    "quantize m.onnx -o out.onnx --data ok.npz --mode int8": ("'int8'", "static, dynamic"),
    "quantize m.onnx -o out.onnx --data ok.npz --target gpu": ("'gpu'", "cpu, cpu-avx2"),
    "diff m.onnx two.onnx --ignore everything": ("'everything'", "expected names, order"),
    "reduce m.onnx -o out.onnx --check true": ("no {}", "where the model goes"),
    "reduce m.onnx -o out.onnx --check 'no_such_program {}'": ("cannot be run", "not found"),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_mistake_gets_one_line(
    line: str, at_desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(line, capsys)
    assert [part for part in LINES[line] if part not in said] == [], said


def test_a_folder_that_cannot_be_written(
    at_desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT and str(at_desk) in str(path):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)  # root writes everywhere: no mode would stop the test
    said = complaint("optimize m.onnx -o out.onnx --no-verify", capsys)
    assert "Permission denied" in said and str(at_desk) in said


def test_a_missing_extra(
    at_desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    said = complaint("optimize demo.onnx -o out.onnx --data images", capsys)
    assert "pip install 'onnxslim-toolkit[images]'" in said
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = complaint("batch none m.onnx -o folder --executor dask://host:1", capsys)
    assert "pip install 'onnxslim-toolkit[dask]'" in said


# Installed versions, and what `doctor` says of them.
CLASHES = [
    ({"onnxruntime": "1.27"}, ""),
    ({"onnxruntime": "1.27", "onnxslim": "0.1.98"}, "pip uninstall -y onnxslim"),
    ({"onnxruntime": "1.27", "onnxruntime-gpu": "1.26"}, "uninstall both, then install one"),
    ({}, "pip install 'onnxslim-toolkit[cpu]'"),
]


@pytest.mark.parametrize(("versions", "said"), CLASHES, ids=[" ".join(v) for v, _ in CLASHES])
def test_doctor_says_what_to_do(
    versions: dict[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed, "version_of", versions.get)
    assert invoke(["doctor"]) == (1 if said else 0)
    problems = [x for x in capsys.readouterr().out.splitlines() if x.startswith("problem: ")]
    assert len(problems) == (1 if said else 0)
    assert all(said in problem for problem in problems)


def test_models_that_do_not_fit_each_other_say_why(
    at_desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["validate", "two.onnx", "m.onnx"]) == 1
    assert "the candidate does not run" in capsys.readouterr().out
