"""Writes networks as the exporters of PyTorch do, with random weights that are all different."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Dim: TypeAlias = "int | str"
Array: TypeAlias = npt.NDArray[Any]

_IR = {23: 11, 24: 12}


class Net:
    """A graph that grows node by node; every method gives back the name of a tensor.

    Args:
        opset: Version of the standard operators.
        legacy: Write small constants as ``Constant`` nodes, as the TorchScript exporter does.
        domains: Further operator sets.
    """

    def __init__(self, opset: int = 17, *, legacy: bool = False, domains: Sequence[str] = ()):
        self.opset, self.legacy, self.domains = opset, legacy, tuple(domains)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._rng = np.random.default_rng(20261122)
        self._count = 0

    # --- tensors ---

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, dims: Sequence[Dim], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(dims)))
        return name

    def output(self, name: str, dims: Sequence[Dim], kind: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(dims)))

    def const(self, array: Any, stem: str = "c") -> str:
        """A tensor of given contents, in a node of its own for the legacy exporter."""
        name = self._name(stem)
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if self.legacy and tensor.data_type != TensorProto.FLOAT:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.weights.append(tensor)
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64), "i")

    def scalar(self, value: float) -> str:
        return self.const(np.array(value, np.float32), "s")

    def weight(self, *shape: int, fan_in: int | None = None, stem: str = "w") -> str:
        """Normal weights of variance ``2 / fan_in`` (by default all axes but the first)."""
        count = fan_in or math.prod(shape[1:]) or 1
        array = self._rng.standard_normal(shape) * math.sqrt(2 / count)
        return self.const(array.astype(np.float32), stem)

    def vector(self, *shape: int, low: float = -0.3, high: float = 0.3, stem: str = "b") -> str:
        return self.const(self._rng.uniform(low, high, shape).astype(np.float32), stem)

    # --- nodes ---

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.many(1, kind, *inputs, domain=domain, **attributes)[0]

    def many(
        self, count: int, kind: str, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """A node with several outputs."""
        outputs = [self._name(kind.lower()) for _ in range(count)]
        name = f"/{kind}_{len(self.nodes)}"
        node = helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return outputs

    def conv(
        self, x: str, cin: int, cout: int, k: int = 3, *, rank: int = 2, stride: int = 1,
        group: int = 1, bias: bool = True, pad: int | None = None,
    ) -> str:  # fmt: skip
        w = self.weight(cout, cin // group, *[k] * rank)
        inputs = [x, w, self.vector(cout)] if bias else [x, w]
        pad = k // 2 if pad is None else pad
        return self.op(
            "Conv", *inputs, kernel_shape=[k] * rank, strides=[stride] * rank,
            pads=[pad] * 2 * rank, dilations=[1] * rank, group=group,
        )  # fmt: skip

    def norm(self, x: str, c: int, beta: str = "") -> str:
        """BatchNormalization."""
        scale = self.vector(c, low=0.5, high=1.5, stem="gamma")
        shift = beta or self.vector(c, stem="beta")
        mean, var = self.vector(c, stem="mean"), self.vector(c, low=0.5, high=1.5, stem="var")
        return self.op("BatchNormalization", x, scale, shift, mean, var, epsilon=1e-5)

    def cbr(self, x: str, cin: int, cout: int, k: int = 3, **more: Any) -> str:
        """Conv, BatchNormalization, Relu."""
        return self.op("Relu", self.norm(self.conv(x, cin, cout, k, bias=False, **more), cout))

    def cr(self, x: str, cin: int, cout: int, k: int = 3, **more: Any) -> str:
        """Conv (with the normalization folded into it), Relu."""
        return self.op("Relu", self.conv(x, cin, cout, k, **more))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def gelu(self, x: str) -> str:
        """As written before opset 20."""
        e = self.op("Erf", self.op("Div", x, self.scalar(math.sqrt(2))))
        return self.op(
            "Mul", self.op("Mul", x, self.op("Add", e, self.scalar(1.0))), self.scalar(0.5)
        )

    def gemm(self, x: str, cin: int, cout: int) -> str:
        return self.op("Gemm", x, self.weight(cout, cin), self.vector(cout), transB=1)

    def linear(self, x: str, cin: int, cout: int, bias: bool = True) -> str:
        """``nn.Linear`` on tensors of rank 3 and more."""
        y = self.op("MatMul", x, self.weight(cin, cout, fan_in=cin))
        return self.op("Add", self.vector(cout), y) if bias else y

    def layer_norm(self, x: str, c: int, axis: int = -1) -> str:
        scale, shift = self.vector(c, low=0.5, high=1.5, stem="gamma"), self.vector(c, stem="beta")
        return self.op("LayerNormalization", x, scale, shift, axis=axis, epsilon=1e-5)

    def layer_norm_decomposed(self, x: str, c: int, axis: int = -1, tail: int = 0) -> str:
        """As written before opset 17; ``tail`` ones follow in the shape of scale and bias."""
        d = self.op("Sub", x, self.mean(x, axis))
        variance = self.mean(self.op("Pow", d, self.scalar(2.0)), axis)
        root = self.op("Sqrt", self.op("Add", variance, self.scalar(1e-5)))
        ones = (1,) * tail
        scaled = self.op("Mul", self.op("Div", d, root), self.vector(c, *ones, low=0.5, high=1.5))
        return self.op("Add", scaled, self.vector(c, *ones))

    def mean(self, x: str, *axes: int, keepdims: int = 1) -> str:
        if self.opset >= 18:
            return self.op("ReduceMean", x, self.ints(*axes), keepdims=keepdims)
        return self.op("ReduceMean", x, axes=list(axes), keepdims=keepdims)

    def head(self, x: str, c: int, classes: int = 10) -> None:
        """Global pooling and the classifier, which is the output ``y``."""
        y = self.gemm(self.op("Flatten", self.op("GlobalAveragePool", x)), c, classes)
        self.output(y, ["N", classes])

    # --- movement ---

    def reshape(self, x: str, *dims: int) -> str:
        return self.op("Reshape", x, self.ints(*dims))

    def transpose(self, x: str, *perm: int) -> str:
        return self.op("Transpose", x, perm=list(perm))

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        return self.op("Slice", x, *(self.ints(i) for i in (start, end, axis, step)))

    def split(self, x: str, *sizes: int, axis: int) -> list[str]:
        return self.many(len(sizes), "Split", x, self.ints(*sizes), axis=axis)

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self.op("Unsqueeze", x, self.ints(*axes))

    def squeeze(self, x: str, *axes: int) -> str:
        return self.op("Squeeze", x, self.ints(*axes))

    def pick(self, x: str, index: int, axis: int) -> str:
        """``x[..., index, ...]`` as Gather with a scalar index."""
        return self.op("Gather", x, self.const(np.array(index, np.int64)), axis=axis)

    def size(self, x: str, axis: int) -> str:
        """``x.size(axis)`` as a scalar, as the legacy exporter writes it."""
        return self.pick(self.op("Shape", x), axis, 0)

    def dims(self, *parts: Dim) -> str:
        """A shape from sizes (literals) and scalars (names)."""
        pieces = [self.ints(p) if isinstance(p, int) else self.unsqueeze(p, 0) for p in parts]
        return self.op("Concat", *pieces, axis=0)

    def view(self, x: str, *parts: Dim) -> str:
        return self.op("Reshape", x, self.dims(*parts))

    def int_op(self, kind: str, a: str, value: int) -> str:
        """Arithmetic of a size with a literal."""
        return self.op(kind, a, self.const(np.array(value, np.int64)))

    # --- the end ---

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "topology", self.inputs, self.outputs, self.weights)
        sets = [helper.make_opsetid("", self.opset)]
        sets += [helper.make_opsetid(domain, 1) for domain in self.domains]
        version = _IR.get(self.opset, 8 if self.opset < 19 else 9 if self.opset < 21 else 10)
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=sets, ir_version=version)
        return model


def image(opset: int = 17, channels: int = 3, size: int = 16, **more: Any) -> tuple[Net, str]:
    """A net with a dynamic batch of images."""
    net = Net(opset, **more)
    return net, net.input("x", ["N", channels, size, size])


def sequence(opset: int = 17, width: int = 32, length: Dim = "L", **more: Any) -> tuple[Net, str]:
    """A net with a dynamic batch of sequences of vectors."""
    net = Net(opset, **more)
    return net, net.input("x", ["N", length, width])
