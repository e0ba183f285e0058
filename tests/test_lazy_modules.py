"""Libraries whose unneeded half stays out of the command's imports behave as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

INSTALL = "import sys; from onnxslim import _lazy_modules as lazy; lazy.install();"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("import onnx; print('onnx.helper' in sys.modules)", "False"),
        ("import onnx; print(onnx.TensorProto.FLOAT, onnx.ModelProto().ByteSize())", "1 0"),
        ("import onnx; print(onnx.helper.make_node('Add', ['a'], ['b']).op_type)", "Add"),
        ("import onnx.defs; print(onnx.defs.has('Add'))", "True"),
        ("from onnx import checker; print(checker.__name__)", "onnx.checker"),
        ("import onnx; print(onnx.load_model is onnx.load, 'onnx.compose' in sys.modules)",
         "True True"),
        ("import onnx; print(onnx.__version__[0], type(onnx).__name__)", "1 module"),
        ("import onnx; print(hasattr(onnx, 'nonsense'), hasattr(onnx, 'Nonsense'))", "False False"),
        ("import onnx; print(onnx.IR_VERSION > 9, onnx.ONNX_ML)", "True True"),
        ("from onnx import *; print(ModelProto.__name__)", "ModelProto"),
        ("import onnx_ir as ir; print('onnx.helper' in sys.modules, ir.DataType.FLOAT)",
         "False FLOAT"),
        ("import numpy as np; print(np.arange(3).sum(), np.linalg.inv(np.eye(1))[0, 0])", "3 1.0"),
        ("import numpy; print('numpy._typing' in sys.modules)", "False"),
        ("import numpy.typing as t; print(t.NDArray[int].__origin__.__name__)", "ndarray"),
        ("import numpy as np; print(np.typing.NDArray.__module__, np.ndarray.sum.__doc__)",
         "numpy None"),
        ("import numpy.ma, numpy.random; print(numpy.ma.array([1, 2], mask=[0, 1]).sum())", "1"),
        ("import json, tomllib; print(json.__spec__.name, 'json.decoder' in sys.modules)",
         "json False"),
        ("import json, json.decoder as d; print(json.loads('[1]'), d.JSONDecoder is"
         " json.JSONDecoder, d.__spec__.loader.__class__.__name__)", "[1] True SourceFileLoader"),
        ("from tomllib import loads; print(loads('a = 1'))", "{'a': 1}"),
        ("import tempfile, subprocess; print(tempfile.gettempprefix(), subprocess.PIPE)", "tmp -1"),
        ("import concurrent.futures as f; print(f.Future().done())", "False"),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_there(code: str, printed: str) -> None:
    assert _run(INSTALL + code) == printed


def test_modules_that_are_there_already_stay_as_they_are() -> None:
    code = "import sys, onnx, numpy, json; from onnxslim import _lazy_modules as lazy;"
    code += "before = [type(m) for m in (onnx, numpy, json)]; lazy.install();"
    code += "import onnx, numpy, json; print({type(m) for m in (onnx, numpy, json)} == {*before})"
    assert _run(code) == "True"


def test_removed_nothing_is_watched_any_more() -> None:
    code = "lazy.install(); lazy.remove(); import onnx, numpy, json;"
    code += "print([type(m).__name__ for m in (onnx, numpy, json)], 'onnx.helper' in sys.modules)"
    assert _run(INSTALL + code) == "['module', 'module', 'module'] True"


def test_a_module_that_is_missing_is_missing() -> None:
    code = "sys.path[:] = []\ntry:\n import onnx\nexcept ModuleNotFoundError as e: print(e)"
    assert _run(f"{INSTALL}\n{code}") == "No module named 'onnx'"
