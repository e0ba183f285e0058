"""What a node that runs stands for, read off names alone."""

from __future__ import annotations

import pytest

from onnxslim.analysis.attribution import origins
from onnxslim.runtime.profile import RunNode
from tests.analysis.facts import parse

MODEL = "a = Relu(x) b = Neg(a) y = Exp(b)"


def node(name: str, inputs: str = "", outputs: str = "") -> RunNode:
    return RunNode(name, "Op", tuple(inputs.split()), tuple(outputs.split()))


CASES: list[tuple[list[RunNode], dict[str, list[str]]]] = [
    ([node("k", "x", "b")], {"k": ["b"]}),
    ([node("k", "x", "b a")], {"k": ["b", "a"]}),
    ([node("a", "x", "other")], {"a": ["a"]}),  # by its own name
    ([node("named", "x", "other")], {"named": ["a"]}),
    ([node("k", "x", "other")], {}),
    # one that only changes a layout: what it reads, else what it hands on
    ([node("k", "x", "a"), node("r", "a", "a2")], {"k": ["a"], "r": ["a"]}),
    ([node("k", "x", "a"), node("r", "a", "a2"), node("s", "a2", "a3")],
     {"k": ["a"], "r": ["a"], "s": ["a"]}),
    ([node("r", "x", "x2"), node("k", "x2", "a")], {"k": ["a"], "r": ["a"]}),
    ([node("q", "x", "x1"), node("r", "x1", "x2"), node("k", "x2", "a")],
     {"k": ["a"], "r": ["a"], "q": ["a"]}),
    ([node("k", "x", "a"), node("r", "w a", "w2"), node("l", "w2", "b")],
     {"k": ["a"], "l": ["b"], "r": ["b"]}),  # only the first input counts
    ([node("r", "x", "x2"), node("k", "x2", "a"), node("l", "x2", "b")],
     {"r": ["a"], "k": ["a"], "l": ["b"]}),  # the first reader
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "expected"), CASES)
def test_origins(nodes: list[RunNode], expected: dict[str, list[str]]) -> None:
    model = parse(MODEL, "float[4] x")
    model.graph[0].name = "named"
    found = origins(model, nodes)
    assert {name: [v.name for v in values] for name, values in found.items()} == expected
