"""Shapes of common operators outside ``ai.onnx``: com.microsoft and ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, add, exact_div, mul
from onnxslim.analysis.shape_context import NodeContext, Rule
from onnxslim.analysis.shape_rules_conv import conv, pool_dims, qlinear_conv
from onnxslim.analysis.shape_rules_elementwise import same
from onnxslim.analysis.shape_rules_linear import gemm, matmul_dims
from onnxslim.analysis.shape_rules_quantization import dequantize, quantize

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def _swap(dims: Dims | None, swap: bool) -> Dims | None:
    return dims if dims is None or not swap or len(dims) < 2 else (*dims[:-2], dims[-1], dims[-2])


def fused_matmul(ctx: NodeContext) -> None:
    """FusedMatMul: transposed operands; batch transposes are left unknown."""
    if ctx.attr("transBatchA", 0) or ctx.attr("transBatchB", 0):
        return ctx.set(0, ctx.dtype(0), None)
    a = _swap(ctx.dims(0), bool(ctx.attr("transA", 0)))
    b = _swap(ctx.dims(1), bool(ctx.attr("transB", 0)))
    ctx.set(0, ctx.dtype(0), matmul_dims(ctx, a, b))


def float_matmul(ctx: NodeContext) -> None:
    """MatMulIntegerToFloat and DynamicQuantizeMatMul: float32."""
    ctx.set(0, FLOAT, matmul_dims(ctx, ctx.dims(0), ctx.dims(1)))


def matmul_nbits(ctx: NodeContext) -> None:
    """MatMulNBits: ``N`` columns."""
    a, columns = ctx.dims(0), ctx.attr("N")
    ctx.set(0, ctx.dtype(0), None if a is None or columns is None else (*a[:-1], columns))


def skip_layer_norm(ctx: NodeContext) -> None:
    """SkipLayerNormalization: the result and, last, the sum before the normalization."""
    ctx.copy()
    ctx.copy(0, 3)


def embed_layer_norm(ctx: NodeContext) -> None:
    """EmbedLayerNormalization: (B,S,hidden)."""
    ids, table = ctx.dims(0), ctx.dims(2)
    known = ids is not None and table is not None and len(ids) == 2 and len(table) == 2
    dims: Dims | None = (*ids, table[1]) if known and ids and table else None
    ctx.set(0, ctx.dtype(2), dims)
    ctx.set(1, ir.DataType.INT32, None if ids is None else ids[:1])


def attention(ctx: NodeContext) -> None:
    """Attention of com.microsoft: packed weights, a third of their columns each."""
    x, w = ctx.dims(0), ctx.dims(1)
    sizes = ctx.attr("qkv_hidden_sizes")
    hidden: Dim | None = sizes[2] if sizes else (exact_div(w[1], 3) if w and len(w) == 2 else None)
    known = x is not None and len(x) == 3 and hidden is not None
    ctx.set(0, ctx.dtype(0), (*x[:2], hidden) if known and x and hidden is not None else None)
    ctx.set(1, ctx.dtype(0), None)


def multi_head(ctx: NodeContext) -> None:
    """MultiHeadAttention and GroupQueryAttention: type only, unless query and value are 3-D."""
    query, value = ctx.dims(0), ctx.dims(2)
    dims: Dims | None = None
    if ctx.node.op_type == "MultiHeadAttention" and query and value:
        if len(query) == 3 and len(value) == 3:
            dims = (*query[:2], value[2])
    elif query and value and len(query) == 3:
        dims = query
    for index in range(len(ctx.outputs)):
        ctx.set(index, ctx.dtype(0), dims if index == 0 else None)


def qlinear_binary(ctx: NodeContext) -> None:
    """QLinearAdd, QLinearMul: operands are inputs 0 and 3."""
    ctx.set(0, ctx.dtype(0), ctx.broadcast([ctx.dims(0), ctx.dims(3)]))


def qlinear_global_pool(ctx: NodeContext) -> None:
    """QLinearGlobalAveragePool: every spatial axis becomes 1."""
    dims = ctx.dims(0)
    if dims is None or len(dims) < 3:
        return ctx.set(0, ctx.dtype(0), None)
    if ctx.attr("channels_last", 0):
        return ctx.set(0, ctx.dtype(0), (dims[0], *(1 for _ in dims[2:]), dims[-1]))
    ctx.set(0, ctx.dtype(0), (*dims[:2], *(1 for _ in dims[2:])))


def qlinear_pool(ctx: NodeContext) -> None:
    """QLinearAveragePool: as AveragePool."""
    last = ctx.attr("channels_last", 0)
    ctx.set(0, ctx.dtype(0), None if last else pool_dims(ctx, ctx.dims(0)))


def qlinear_concat(ctx: NodeContext) -> None:
    """QLinearConcat: every third input from 2 on is data."""
    shapes = [ctx.dims(i) for i in range(2, len(ctx.inputs), 3)]
    known = [s for s in shapes if s is not None]
    dtype = ctx.dtype(1)
    if not known or len(known) != len(shapes) or len({len(s) for s in known}) != 1:
        return ctx.set(0, dtype, None)
    axis = ctx.axis(ctx.attr("axis", 0), len(known[0]))
    if axis is None:
        return ctx.set(0, dtype, None)
    result = list(known[0])
    for shape in known[1:]:
        for i, size in enumerate(shape):
            result[i] = add(result[i], size) if i == axis else ctx.merge(result[i], size, "sizes")
    ctx.set(0, dtype, result)


def _rows(ctx: NodeContext) -> Dim:
    dims = ctx.dims(0)
    return dims[0] if dims is not None and len(dims) == 2 else 1 if dims else ctx.fresh()


def float_same(ctx: NodeContext) -> None:
    """Scaler, Normalizer: float32 of the same shape."""
    ctx.copy(dtype=FLOAT)


def _check_trees(ctx: NodeContext) -> None:
    """A problem when the per-node lists of a tree ensemble have different lengths."""
    lists = ("treeids", "nodeids", "featureids", "modes", "truenodeids", "falsenodeids")
    lengths = {len(found) for n in lists if (found := ctx.attr(f"nodes_{n}")) is not None}
    if len(lengths) > 1:
        ctx.problem(f"its nodes_* lists have between {min(lengths)} and {max(lengths)} entries")


def regressor(ctx: NodeContext) -> None:
    """Regressors: (N,targets)."""
    _check_trees(ctx)
    targets = ctx.attr("n_targets", ctx.attr("targets", 1))
    ctx.set(0, FLOAT, (_rows(ctx), targets))


def tree_ensemble(ctx: NodeContext) -> None:
    """TreeEnsemble: (N,targets) of the input's type."""
    ctx.set(0, ctx.dtype(0), (_rows(ctx), ctx.attr("n_targets", 1)))


def classifier(ctx: NodeContext) -> None:
    """Classifiers: labels (N) and scores (N,classes)."""
    _check_trees(ctx)
    numbers = ctx.attr("classlabels_int64s", ctx.attr("classlabels_ints"))
    words = ctx.attr("classlabels_strings")
    rows = _rows(ctx)
    ctx.set(0, ir.DataType.STRING if words else INT64, (rows,))
    count = len(words or numbers or ())
    ctx.set(1, FLOAT, (rows, count if count > 2 else ctx.fresh()))


def label_encoder(ctx: NodeContext) -> None:
    """LabelEncoder: the type of its list of values."""
    kinds = {
        "values_int64s": INT64,
        "values_floats": FLOAT,
        "values_strings": ir.DataType.STRING,
    }
    found = [kind for name, kind in kinds.items() if ctx.attr(name) is not None]
    if ctx.attr("values_tensor") is not None:
        found.append(ctx.attr("values_tensor").dtype)
    value = ctx.value(0)
    ctx.share(0, found[0] if found else None, None if value is None else value.shape)


def one_hot_encoder(ctx: NodeContext) -> None:
    """OneHotEncoder: one more axis."""
    dims = ctx.dims(0)
    count = len(ctx.attr("cats_int64s") or ctx.attr("cats_strings") or ())
    ctx.set(0, FLOAT, None if dims is None else (*dims, count))


def feature_extractor(ctx: NodeContext) -> None:
    """ArrayFeatureExtractor: columns picked from the last axis."""
    x, index = ctx.dims(0), ctx.dims(1)
    if not x or not index:
        return ctx.set(0, ctx.dtype(0), None)
    count: Dim = 1
    for size in index:
        count = mul(count, size)
    ctx.set(0, ctx.dtype(0), (*(x[:-1] or (1,)), count))


MICROSOFT: Mapping[str, Rule] = {
    **{
        op: same
        for op in """BiasGelu BiasSplitGelu FastGelu Gelu Inverse QLinearLeakyRelu
        LayerNormalization QLinearSigmoid QLinearSoftmax QuickGelu RotaryEmbedding
        SimplifiedLayerNormalization
        BiasSoftmax""".split()
    },
    "Attention": attention,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeMatMul": float_matmul,
    "EmbedLayerNormalization": embed_layer_norm,
    "FusedConv": conv,
    "FusedGemm": gemm,
    "FusedMatMul": fused_matmul,
    "GroupQueryAttention": multi_head,
    "MatMulIntegerToFloat": float_matmul,
    "MatMulNBits": matmul_nbits,
    "MultiHeadAttention": multi_head,
    "QLinearAdd": qlinear_binary,
    "QLinearAveragePool": qlinear_pool,
    "QLinearConcat": qlinear_concat,
    "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": qlinear_global_pool,
    "QLinearMul": qlinear_binary,
    "QuantizeLinear": quantize,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_layer_norm,
    "TransposeMatMul": fused_matmul,
}

ML: Mapping[str, Rule] = {
    "ArrayFeatureExtractor": feature_extractor,
    "Binarizer": same,
    "Imputer": same,
    "LabelEncoder": label_encoder,
    "LinearClassifier": classifier,
    "LinearRegressor": regressor,
    "Normalizer": float_same,
    "OneHotEncoder": one_hot_encoder,
    "SVMClassifier": classifier,
    "SVMRegressor": regressor,
    "Scaler": float_same,
    "TreeEnsemble": tree_ensemble,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsembleRegressor": regressor,
}
