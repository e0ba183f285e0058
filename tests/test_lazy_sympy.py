from __future__ import annotations

import subprocess
import sys

import pytest

INSTALL = "import sys; from onnxslim import _lazy_sympy as lazy; lazy.install();"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_onnx_ir_loads_no_sympy_and_leaves_no_trace() -> None:
    code = (
        "import onnx_ir; print('sympy' in sys.modules, 'sympy.core' in sys.modules,"
        " onnx_ir.__spec__.loader is onnx_ir.__loader__, type(onnx_ir.__loader__).__name__,"
        " [f for f in sys.meta_path if type(f).__module__ == lazy.__name__])"
    )
    assert _run(INSTALL + code) == "False False True SourceFileLoader []"


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("import sympy; print(sympy.Symbol('x') + 1)", "x + 1"),
        ("from sympy.core import Symbol; print(Symbol('x') * 2)", "2*x"),
        ("print(ir.SymbolicDim('n') + 1)", "n + 1"),
        ("print(ir.SymbolicDim('n') * 2 // 2, ir.SymbolicDim('n') % 4)", "n Mod(n, 4)"),
        ("print(ir.SymbolicDim('max(n, 3)').evaluate({'n': 5}))", "5"),
        ("print(ir.SymbolicDim('floor(n/2) + min(n, 1)').evaluate({'n': 5}))", "3"),
        ("print(ir.SymbolicDim('n').value, 'sympy.core' in sys.modules)", "n False"),
        ("print(ir.SymbolicDim('n') == ir.SymbolicDim('n'), 'sympy' in sys.modules)", "True False"),
        ("import sympy; print(ir.SymbolicDim(sympy.Symbol('m') + 2))", "m + 2"),
        ("import onnx_ir._core as c, sympy; print(c.sympy.Expr is sympy.Expr)", "True"),
    ],
)
def test_sympy_is_there_when_it_is_needed(code: str, printed: str) -> None:
    assert _run(INSTALL + "import onnx_ir as ir;" + code) == printed


def test_nothing_is_done_when_sympy_or_onnx_ir_is_there_already() -> None:
    code = "import sys, {0}; from onnxslim import _lazy_sympy as lazy; n = len(sys.meta_path);"
    after = "lazy.install(); print(len(sys.meta_path) - n)"
    assert _run(code.format("sympy") + "sys.meta_path[:] = [f for f in sys.meta_path if type(f)"
                ".__name__ != 'OnnxIrFinder']; n = len(sys.meta_path);" + after) == "0"  # fmt: skip


def test_sympy_imported_between_install_and_onnx_ir_is_used() -> None:
    code = (
        "import sympy; import onnx_ir._core as c; print(c.sympy is sympy is sys.modules['sympy'])"
    )
    assert _run(INSTALL + code) == "True"


def test_a_failing_import_takes_the_stand_in_away() -> None:
    code = (
        "import types; spec = types.SimpleNamespace(loader=None);"
        "fail = types.SimpleNamespace(exec_module=lambda m: 1 / 0)\n"
        "try: lazy._OnnxIrLoader(spec, fail).exec_module(types.ModuleType('m'))\n"
        "except ZeroDivisionError: print('sympy' in sys.modules)"
    )
    assert _run(INSTALL + code) == "False"
