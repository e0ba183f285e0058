"""Shrinking a model that fails a check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onnxslim
from onnxslim.api.reducing import CommandCheck, reduce
from onnxslim.api.shrinking import minimize
from onnxslim.demo import model_path
from onnxslim.errors import TargetError, UnsupportedModelError, UsageError
from onnxslim.pipeline.recipes import get_recipe
from onnxslim.testing import shared_worker


@given(st.sets(st.integers(0, 60)), st.integers(61, 90))
def test_ddmin_finds_exactly_what_is_needed(needed: set[int], size: int) -> None:
    calls = 0

    def fails(kept: Sequence[int]) -> bool:
        nonlocal calls
        calls += 1
        return needed <= set(kept)

    assert minimize(range(size), fails) == sorted(needed)
    assert calls < 40 + size * (len(needed) + 2)


def ops(path: Path) -> list[str]:
    """Operators of all graphs of a file."""
    found = []
    stack = [onnx.load(path).graph]
    while stack:
        graph = stack.pop()
        for node in graph.node:
            found.append(node.op_type)
            stack += [a.g for a in node.attribute if a.HasField("g")]
    return found


def chain(length: int) -> str:
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    kinds = ["Tanh" if i == length // 2 else "Abs" for i in range(length)]
    lines = [f"{names[i + 1]} = {kind}({names[i]})" for i, kind in enumerate(kinds)]
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y)'
    return f"{head} {{ {' '.join(lines)} }}"


def test_one_node_is_left() -> None:
    model = onnx.parser.parse_model(chain(40))
    found = reduce(model, lambda path: "Tanh" in ops(path))
    assert [n.op_type for n in found.model.graph] == ["Tanh"]
    assert found.before["nodes"] == 40 and found.after["nodes"] == 1
    assert found.is_complete and found.checks < 60
    assert [n.op_type for n in model.graph.node].count("Abs") == 39, "the argument was changed"


def test_nodes_far_apart() -> None:
    def fails(path: Path) -> bool:
        return "Gemm" in ops(path) and ops(path).count("Conv") >= 2

    found = reduce(model_path(), fails)
    kinds = [n.op_type for n in found.model.graph if n.op_type != "ConstantOfShape"]
    assert kinds == ["Conv", "Conv", "Gemm"]


IF = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, bool c) => (float[2] y) {
  a = Relu(x)
  h, k = If (c) <
    then_branch = t () => (float[2] o, float[2] q) { s = Abs(a) o = Tanh(s) q = Neg(o) },
    else_branch = e () => (float[2] p, float[2] r) { p = Relu(a) r = Exp(p) }
  >
  y = Sin(h)
}
"""


def test_a_node_in_a_branch_is_taken_out_of_it() -> None:
    model = onnx.parser.parse_model(IF)
    found = reduce(model, lambda path: "Tanh" in ops(path))
    assert [n.op_type for n in found.model.graph] == ["Tanh"]


def test_a_branch_that_is_needed_loses_the_rest() -> None:
    model = onnx.parser.parse_model(IF)
    found = reduce(model, lambda path: {"If", "Tanh"} <= set(ops(path)))
    assert [n.op_type for n in found.model.graph] == ["If"]
    inner = [n.op_type for n in found.model.graph[0].attributes["then_branch"].as_graph()]
    assert inner == ["Tanh"] and len(found.model.graph[0].outputs) == 1


def test_large_weights_become_stubs(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"

    def fails(path: Path) -> bool:
        return any(n.op_type == "Conv" and n.input[1] for n in onnx.load(path).graph.node)

    found = reduce(model_path(), fails, out)
    assert set(ops(out)) <= {"Conv", "ConstantOfShape"}
    assert out.stat().st_size < 2000 and found.output == out
    shared_worker().check(out)


def test_every_result_is_valid_and_can_be_loaded(tmp_path: Path) -> None:
    seen: list[Path] = []

    def fails(path: Path) -> bool:
        onnx.checker.check_model(onnx.load(path), full_check=True)
        seen.append(path)
        return "Add" in ops(path)

    found = reduce(model_path(), fails, tmp_path / "out.onnx")
    assert len(seen) == found.checks
    assert found.after["nodes"] == 1
    onnxslim.load(tmp_path / "out.onnx")


def test_a_limit_gives_what_was_found() -> None:
    model = onnx.parser.parse_model(chain(40))
    found = reduce(model, lambda path: "Tanh" in ops(path), max_checks=4)
    assert not found.is_complete and found.checks <= 4
    assert 1 <= found.after["nodes"] <= 40


def test_what_does_not_fail_is_not_reduced() -> None:
    with pytest.raises(TargetError, match="does not fail"):
        reduce(model_path(), lambda path: False)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="{}"):
        reduce(model_path(), "false")
    with pytest.raises(UsageError, match="cannot be run"):
        reduce(model_path(), "no-such-command-here {}")
    with pytest.raises(UnsupportedModelError):
        reduce(tmp_path / "none.onnx", "false {}")


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "check.py"
    path.write_text("import sys\n" + text)
    return f"{sys.executable} {path} {{}}"


def test_another_exit_code_is_another_failure(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(chain(8))
    body = "data = open(sys.argv[1], 'rb').read()\nsys.exit(3 if b'Tanh' in data else 4)"
    found = reduce(model, script(tmp_path, body))
    assert [n.op_type for n in found.model.graph] == ["Tanh"] and found.failure == "exit code 3"


def test_a_crash_and_a_message_are_failures(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(chain(4))
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    assert reduce(model, script(tmp_path, crash), max_checks=3).failure == "SIGSEGV"
    speak = "print('bad thing 7')\nsys.exit(1)"
    assert reduce(model, script(tmp_path, speak), match=r"thing \d", max_checks=3).checks == 3
    with pytest.raises(TargetError, match="matches"):
        reduce(model, script(tmp_path, speak), match="good")


def test_a_slow_check_is_ended_with_its_children(tmp_path: Path) -> None:
    found = CommandCheck("sleep 100 & sleep 100; : {}", timeout=0.3).outcome(tmp_path)
    assert found.code is None and found.describe() == "timeout"


def test_passes_are_bisected_first(tmp_path: Path) -> None:
    out = tmp_path / "tmp.onnx"
    body = (
        "import onnx\n"
        "a, b = ([n.op_type for n in onnx.load(p).graph.node] for p in sys.argv[1:3])\n"
        "sys.exit('BatchNormalization' in a and 'BatchNormalization' not in b)"
    )
    names = sorted({p.name for p in get_recipe("default").passes()})
    few = {"fold-batchnorm", "eliminate-identity", "eliminate-dead", "fuse-clip"}
    skips = " ".join(f"--skip {n}" for n in names if n not in few)  # each check takes a second
    optimize = f"{sys.executable} -m onnxslim optimize {{}} -o {out} --force -q --no-verify {skips}"
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {1, 2}> {
          h = Conv(x, w)  i = Relu(h)  j = Conv(i, w)  k = BatchNormalization(j, s, s, s, s)
          y = Identity(k)
        }""")
    found = reduce(model, f"{optimize} && {script(tmp_path, body)} {out}")
    assert found.passes == ("fold-batchnorm",)
    assert "--recipe none -p fold-batchnorm" in found.check
    assert [n.op_type for n in found.model.graph] == ["Conv", "BatchNormalization"]
