"""Shapes of recurrent layers and of attention.

Source: ONNX operators RNN-22, GRU-22, LSTM-22, Attention-24, LinearAttention-27.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim.analysis.dims import Dim, Dims, add, exact_div, mul
from onnxslim.analysis.shape_context import NodeContext, Rule, text


def recurrent(ctx: NodeContext) -> None:
    """RNN, GRU, LSTM: ``Y`` (S,D,B,H), ``Y_h`` and ``Y_c`` (D,B,H); layout 1 puts B first."""
    x, r = ctx.dims(0), ctx.dims(2)
    ctx.same_types((0, 1, 2, 3))
    directions = 2 if ctx.attr("direction", "forward") == "bidirectional" else 1
    hidden = ctx.attr("hidden_size")
    size: Dim = hidden if hidden else (r[-1] if r is not None and len(r) == 3 else ctx.fresh())
    if x is not None and len(x) != 3:
        ctx.problem(f"data {text(x)} has not three axes")
        x = None
    first, second = ctx.fresh_dims(2) if x is None else x[:2]
    if ctx.attr("layout", 0):
        shapes: tuple[Dims, Dims] = (
            (first, second, directions, size),
            (first, directions, size),
        )
    else:
        shapes = ((first, directions, second, size), (directions, second, size))
    ctx.set(0, ctx.dtype(0), shapes[0])
    ctx.set(1, ctx.dtype(0), shapes[1])
    ctx.set(2, ctx.dtype(0), shapes[1])


def _heads(ctx: NodeContext, dims: Dims | None, count: int | None) -> Dims | None:
    """(B,heads,L,size) of a 4-D input, or of a 3-D one (B,L,heads*size)."""
    if dims is None or len(dims) == 4:
        return dims
    if len(dims) != 3 or not count:
        return None
    size = exact_div(dims[2], count)
    return (dims[0], count, dims[1], ctx.fresh() if size is None else size)


def attention(ctx: NodeContext) -> None:
    """Attention: the query's batch, heads and length, the value's size."""
    query = _heads(ctx, ctx.dims(0), ctx.attr("q_num_heads"))
    key = _heads(ctx, ctx.dims(1), ctx.attr("kv_num_heads"))
    value = _heads(ctx, ctx.dims(2), ctx.attr("kv_num_heads"))
    past = ctx.dims(4)
    output: Dims | None = None
    if query is not None and value is not None:
        if ctx.rank(0) == 3:
            output = (query[0], query[2], mul(query[1], value[3]))
        else:
            output = (*query[:3], value[3])
    ctx.set(0, ctx.dtype(0), output)
    for index, source in ((1, key), (2, value)):
        present: Dims | None = None
        if source is not None:
            length = add(source[2], past[2]) if past is not None and len(past) == 4 else source[2]
            if ctx.given(4) and past is None:
                length = ctx.fresh()
            present = (source[0], source[1], length, source[3])
        ctx.set(index, ctx.dtype(index), present)
    scores: Dims | None = None
    if query is not None and key is not None:
        length = add(key[2], past[2]) if past is not None and len(past) == 4 else key[2]
        scores = (*query[:3], length if not ctx.given(4) or past is not None else ctx.fresh())
    ctx.set(3, ctx.dtype(0), scores)


def linear_attention(ctx: NodeContext) -> None:
    """LinearAttention: packed (B,T,H*D) in and out, and the recurrent state."""
    query = _heads(ctx, ctx.dims(0), ctx.attr("q_num_heads"))
    key = _heads(ctx, ctx.dims(1), ctx.attr("kv_num_heads"))
    value = _heads(ctx, ctx.dims(2), ctx.attr("kv_num_heads"))
    output: Dims | None = None
    state: Dims | None = None
    if query is not None and value is not None:
        output = (query[0], query[2], mul(query[1], value[3]))
    if key is not None and value is not None:
        state = (key[0], key[1], key[3], value[3])
    ctx.set(0, ctx.dtype(0), output)
    ctx.set(1, ctx.dtype(3) if ctx.given(3) else ctx.dtype(0), state)


def causal_conv(ctx: NodeContext) -> None:
    """CausalConvWithState: the input's shape, and the last k-1 positions."""
    x, w = ctx.dims(0), ctx.dims(1)
    ctx.copy()
    state: Dims | None = None
    if x is not None and w is not None and len(x) == 3 and len(w) == 3:
        state = (x[0], x[1], add(w[2], -1))
    ctx.set(1, ctx.dtype(0), state)


RULES: Mapping[str, Rule] = {
    "Attention": attention,
    "CausalConvWithState": causal_conv,
    "GRU": recurrent,
    "LSTM": recurrent,
    "LinearAttention": linear_attention,
    "RNN": recurrent,
}
