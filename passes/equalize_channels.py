"""Let the channels between two layers have weights of similar size on both sides.

    W1[c] / s_c,  b1[c] / s_c,  W2[:, c] * s_c,       s_c = sqrt(max|W1[c]| / max|W2[:, c]|)

The function stays, but a tensor whose channels differ by orders of magnitude, and the weights that
read it, are much better represented by 8 bits with one scale. Only where what lies between scales
with its input: ReLU and its kin, max and average pooling; a Clip (ReLU6) does not.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.quantization.improve_equalize import Kernel, Link, equalize
from onnxslim.graph import edit
from onnxslim.passes._linear import narrow
from onnxslim.passes._unread import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Array = npt.NDArray[Any]

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_ALIKE = (
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "PRelu",
    "Relu",
)


@register
@dataclass(frozen=True)
class EqualizeChannels(Pass):
    """Rescale channels between layers so that weights on both sides are of similar size.

    Conv, ConvTranspose and Gemm with constant weights of their own. Left alone when something else
    reads what lies between, and when the channels are alike already.

    Args:
        least: Channels of a tensor are rescaled when their factors differ by at least this.
    """

    name: ClassVar[str] = "equalize-channels"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    least: float = 2.0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Equalize all tensors of the main graph at once."""
        nodes = [node for node in model.graph if _is_layer(node)]
        place = {node: index for index, node in enumerate(nodes)}
        kernels = [_kernel(node) for node in nodes]
        links = [link for node in nodes if (link := _link(node, place, kernels)) is not None]
        links = [link for link in links if _spread(kernels, link) >= self.least]
        if not links:
            return 0
        found, _ = equalize(kernels, links)
        changed = sorted({i for link in links for i in (link.producer, *link.consumers)})
        written = [_narrowed(found[i], nodes[i]) for i in changed]
        if any(item is None for item in written):
            ctx.skip(nodes[changed[0]], "the rescaled weights do not fit their type")
            return 0
        for index, arrays in zip(changed, written, strict=True):
            assert arrays is not None
            _write(nodes[index], arrays, ctx)
        return len(links)


def _is_layer(node: ir.Node) -> bool:
    """A layer with a weight, and perhaps a bias, of its own."""
    if not edit.is_op(node, *_LAYERS):
        return False
    weight, bias = edit.get_input(node, 1), edit.get_input(node, 2)
    array = edit.constant_array(weight)
    if weight is None or array is None or array.dtype != np.float32 or not array.size:
        return False
    if edit.use_count(weight) != 1 or not np.isfinite(array).all():
        return False
    if node.op_type == "Gemm" and (edit.attr(node, "transA", 0) or edit.attr(node, "beta", 1) != 1):
        return False
    if bias is None:
        return True
    outputs = _kernel(node).peaks(inputs=False).size
    given = edit.constant_array(bias)
    return given is not None and edit.use_count(bias) == 1 and given.shape == (outputs,)


def _kernel(node: ir.Node) -> Kernel:
    weight = edit.constant_array(node.inputs[1])
    assert weight is not None
    flipped = node.op_type == "Gemm" and not edit.attr(node, "transB", 0)
    transposed = node.op_type == "ConvTranspose" or flipped
    group = 1 if node.op_type == "Gemm" else int(edit.attr(node, "group", 1))
    return Kernel(weight, edit.constant_array(edit.get_input(node, 2)), group, transposed)


def _link(node: ir.Node, place: dict[ir.Node, int], kernels: list[Kernel]) -> Link | None:
    """The layers that read the channels of a layer, when nothing else does."""
    channels = kernels[place[node]].peaks(inputs=False).size
    readers, spreads = [], []
    stack = [(node.outputs[0], False)]
    while stack:
        value, flat = stack.pop()
        if value.is_graph_output() or not value.uses():
            return None
        for use in value.uses():
            following = _follow(use.node, use.idx, flat)
            if following is not None:
                stack.append(following)
                continue
            if use.node not in place or use.idx != 0 or place[use.node] in readers:
                return None
            inputs = kernels[place[use.node]].peaks(inputs=True).size
            if inputs % channels or (inputs != channels and not flat):
                return None
            readers.append(place[use.node])
            spreads.append(inputs // channels)
    if len(set(spreads)) != 1 or place[node] in readers:
        return None
    return Link(place[node], tuple(sorted(readers)), spreads[0])


def _follow(node: ir.Node, index: int, flat: bool) -> tuple[ir.Value, bool] | None:
    """What a node that scales with its input gives, and whether maps are flattened in it."""
    if index != 0 or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    if edit.is_op(node, "Flatten") and edit.attr(node, "axis", 1) == 1:
        return node.outputs[0], True
    if edit.is_op(node, "PRelu") and not _is_slope(node):
        return None
    return (node.outputs[0], flat) if edit.is_op(node, *_ALIKE) else None


def _is_slope(node: ir.Node) -> bool:
    return edit.is_constant(edit.get_input(node, 1))


def _spread(kernels: list[Kernel], link: Link) -> float:
    """Largest over smallest factor that a link's channels would get now."""
    _, (scale,) = equalize(kernels, [link], rounds=1)
    return float(scale.max() / scale.min()) if scale.size else 1.0


def _narrowed(kernel: Kernel, node: ir.Node) -> tuple[Array, Array | None] | None:
    """Weight and bias in their type; None when they do not fit."""
    weight = narrow(kernel.weight, np.dtype(np.float32))
    bias = None if kernel.bias is None else narrow(kernel.bias, np.dtype(np.float32))
    if weight is None or (bias is None) != (kernel.bias is None):
        return None
    return weight, bias


def _write(node: ir.Node, arrays: tuple[Array, Array | None], ctx: PassContext) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = []
    for index, array in enumerate(arrays, start=1):
        value = edit.get_input(node, index)
        if array is not None and value is not None:
            old.append(value)
            ctx.set_input(node, index, ctx.constant(graph, value.name, array))
    drop_unread(old, ctx)
