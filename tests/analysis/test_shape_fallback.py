from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import WorkerError
from tests.analysis.facts import parse, shape

TRAINING = "ai.onnx.preview.training"


class Onnx:
    """Answers like the worker, in this process."""

    def __init__(self, broken: bool = False) -> None:
        self.asked: list[onnx.ModelProto] = []
        self.broken = broken

    def infer_shapes(self, model: bytes) -> bytes:
        self.asked.append(onnx.ModelProto.FromString(model))
        if self.broken:
            raise WorkerError("it crashed", "crash")
        inferred = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model))
        answer: bytes = inferred.SerializeToString()
        return answer


def momentum(count: int = 1) -> ir.Model:
    model = parse("a = Relu(x)", "float r, int64 t, float[3,N] x")
    r, t, x = model.graph.inputs
    model.graph.opset_imports[TRAINING] = 1
    for _ in range(count):
        attributes: dict[str, float | str] = {
            "alpha": 0.9,
            "beta": 0.9,
            "mode": "standard",
            "norm_coefficient": 0.1,
        }
        node = ir.node("Momentum", [r, t, x, x, x], attributes, domain=TRAINING, num_outputs=2)
        model.graph.append(node)
        x = node.outputs[0]
    return model


def test_a_standard_operator_without_a_rule_is_asked_about_once() -> None:
    model, worker = momentum(2), Onnx()
    infer_shapes(model, worker=worker)
    first, second = (n for n in model.graph if n.op_type == "Momentum")
    assert [shape(v) for v in first.outputs] == ["float[3,_d0]", "float[3,_d1]"]
    assert [shape(v) for v in second.outputs] == ["float[3,_d2]", "float[3,_d3]"]
    assert len(worker.asked) == 1
    assert len(worker.asked[0].graph.node) == 1


class Fixed(Onnx):
    """Says of all outputs that they have these sizes, None for one that it does not know."""

    def __init__(self, *sizes: int | None) -> None:
        super().__init__()
        self.sizes = sizes

    def infer_shapes(self, model: bytes) -> bytes:
        answer = onnx.ModelProto.FromString(super().infer_shapes(model))
        for output in (*answer.graph.output, *answer.graph.value_info):
            del output.type.tensor_type.shape.dim[:]
            for size in self.sizes:
                dim = output.type.tensor_type.shape.dim.add()
                if size is not None:
                    dim.dim_value = size
        result: bytes = answer.SerializeToString()
        return result


def test_unknown_and_negative_sizes_become_symbols() -> None:
    model = momentum()
    infer_shapes(model, worker=Fixed(0, 1, 3, None, -1))
    assert shape(model.graph[-1].outputs[0]) == "float[0,1,3,_d0,_d1]"


def test_without_a_worker_it_stays_unknown() -> None:
    model = momentum()
    infer_shapes(model)
    assert shape(model.graph[-1].outputs[0]) == "?"


def test_a_crash_leaves_it_unknown() -> None:
    model, worker = momentum(), Onnx(broken=True)
    infer_shapes(model, worker=worker)
    assert shape(model.graph[-1].outputs[0]) == "?" and len(worker.asked) == 1


def test_custom_operators_are_never_asked_about() -> None:
    model, worker = parse("y = custom.Foo(x)", "float[3,N] x"), Onnx()
    infer_shapes(model, worker=worker)
    assert worker.asked == []
