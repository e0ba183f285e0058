"""Shapes of operators that move elements: reshape, transpose, join, cut, pad, resize."""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim.analysis.dims import (
    Dim,
    Dims,
    add,
    exact_div,
    floordiv,
    known_different,
    mul,
    product,
)
from onnxslim.analysis.shape_context import Elements, NodeContext, Rule, text


def reshape(ctx: NodeContext) -> None:
    """Reshape: 0 copies (unless ``allowzero``), -1 is what is left.

    A symbolic element of the target is taken at face value, never as "0: copy".
    """
    dims = ctx.dims(0)
    target = _reshape_target(ctx)
    if target is None:
        return ctx.set(0, ctx.dtype(0), None)
    literal_zero = bool(ctx.attr("allowzero", 0))
    result: list[Dim] = []
    guess: int | None = None
    for i, size in enumerate(target):
        if size == -1 and isinstance(size, int):
            if guess is not None:
                ctx.problem("its target shape has more than one -1")
                return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(target)))
            guess = i
            result.append(1)
        elif isinstance(size, int) and size == 0 and not literal_zero:
            result.append(_copied(ctx, dims, i))
        else:
            result.append(ctx.fresh() if size is None else size)
    if guess is not None:
        result[guess] = _remaining(ctx, dims, result)
    elif dims is not None and known_different(product(dims), product(result)):
        ctx.problem(f"cannot reshape {text(dims)} to {text(result)}")
    ctx.set(0, ctx.dtype(0), result)


def _reshape_target(ctx: NodeContext) -> Elements | None:
    if ctx.opset < 5:
        target = ctx.attr("shape")
        return None if target is None else tuple(int(x) for x in target)
    return ctx.elements(1)


def _copied(ctx: NodeContext, dims: Dims | None, index: int) -> Dim:
    if dims is None:
        return ctx.fresh()
    if index >= len(dims):
        ctx.problem(f"target shape copies dimension {index} of {text(dims)}")
        return ctx.fresh()
    return dims[index]


def _remaining(ctx: NodeContext, dims: Dims | None, others: list[Dim]) -> Dim:
    if dims is None:
        return ctx.fresh()
    left, right = _without_common(dims, others)
    total, rest = product(left), product(right)
    found = exact_div(total, rest)
    if found is not None:
        return found
    if isinstance(total, int) and isinstance(rest, int):
        if rest:
            ctx.problem(f"cannot reshape {text(dims)}: {total} elements by {rest}")
        return ctx.fresh()
    return floordiv(total, rest) if isinstance(rest, int) and rest else ctx.fresh()


def _without_common(dims: Dims, others: list[Dim]) -> tuple[list[Dim], list[Dim]]:
    """Both lists without the sizes that are in both: shorter products."""
    left, right = list(dims), []
    for other in others:
        if other in left and other != 0:
            left.remove(other)
        else:
            right.append(other)
    return left, right


def flatten(ctx: NodeContext) -> None:
    """Flatten: two dimensions, before and from the axis."""
    dims = ctx.dims(0)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(2))
    axis = ctx.attr("axis", 1)
    if not -len(dims) <= axis <= len(dims):
        ctx.problem(f"axis {axis} is out of range for rank {len(dims)}")
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(2))
    axis = axis + len(dims) if axis < 0 else axis
    ctx.set(0, ctx.dtype(0), (product(dims[:axis]), product(dims[axis:])))


def input_axes(ctx: NodeContext, since: int, index: int = 1) -> tuple[bool, list[int] | None]:
    """``(given, axes)`` from an attribute or, from opset ``since`` on, from an input."""
    if ctx.opset < since:
        axes = ctx.attr("axes")
        return axes is not None, None if axes is None else [int(a) for a in axes]
    if not ctx.given(index):
        return False, None
    found = ctx.ints(index)
    return True, None if found is None else list(found)


def squeeze(ctx: NodeContext) -> None:
    """Squeeze: drop dimensions of size 1, the named or all of them."""
    dims = ctx.dims(0)
    given, axes = input_axes(ctx, 13)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), None)
    if not given:
        if not all(isinstance(d, int) for d in dims):
            return ctx.set(0, ctx.dtype(0), None)
        return ctx.set(0, ctx.dtype(0), [d for d in dims if d != 1])
    if axes is None:
        length = ctx.dims(1)
        count = length[0] if length and isinstance(length[0], int) else None
        rank = None if count is None or count > len(dims) else len(dims) - count
        return ctx.set(0, ctx.dtype(0), None if rank is None else ctx.fresh_dims(rank))
    dropped = ctx.axes(axes, len(dims))
    if dropped is None:
        return ctx.set(0, ctx.dtype(0), None)
    for axis in dropped:
        if known_different(dims[axis], 1):
            ctx.problem(f"cannot squeeze axis {axis} of {text(dims)}")
    ctx.set(0, ctx.dtype(0), [d for i, d in enumerate(dims) if i not in dropped])


def unsqueeze(ctx: NodeContext) -> None:
    """Unsqueeze: insert dimensions of size 1."""
    dims = ctx.dims(0)
    _, axes = input_axes(ctx, 13)
    if dims is None or axes is None:
        return ctx.set(0, ctx.dtype(0), None)
    rank = len(dims) + len(axes)
    inserted = ctx.axes(axes, rank)
    if inserted is None:
        return ctx.set(0, ctx.dtype(0), None)
    rest = iter(dims)
    ctx.set(0, ctx.dtype(0), [1 if i in inserted else next(rest) for i in range(rank)])


def transpose(ctx: NodeContext) -> None:
    """Transpose: by default all axes are reversed."""
    dims = ctx.dims(0)
    perm = ctx.attr("perm")
    if dims is None:
        rank = None if perm is None else len(perm)
        return ctx.set(0, ctx.dtype(0), None if rank is None else ctx.fresh_dims(rank))
    if perm is None:
        return ctx.set(0, ctx.dtype(0), dims[::-1])
    if sorted(perm) != list(range(len(dims))):
        ctx.problem(f"perm {list(perm)} is no permutation of {len(dims)} axes")
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), [dims[i] for i in perm])


def concat(ctx: NodeContext) -> None:
    """Concat: the sum along the axis, the same along the others."""
    ctx.same_types(range(len(ctx.inputs)))
    dtype = next((d for i in range(len(ctx.inputs)) if (d := ctx.dtype(i)) is not None), None)
    shapes = [ctx.dims(i) for i in range(len(ctx.inputs))]
    ranks = {len(s) for s in shapes if s is not None}
    if len(ranks) > 1:
        ctx.problem(f"inputs have different ranks, {min(ranks)} and {max(ranks)}")
    if len(ranks) != 1:
        return ctx.set(0, dtype, None)
    rank = ranks.pop()
    axis = ctx.axis(ctx.attr("axis", 1 if ctx.opset < 4 else 0), rank)
    if axis is None:
        return ctx.set(0, dtype, None)
    known = [s for s in shapes if s is not None]
    result = list(known[0])
    sizes: dict[Dim, int] = {}  # no symbolic sum of thousands of equal sizes, one by one
    for shape in known:
        sizes[shape[axis]] = sizes.get(shape[axis], 0) + 1
        for i in range(rank):
            if i != axis and shape[i] != result[i]:
                result[i] = ctx.merge(result[i], shape[i], f"sizes of axis {i}")
    total: Dim = 0
    for size, count in sizes.items():
        total = add(total, mul(size, count))
    result[axis] = total if len(known) == len(shapes) else ctx.fresh()
    ctx.set(0, dtype, result)


def split(ctx: NodeContext) -> None:
    """Split: sizes given, or equal parts (the last one smaller)."""
    dims = ctx.dims(0)
    count = ctx.attr("num_outputs", len(ctx.outputs))
    if count < 1:
        ctx.problem(f"num_outputs is {count}")
    axis = None if dims is None else ctx.axis(ctx.attr("axis", 0), len(dims))
    if dims is None or axis is None:
        for i in range(len(ctx.outputs)):
            ctx.set(i, ctx.dtype(0), None)
        return
    for i, size in enumerate(_split_sizes(ctx, dims[axis])):
        ctx.set(i, ctx.dtype(0), (*dims[:axis], size, *dims[axis + 1 :]))


def _split_sizes(ctx: NodeContext, total: Dim) -> Dims:
    given, sizes = ctx.given(1), ctx.sizes(1)
    if ctx.opset < 13:
        listed = ctx.attr("split")
        given, sizes = listed is not None, None if listed is None else tuple(listed)
    count = len(ctx.outputs)
    if not given:
        return _equal_parts(ctx, total, count)
    if sizes is None:
        return ctx.fresh_dims(count)
    if len(sizes) != count:
        ctx.problem(f"{len(sizes)} sizes for {count} outputs")
        return ctx.fresh_dims(count)
    whole: Dim = 0
    for part in sizes:
        whole = add(whole, part)
    if known_different(whole, total):
        ctx.problem(f"sizes {text(sizes)} do not add up to {total}")
    return sizes


def _equal_parts(ctx: NodeContext, total: Dim, count: int) -> Dims:
    equal = exact_div(total, count)
    if equal is not None:
        return (equal,) * count
    if not isinstance(total, int):
        return (floordiv(total, count),) * count if ctx.opset < 18 else ctx.fresh_dims(count)
    if ctx.opset < 18:
        ctx.problem(f"{total} cannot be split into {count} equal parts")
        return ctx.fresh_dims(count)
    part = -(-total // count)
    last = total - part * (count - 1)
    return ((part,) * (count - 1) + (last,)) if last >= 0 else ctx.fresh_dims(count)


def expand(ctx: NodeContext) -> None:
    """Expand: broadcast with the target shape."""
    dims, target = ctx.dims(0), ctx.sizes(1)
    if dims is None or target is None:
        rank = _length(ctx, 1)
        known = None if dims is None or rank is None else max(rank, len(dims))
        return ctx.set(0, ctx.dtype(0), None if known is None else ctx.fresh_dims(known))
    ctx.set(0, ctx.dtype(0), ctx.broadcast([dims, target]))


def _length(ctx: NodeContext, index: int) -> int | None:
    dims = ctx.dims(index)
    return dims[0] if dims and len(dims) == 1 and isinstance(dims[0], int) else None


def tile(ctx: NodeContext) -> None:
    """Tile: every dimension times its repeats."""
    dims, repeats = ctx.dims(0), ctx.elements(1)
    if dims is None or ctx.opset < 6:
        return ctx.set(0, ctx.dtype(0), None)
    if repeats is None or len(repeats) != len(dims):
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    pairs = zip(dims, repeats, strict=True)
    ctx.set(0, ctx.dtype(0), [ctx.fresh() if r is None else mul(d, r) for d, r in pairs])


def pad(ctx: NodeContext) -> None:
    """Pad: amounts before and after every (or every named) axis; negative ones cut."""
    dims = ctx.dims(0)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), None)
    if ctx.opset < 11:
        listed = ctx.attr("pads", ctx.attr("paddings"))
        pads: Elements | None = None if listed is None else tuple(listed)
    else:
        pads = ctx.elements(1)
    axes: tuple[int, ...] | None = tuple(range(len(dims)))
    if ctx.given(3):
        named = ctx.ints(3)
        axes = None if named is None else ctx.axes(named, len(dims))
    if pads is None or axes is None:
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    if len(pads) != 2 * len(axes):
        ctx.problem(f"{len(pads)} pads for {len(axes)} axes")
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    result = list(dims)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if before is None or after is None:
            result[axis] = ctx.fresh()
        else:
            result[axis] = add(dims[axis], add(before, after))
        if any(isinstance(p, int) and abs(p) > 2**31 for p in (before, after)):
            ctx.problem(f"pads {before} and {after} are too large")
    ctx.set(0, ctx.dtype(0), result)


def _block(ctx: NodeContext) -> int | None:
    size: int = ctx.attr("blocksize", 0)
    if size < 1:
        ctx.problem(f"blocksize is {size}")
        return None
    return size


def depth_to_space(ctx: NodeContext) -> None:
    """DepthToSpace: channels become space."""
    dims, size = ctx.dims(0), _block(ctx)
    if dims is None or size is None or len(dims) != 4:
        return ctx.set(0, ctx.dtype(0), None if dims is None else ctx.fresh_dims(4))
    n, c, h, w = dims
    ctx.set(0, ctx.dtype(0), (n, floordiv(c, size * size), mul(h, size), mul(w, size)))


def space_to_depth(ctx: NodeContext) -> None:
    """SpaceToDepth: space becomes channels."""
    dims, size = ctx.dims(0), _block(ctx)
    if dims is None or size is None or len(dims) != 4:
        return ctx.set(0, ctx.dtype(0), None if dims is None else ctx.fresh_dims(4))
    n, c, h, w = dims
    ctx.set(0, ctx.dtype(0), (n, mul(c, size * size), floordiv(h, size), floordiv(w, size)))


def center_crop_pad(ctx: NodeContext) -> None:
    """CenterCropPad: the named axes get the given sizes."""
    dims = ctx.dims(0)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), None)
    axes = ctx.axes(ctx.attr("axes", range(len(dims))), len(dims))
    sizes = ctx.sizes(1)
    if axes is None or sizes is None or len(sizes) != len(axes):
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    result = list(dims)
    for axis, size in zip(axes, sizes, strict=True):
        result[axis] = size
    ctx.set(0, ctx.dtype(0), result)


RULES: Mapping[str, Rule] = {
    "CenterCropPad": center_crop_pad,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": reshape,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
