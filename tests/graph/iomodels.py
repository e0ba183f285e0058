"""Small ModelProtos for the tests of reading and writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def info(
    name: str, dims: Sequence[int | str | None] | None = (4,), kind: int = 1
) -> onnx.ValueInfoProto:
    """A tensor declaration."""
    return helper.make_tensor_value_info(name, kind, dims)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names separated by spaces."""
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def weights(name: str, count: int = 4, seed: int = 0) -> onnx.TensorProto:
    """A float tensor with raw data."""
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    functions: Sequence[onnx.FunctionProto] = (),
    value_info: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """A model from input x to output y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [info("x")] if inputs is None else list(inputs),
        [info("y")] if outputs is None else list(outputs),
        list(initializers),
        value_info=list(value_info),
    )
    opsets = [helper.make_opsetid("", opset)]
    if functions:
        opsets.append(helper.make_opsetid("loc", 1))
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    made.ir_version = ir_version
    return made


def adding(tensor: onnx.TensorProto) -> onnx.ModelProto:
    """``y = x + tensor``."""
    return model([node("Add", f"x {tensor.name}", "y")], [tensor])


def external(location: str, *, dims: Sequence[int] = (4,), **fields: Any) -> onnx.TensorProto:
    """A float tensor ``w`` in an external file."""
    tensor = TensorProto(name="w", data_type=1, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def branch(output: str, *nodes: onnx.NodeProto, **kw: Any) -> onnx.GraphProto:
    """A subgraph without inputs."""
    return helper.make_graph(list(nodes), output, [], [info(output)], **kw)


def choice(then: onnx.GraphProto, other: onnx.GraphProto, output: str = "y") -> onnx.NodeProto:
    """An If on the input ``c``."""
    return node("If", "c", output, then_branch=then, else_branch=other)


CONDITION = info("c", (), TensorProto.BOOL)


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Paths at which two messages say different things; whether an empty field is there does not
    matter.
    """
    if a.SerializeToString() == b.SerializeToString():
        return
    for field in a.DESCRIPTOR.fields:
        left, right = getattr(a, field.name), getattr(b, field.name)
        here = f"{path}.{field.name}".lstrip(".")
        if field.message_type is None:
            if np.array_equal(left, right) or left == right:
                continue
            yield here
        elif hasattr(left, "DESCRIPTOR"):
            yield from differences(left, right, here)
        elif len(left) != len(right):
            yield here
        else:
            for index, pair in enumerate(zip(left, right, strict=True)):
                yield from differences(*pair, f"{here}[{index}]")
