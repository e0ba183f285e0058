"""Quantize matrix products to int8 with activation ranges found while the model runs.

    xq, sx, zx = DynamicQuantizeLinear(x)                 uint8, one scale for the tensor
    y = Cast(MatMulInteger(xq, wq, zx)) * (sx * sw)       wq (K, N) int8, sw (N,) one per column

with ``sw[n] = max |w[:, n]| / 127`` and no zero point of the weight. ONNX Runtime fuses this into
DynamicQuantizeMatMul, with the Add of a bias after it. No sample data are needed, and every input
gets its own range; each run pays for finding it, so small products stay float32. Convolutions stay
float32 too: the CPU provider has no ConvInteger for int8 weights.

Source: ONNX operators DynamicQuantizeLinear-11 and MatMulInteger-10; ONNX Runtime contrib operator
DynamicQuantizeLSTM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.quantization.scales import round_weight, weight_scales
from onnxslim.analysis.quantization.select import Selection
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.opset import raise_opset
from onnxslim.passes._dynamic_lstm import quantize_lstm
from onnxslim.passes._unread import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_NEEDED = 11
_LAYERS = ("MatMul", "Gemm", "Conv", "LSTM")


@register
@dataclass(frozen=True)
class QuantizeDynamic(Pass):
    """Quantize MatMul and Gemm with constant weights, ranges of activations found at run time.

    Skipped when the weight is computed or no matrix, when the product is small, for a Gemm with
    transA, inside a quantized region, for Conv, and for LSTM unless asked for.

    Args:
        min_weights: Products with as many weights are quantized whatever their rows are.
        min_macs: Smaller ones are with as many multiplications; sizes that are not known count 1
            in the first axis and 32 in the others.
        reduce_range: Weights of 7 bits, for CPUs whose int8 products saturate (AVX2 without VNNI).
        lstm: Quantize LSTM as com.microsoft:DynamicQuantizeLSTM, which only ONNX Runtime knows.
        include: Only what matches one of these globs is quantized, also where it does not pay.
        exclude: What matches one of these globs stays float32.
    """

    name: ClassVar[str] = "quantize-dynamic"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    min_weights: int = 65536
    min_macs: int = 262144
    reduce_range: bool = False
    lstm: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Quantize every product that qualifies, in graph order."""
        said = Selection(model, self.include, self.exclude)
        chosen = [
            node
            for graph in edit.all_graphs(model)
            for node in graph
            if edit.is_op(node, *_LAYERS) and self._qualifies(node, said(node), ctx)
        ]
        if not chosen:
            return 0
        if ctx.opset < _NEEDED:
            raise_opset(model, _NEEDED)
            ctx.warnings.append(f"opset raised to {_NEEDED} for DynamicQuantizeLinear")
            infer_shapes(model)
            ctx.reindex()
        if any(node.op_type == "LSTM" for node in chosen):
            model.graph.opset_imports.setdefault("com.microsoft", 1)
        weights = [v for node in chosen for v in node.inputs[1:3] if v is not None]
        job = _Quantizer(ctx, 63 if self.reduce_range else 127)
        for node in chosen:
            job.quantize(node)
        drop_unread(dict.fromkeys(weights), ctx)
        return len(chosen)

    def _qualifies(self, node: ir.Node, said: str, ctx: PassContext) -> bool:
        reason = "excluded" if said == "exclude" else self._refusal(node, said == "include")
        return reason is None or (ctx.skip(node, reason) if reason else False)

    def _refusal(self, node: ir.Node, forced: bool) -> str | None:
        """Why a node stays float32; empty when nothing is to be said."""
        x, w = edit.get_input(node, 0), edit.get_input(node, 1)
        if x is None or w is None or x.dtype not in (None, ir.DataType.FLOAT):
            return ""
        if edit.is_op(x.producer(), "DequantizeLinear") or edit.is_constant(x):
            return "its input is quantized already or constant"
        if node.op_type == "Conv":
            return "ONNX Runtime has no dynamic int8 Conv; use static quantization"
        if node.op_type == "LSTM":
            return self._lstm_refusal(node)
        tensor = edit.constant_tensor(w)
        if tensor is None:
            return "both factors are computed: int8 is slower there"
        if tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
            return "the weight is no float32 matrix"
        if (edit.rank_of(x) or 2) < 2 or edit.attr(node, "transA", 0):
            return "its input is a vector or transposed"
        if forced or tensor.size >= self.min_weights or _rows(x) * tensor.size >= self.min_macs:
            return None
        return "it is small: finding the range of its input would cost more than is won"

    def _lstm_refusal(self, node: ir.Node) -> str | None:
        if not self.lstm:
            return "LSTM is quantized only with lstm=true, to an operator of ONNX Runtime's own"
        if edit.attr(node, "layout", 0) or edit.attr(node, "activations") is not None:
            return "the LSTM has another layout or other activations"
        weights = [edit.constant_tensor(edit.get_input(node, i)) for i in (1, 2)]
        if any(w is None or w.dtype != ir.DataType.FLOAT for w in weights):
            return "its weights are not constant float32"
        return None


def _rows(x: ir.Value) -> int:
    """Rows of a product, about."""
    dims = edit.shape_of(x) or (None,)
    sizes = [d if isinstance(d, int) else 32 if i else 1 for i, d in enumerate(dims[:-1])]
    return math.prod(sizes)


class _Quantizer:
    """Rewrites nodes; what several of them read is quantized once."""

    def __init__(self, ctx: PassContext, largest: int) -> None:
        self.ctx, self.largest = ctx, largest
        self._inputs: dict[tuple[int, ir.Value], ir.Node] = {}
        self._weights: dict[tuple[ir.Value, bool, float], tuple[ir.Value, ir.Value]] = {}

    def quantize(self, node: ir.Node) -> None:
        """Put the integer form in the place of a float node."""
        if node.op_type == "LSTM":
            quantize_lstm(node, self.largest, self.ctx)
            return
        x, w, graph = node.inputs[0], node.inputs[1], node.graph
        assert x is not None and w is not None and isinstance(graph, ir.Graph)
        new: list[ir.Node] = []
        key = (id(graph), x)
        if key not in self._inputs:
            self._inputs[key] = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
            new.append(self._inputs[key])
        xq, sx, zx = self._inputs[key].outputs
        alpha, trans = float(edit.attr(node, "alpha", 1.0)), bool(edit.attr(node, "transB", 0))
        wq, sw = self._weight(w, trans, alpha)
        product = ir.node("MatMulInteger", [xq, wq, zx])
        scales = ir.node("Mul", [sx, sw])
        real = ir.node("Cast", product.outputs, {"to": ir.DataType.FLOAT.value})
        scaled = ir.node("Mul", [real.outputs[0], scales.outputs[0]])
        new += [product, scales, real, scaled]
        new += self._bias(node, scaled.outputs[0], graph)
        self.ctx.replace(node, new)

    def _weight(self, w: ir.Value, trans: bool, alpha: float) -> tuple[ir.Value, ir.Value]:
        key = (w, trans, alpha)
        if key not in self._weights:
            array = edit.constant_array(w)
            assert array is not None
            matrix = (array.T if trans else array).astype(np.float64) * alpha
            scale = weight_scales(matrix, 1, self.largest)
            integers = round_weight(matrix, scale, 1, self.largest)
            owner = w.graph if isinstance(w.graph, ir.Graph) else self.ctx.model.graph
            self._weights[key] = (
                self.ctx.constant(owner, f"{w.name}_quantized", integers),
                self.ctx.constant(owner, f"{w.name}_scale", scale),
            )
        return self._weights[key]

    def _bias(self, node: ir.Node, y: ir.Value, graph: ir.Graph) -> list[ir.Node]:
        c, beta = edit.get_input(node, 2), float(edit.attr(node, "beta", 1.0))
        if c is None or beta == 0:
            return []
        array: npt.NDArray[Any] | None = edit.constant_array(c)
        if beta == 1:
            return [ir.node("Add", [y, c])]
        if array is not None:
            scaled = (array.astype(np.float64) * beta).astype(np.float32)
            return [ir.node("Add", [y, self.ctx.constant(graph, c.name, scaled)])]
        factor = self.ctx.constant(graph, "beta", np.asarray(beta, np.float32))
        times = ir.node("Mul", [c, factor])
        return [times, ir.node("Add", [y, times.outputs[0]])]
