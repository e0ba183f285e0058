"""Requests to ONNX Runtime: what is asked for together, how a failure is narrowed down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import MissingRuntimeError, WorkerError
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes import _evaluate_worker
from onnxslim.passes._evaluate_worker import MAX_BYTES, Batch, _parts
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net


class Fake:
    """A worker that fails where one of the outputs comes from this operator."""

    def __init__(self, bad: str = "", error: type[Exception] | None = None) -> None:
        self.bad, self.error = bad, error
        self.asked: list[tuple[int, str]] = []

    def evaluate(self, model: bytes, *, seconds: float, max_bytes: int, label: str) -> Any:
        assert (seconds, max_bytes) == (7.0, MAX_BYTES)
        proto = onnx.ModelProto.FromString(model)
        self.asked.append((len(proto.graph.output), label))
        if self.error is not None:
            raise self.error("none") if self.error is MissingRuntimeError else WorkerError("x")
        if any(node.op_type == self.bad for node in proto.graph.node):
            raise WorkerError("it cannot")
        return shared_worker().evaluate(model, seconds=9, max_bytes=max_bytes, label=label)


def run(model: ir.Model, worker: Any, wanted: Sequence[ir.Value] | None = None) -> Any:
    infer_shapes(model)
    ctx = PassContext(model, worker=worker)
    nodes = list(model.graph)
    constants = {v: a for v in model.graph.initializers.values()
                 if (a := edit.constant_array(v)) is not None}  # fmt: skip
    batch = Batch(ctx, constants, 7.0)
    return batch.run(nodes, [n.outputs[0] for n in nodes] if wanted is None else wanted)


A = np.array([0.5, 1.0], np.float32)


def test_all_at_once() -> None:
    model = from_proto(net("b = Exp(a)  c = Log(b)  d = Sin(a)", a=A))
    worker = Fake()
    exp, log, sin = (n.outputs[0] for n in model.graph)
    found, failed = run(model, worker)
    assert not failed and worker.asked == [(3, "3 constants")]
    for value, wanted in ((exp, np.exp(A)), (log, A), (sin, np.sin(A))):
        np.testing.assert_allclose(found[value], wanted, rtol=1e-6)


def test_only_what_is_needed() -> None:
    model = from_proto(net("b = Exp(a)  c = Log(b)  d = Sin(a)", a=A))
    worker = Fake("Sin")
    found, failed = run(model, worker, [list(model.graph)[1].outputs[0]])
    assert not failed and worker.asked == [(1, "constant c")]
    assert len(found) == 1


def test_a_failure_is_narrowed_down_by_halves() -> None:
    model = from_proto(net("b = Exp(a)  c = Log(a)  d = Sin(a)  e = Cos(a)", a=A))
    worker = Fake("Sin")
    found, failed = run(model, worker)
    nodes = list(model.graph)
    assert [n.op_type for n in failed] == ["Sin"]
    assert "could not evaluate it (" in failed[nodes[2]]
    assert [v.name for v in found] == ["b", "c", "e"]
    assert [n for n, _ in worker.asked] == [4, 2, 2, 1, 1]


def test_it_ends_after_so_many_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_evaluate_worker, "_ATTEMPTS", 2)
    model = from_proto(net("b = Exp(a)  c = Log(a)  d = Sin(a)  e = Cos(a)", a=A))
    worker = Fake(error=WorkerError)
    found, failed = run(model, worker)
    assert not found and len(failed) == 4
    assert [n for n, _ in worker.asked] == [4, 2, 2]


def test_no_runtime() -> None:
    model = from_proto(net("b = Exp(a)", a=A))
    found, failed = run(model, Fake(error=MissingRuntimeError))
    assert not found and list(failed.values()) == ["ONNX Runtime is not installed"]


@pytest.mark.parametrize(("limit", "fits"), [(8, True), (7, False)])
def test_inputs_have_a_limit(monkeypatch: pytest.MonkeyPatch, limit: int, fits: bool) -> None:
    monkeypatch.setattr(_evaluate_worker, "_MAX_INPUT", limit)
    model = from_proto(net("b = Exp(a)  c = Sin(a)", a=A))  # read twice, counted once
    found, failed = run(model, Fake())
    assert (len(found), len(failed)) == ((2, 0) if fits else (0, 2))
    assert fits or set(failed.values()) == {"its inputs are too large"}
    model = from_proto(net("b = Add(a, k)", a=A, k=A[:1]))
    assert not run(model, Fake())[0]


def test_a_result_that_is_no_tensor() -> None:
    model = from_proto(net("b = SplitToSequence(a)  c = SequenceLength(b)", a=A))
    found, failed = run(model, Fake(), [next(iter(model.graph)).outputs[0]])
    assert not found and len(failed) == 1


def test_omitted_inputs_and_outputs() -> None:
    body = "b = Clip(a, , k)  c, i, v = Unique(a)"
    model = from_proto(net(body, a=A, k=A[0], outputs=["b", "v"]))
    clip, unique = model.graph
    unique.outputs[1].name = ""
    found, failed = run(model, Fake(), [clip.outputs[0], unique.outputs[2]])
    assert not failed
    assert found[clip.outputs[0]].tolist() == [0.5, 0.5]
    assert found[unique.outputs[2]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1, 1], [2]),
        ([MAX_BYTES, 1], [1, 1]),
        ([MAX_BYTES - 1, 1], [2]),
        ([MAX_BYTES - 1, 1, 1], [2, 1]),
        ([1, MAX_BYTES, 1], [1, 1, 1]),
        ([MAX_BYTES + 1, 1], [1, 1]),
        ([None, MAX_BYTES, None], [3]),
        ([], []),
    ],
)
def test_parts_of_one_request(sizes: list[int | None], parts: list[int]) -> None:
    values = [
        ir.Value(
            name=f"v{i}", type=ir.TensorType(ir.DataType.INT8),
            shape=None if size is None else ir.Shape([size]),
        )
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    found = _parts(values)
    assert [len(part) for part in found] == parts
    assert [v for part in found for v in part] == values
