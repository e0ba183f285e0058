"""Multiply-accumulates of one node, by operator.

Counted is what multiplies matrices; masks, normalizations, activations, interpolation and
transforms count as 0, as do products without a sum. Attention counts every pair of positions,
causal or not: that is what runtimes compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, add, mul, product
from onnxslim.graph.edit import attr, get_input, shape_of

Counter = Callable[[ir.Node], Dim | None]


def _shapes(node: ir.Node, *indices: int, rank: int | None = None) -> list[Dims] | None:
    """Shapes of inputs, None when one is unknown or of another rank."""
    found = [shape_of(get_input(node, i)) for i in indices]
    known = [s for s in found if s is not None and rank in (None, len(s))]
    return known if len(known) == len(found) else None


# ------------------------------------------------------------ convolutions, matrix products


def _conv(node: ir.Node, weight: int = 1) -> Dim | None:
    """Every output element takes one product per weight of its filter."""
    out, w = shape_of(node.outputs[0]), shape_of(get_input(node, weight))
    return None if out is None or w is None else mul(product(out), product(w[1:]))


def _conv_transpose(node: ir.Node) -> Dim | None:
    """Every input element takes one product per weight of its filter."""
    shapes = _shapes(node, 0, 1)
    return None if shapes is None else mul(product(shapes[0]), product(shapes[1][1:]))


def _gemm(node: ir.Node) -> Dim | None:
    out, a = shape_of(node.outputs[0]), shape_of(get_input(node, 0))
    if out is None or a is None or len(a) != 2:
        return None
    return mul(product(out), a[0] if attr(node, "transA", 0) else a[1])


def _matmul(node: ir.Node) -> Dim | None:
    """``transBatchA`` moves the first axis to the place before the last, then ``transA`` acts."""
    out, a = shape_of(node.outputs[0]), shape_of(get_input(node, 0))
    if out is None or not a:
        return None
    inner = a[-1]
    if len(a) > 1 and attr(node, "transA", 0):
        inner = a[0] if attr(node, "transBatchA", 0) else a[-2]
    return mul(product(out), inner)


def _nbits(node: ir.Node, *columns: tuple[str, int]) -> Dim | None:
    """Rows of A times K times the columns that attributes name, each so many times."""
    a = shape_of(get_input(node, 0))
    width = sum(times * int(attr(node, name, 0)) for name, times in columns)
    return None if not a else mul(product(a), width)


def _recurrent(node: ir.Node) -> Dim | None:
    """Per step, batch entry and direction: gates * hidden * (input + hidden)."""
    shapes = _shapes(node, 0, 1, 2, rank=3)
    if shapes is None:
        return None
    x, w, r = shapes
    return mul(mul(x[0], x[1]), add(product(w), product(r)))


def _experts(node: ir.Node) -> Dim | None:
    """Each token passes through ``k`` experts: their two or three matrices."""
    shapes = _shapes(node, 0, 2, 4)
    if shapes is None or any(len(s) != 3 for s in shapes[1:]):
        return None
    x, *experts = shapes
    if get_input(node, 6) is not None:
        third = _shapes(node, 6, rank=3)
        if third is None:
            return None
        experts += third
    weights: Dim = 0
    for shape in experts:
        weights = add(weights, product(shape[1:]))
    return mul(mul(product(x[:-1]), int(attr(node, "k", 1))), weights)


def _position_bias(node: ir.Node) -> Dim | None:
    """GatedRelativePositionBias: every head of the query times a matrix."""
    shapes = _shapes(node, 0, 3)
    return None if shapes is None else mul(product(shapes[0]), shapes[1][-1])


# ------------------------------------------------------------------------------- Einsum


def _einsum(node: ir.Node) -> Dim | None:
    """Operands from left to right; a product without a sum counts 0, as Mul does."""
    operands = _shapes(node, *range(len(node.inputs)))
    equation = str(attr(node, "equation", "")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if operands is None or len(terms) != len(operands):
        return None
    letters = [_letters(t, len(s)) for t, s in zip(terms, operands, strict=True)]
    sizes: dict[str, Dim] = {}
    for names, shape in zip(letters, operands, strict=True):
        for name, dim in zip(names, shape, strict=False):
            if sizes.get(name, 1) == 1:
                sizes[name] = dim
    every = [name for names in letters for name in names]
    if arrow:
        result = set(right) | {n for n in every if n.isdigit()}
    else:
        result = {n for n in every if every.count(n) == 1 or n.isdigit()}
    return _contractions(letters, result, sizes)


def _letters(term: str, rank: int) -> list[str]:
    """Names of the axes of an operand; those of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(i) for i in reversed(range(hidden if dots else 0))), *after]


def _contractions(
    letters: Sequence[Sequence[str]], result: set[str], sizes: Mapping[str, Dim]
) -> Dim:
    total: Dim = 0
    made = list(dict.fromkeys(letters[0]))
    for i, term in enumerate(letters[1:], 1):
        later = result.union(*letters[i + 1 :])
        own = [n for n in made if n in term or n in later]
        other = [n for n in dict.fromkeys(term) if n not in made and n in later]
        joint = own + other
        made = [n for n in joint if n in later]
        if len(made) < len(joint):
            total = add(total, product(tuple(sizes[n] for n in joint)))
    return total


# ---------------------------------------------------------------------------- attention


def _length(node: ir.Node, length: Dim, past: int, axis: int) -> Dim | None:
    """Keys with those of the past; a cache that is shared counts whole."""
    if get_input(node, past) is None:
        return length
    shape = shape_of(get_input(node, past))
    return None if shape is None or len(shape) <= axis else add(length, shape[axis])


def _pairs(rows: Dim, keys: Dim | None, *widths: Dim | None) -> Dim | None:
    """``rows * keys * (sum of widths)``: scores, then the weighted sum of values."""
    total: Dim = 0
    for width in widths:
        if width is None:
            return None
        total = add(total, width)
    return None if keys is None else mul(mul(rows, keys), total)


def _shared(width: Dim, heads: int, kv_heads: int) -> Dim | None:
    """Width of the values when every key head is read by several query heads."""
    if heads == kv_heads:
        return width
    return width // kv_heads * heads if isinstance(width, int) and kv_heads else None


def _attention(node: ir.Node) -> Dim | None:
    """ai.onnx Attention: (B, L, heads * depth) or (B, heads, L, depth)."""
    shapes = _shapes(node, 0, 1, 2)
    if shapes is None or any(len(s) != len(shapes[0]) or len(s) not in (3, 4) for s in shapes):
        return None
    q, k, v = shapes
    keys = _length(node, k[-2], 4, 2)
    if len(q) == 4:
        return _pairs(mul(mul(q[0], q[1]), q[2]), keys, q[3], v[3])
    heads, kv_heads = attr(node, "q_num_heads", 1), attr(node, "kv_num_heads", 1)
    return _pairs(mul(q[0], q[1]), keys, q[2], _shared(v[2], heads, kv_heads))


def _multi_head(node: ir.Node, past: int = 6) -> Dim | None:
    """MultiHeadAttention: apart, with keys and values packed, all packed, or keys from a cache."""
    q = shape_of(get_input(node, 0))
    if q is None:
        return None
    if len(q) == 5:  # (B, L, heads, 3, depth)
        width = mul(q[2], q[4])
        return _pairs(mul(q[0], q[1]), _length(node, q[1], past, 2), width, width)
    k = shape_of(get_input(node, 1))
    if k is None or len(q) != 3:
        return None
    if len(k) == 5:  # (B, L, heads, 2, depth)
        return _pairs(mul(q[0], q[1]), _length(node, k[1], past, 2), q[2], q[2])
    v = shape_of(get_input(node, 2))
    if v is None or len(v) != len(k) or len(k) not in (3, 4):
        return None
    if len(k) == 4:  # (B, heads, L, depth): of another sequence, no past
        return _pairs(mul(q[0], q[1]), k[2], q[2], mul(v[1], v[3]))
    return _pairs(mul(q[0], q[1]), _length(node, k[1], past, 2), q[2], v[2])


def _group_query(node: ir.Node) -> Dim | None:
    """GroupQueryAttention; without keys the query holds all three."""
    q = shape_of(get_input(node, 0))
    heads, kv_heads = int(attr(node, "num_heads", 0)), int(attr(node, "kv_num_heads", 0))
    if q is None or len(q) != 3 or not heads:
        return None
    width: Dim = q[2]
    if get_input(node, 1) is None:
        if not isinstance(width, int):
            return None
        width = width // (heads + 2 * kv_heads) * heads
    return _pairs(mul(q[0], q[1]), _length(node, q[1], 3, 2), width, width)


def _packed(node: ir.Node, past: int = 4) -> Dim | None:
    """Attention of com.microsoft: the projection (input, q + k + v), then the pairs."""
    shapes = _shapes(node, 0, 1)
    if shapes is None or len(shapes[0]) != 3 or len(shapes[1]) != 2:
        return None
    x, w = shapes
    sizes = attr(node, "qkv_hidden_sizes", None)
    if not sizes:
        if not isinstance(w[1], int):
            return None
        sizes = [w[1] // 3] * 3
    rows = mul(x[0], x[1])
    pairs = _pairs(rows, _length(node, x[1], past, 3), int(sizes[0]), int(sizes[2]))
    return None if pairs is None else add(mul(rows, product(w)), pairs)


def _linear_attention(node: ir.Node) -> Dim | None:
    """A state (depth of keys, depth of values) per key head, updated and read at every step."""
    shapes = _shapes(node, 0, 1, 2, rank=3)
    heads, kv_heads = int(attr(node, "q_num_heads", 0)), int(attr(node, "kv_num_heads", 0))
    if shapes is None or not heads or not kv_heads:
        return None
    q, _, v = shapes
    if not isinstance(q[2], int) or not isinstance(v[2], int):
        return None
    updates = 2 if "delta" in str(attr(node, "update_rule", "")) else 1
    state = (q[2] // heads) * (v[2] // kv_heads)
    return mul(mul(q[0], q[1]), state * (heads + updates * kv_heads))


def _unknown(_: ir.Node) -> Dim | None:
    """Depends on contents (lengths, routes), or on a layout that shapes do not tell."""
    return None


def _quantized_conv(node: ir.Node) -> Dim | None:
    return _conv(node, 3)


_MICROSOFT: Mapping[str, Counter] = {
    "AttnLSTM": _unknown,
    "Attention": _packed,
    "CausalConvWithState": _conv,
    "Conv": _conv,
    "ConvTransposeWithDynamicPads": _conv_transpose,
    "DecoderAttention": _unknown,
    "DecoderMaskedMultiHeadAttention": lambda node: _multi_head(node, 5),
    "DecoderMaskedSelfAttention": _packed,
    "DynamicQuantizeLSTM": _recurrent,
    "DynamicQuantizeMatMul": _matmul,
    "DynamicSparseAttention": _unknown,
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "FusedMatMulActivation": _matmul,
    "GatedDeltaNet": _unknown,
    "GatedRelativePositionBias": _position_bias,
    "GemmFastGelu": _matmul,
    "GemmFloat8": _gemm,
    "GroupQueryAttention": _group_query,
    "LinearAttention": _linear_attention,
    "LongformerAttention": _unknown,
    "MatMulBlockQuantizedFp4Weight": _matmul,
    "MatMulBlockQuantizedFp8Weight": _matmul,
    "MatMulBnb4": lambda node: _nbits(node, ("N", 1)),
    "MatMulFpQ4": _matmul,
    "MatMulInteger16": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "MatMulNBits": lambda node: _nbits(node, ("N", 1)),
    "MatMulNBitsMlp": lambda node: _nbits(node, ("N", 2)),
    "MatMulNBitsQkv": lambda node: _nbits(node, ("Nq", 1), ("Nkv", 2)),
    "MoE": _experts,
    "MultiHeadAttention": _multi_head,
    "NhwcConv": _conv,
    "NhwcFusedConv": _conv,
    "PackedAttention": _unknown,
    "PackedMultiHeadAttention": _unknown,
    "PagedAttention": _unknown,
    "QAttention": lambda node: _packed(node, 8),
    "QGemm": _gemm,
    "QLinearConv": _quantized_conv,
    "QMoE": _unknown,
    "QOrderedAttention": _unknown,
    "QOrderedLongformerAttention": _unknown,
    "QOrderedMatMul": _matmul,
    "SparseAttention": _unknown,
    "SparsePagedAttention": _unknown,
    "SparseToDenseMatMul": _unknown,
    "TransposeMatMul": _matmul,
    "WordConvEmbedding": _unknown,
}

COUNTERS: Mapping[tuple[str, str], Counter] = {
    ("", "Attention"): _attention,
    ("", "CausalConvWithState"): _conv,
    ("", "Conv"): _conv,
    ("", "ConvInteger"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _conv,
    ("", "Einsum"): _einsum,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _gemm,
    ("", "LSTM"): _recurrent,
    ("", "LinearAttention"): _linear_attention,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearConv"): _quantized_conv,
    ("", "QLinearMatMul"): _matmul,
    ("", "RNN"): _recurrent,
    **{("com.microsoft", name): counter for name, counter in _MICROSOFT.items()},
}
"""By domain and operator type; None is given where shapes do not tell."""
