"""What the random models are made of: each function adds a few nodes, or none when nothing fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.builder import Builder, Shape

Emitter = Callable[[Builder], object]


def _is_image(shape: Shape) -> bool:
    return len(shape) == 4 and min(shape[2:]) >= 3


# ------------------------------------------------------------------ layers


def conv(b: Builder, x: str | None = None) -> str | None:
    x = x or b.pick(_is_image)
    if x is None:
        return None
    n, c, h, w = b.shape(x)
    k = min(b.choice([1, 3, 1, 3, 2]), h, w)
    group = c if b.chance(20) else 2 if c % 2 == 0 and b.chance(25) else 1
    out = group * b.choice([1, 2, 4])
    stride, dilation = b.choice([1, 1, 2]), 1
    given: dict[str, object] = {}
    if b.chance(15):
        given["auto_pad"] = b.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
        pads = [0] * 4
        valid = given["auto_pad"] == "VALID"
        size = [(d - k) // stride + 1 if valid else -(-d // stride) for d in (h, w)]
    else:
        dilation = b.choice([1, 1, 2]) if min(h, w) > 2 * k else 1
        extent = dilation * (k - 1) + 1
        pads = [b.integer(0, k // 2) for _ in range(4)] if b.chance(60) else [0] * 4
        size = [(d + pads[i] + pads[i + 2] - extent) // stride + 1 for i, d in enumerate((h, w))]
        given |= {"pads": pads} if any(pads) or b.chance(50) else {}
    if min(size) < 1:
        return None
    if stride > 1 or b.chance(30):
        given["strides"] = [stride, stride]
    if dilation > 1 or b.chance(30):
        given["dilations"] = [dilation, dilation]
    if group > 1 or b.chance(30):
        given["group"] = group
    if b.chance(50):
        given["kernel_shape"] = [k, k]
    inputs = [x, b.weight(out, c // group, k, k)]
    if b.chance(50):
        inputs.append(b.uniform((out,), -0.5, 0.5))
    y = b.node("Conv", inputs, (n, out, *size), **given)
    return batchnorm(b, y) if b.chance(50) else y


def conv_transpose(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) == 4 and s[2] * s[3] <= 100)
    if x is None:
        return None
    n, c, h, w = b.shape(x)
    group = 2 if c % 2 == 0 and b.chance(40) else 1
    out, k, stride = b.choice([1, 2]), b.choice([2, 3]), b.choice([1, 2])
    inputs = [x, b.weight(c, out, k, k, fan=c * k)]
    if b.chance(50):
        inputs.append(b.uniform((out * group,), -0.5, 0.5))
    shape = (n, out * group, (h - 1) * stride + k, (w - 1) * stride + k)
    y = b.node("ConvTranspose", inputs, shape, strides=[stride, stride], group=group)
    return batchnorm(b, y) if b.chance(50) else y


def batchnorm(b: Builder, x: str | None = None) -> str | None:
    x = x or b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    c = (shape[1],)
    ranges = [(-1.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.4, 2.0)]
    given = {"epsilon": b.choice([1e-5, 1e-3])} if b.chance(50) else {}
    return b.node("BatchNormalization", [x, *(b.uniform(c, *r) for r in ranges)], shape, **given)


def gemm(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) == 2)
    if x is None:
        return None
    n, c = b.shape(x)
    out, trans = b.choice([3, 4, 8]), b.integer(0, 1)
    weight = b.weight(out, c) if trans else b.weight(c, out, fan=c)
    inputs = [x, weight]
    given: dict[str, float] = {"transB": trans} if trans or b.chance(30) else {}
    if b.chance(60):
        inputs.append(b.uniform(b.choice([(out,), (1,), (1, out), ()]), -0.5, 0.5))
    elif b.opset < 11:
        inputs.append(b.uniform((out,), -0.5, 0.5))
    if b.chance(40):
        given |= {"alpha": b.choice([0.5, 1.0]), "beta": b.choice([2.0, 1.0])}
    y = b.node("Gemm", inputs, (n, out), **given)
    return batchnorm(b, y) if b.chance(30) else y


def matmul(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2 and s[-1] <= 256)
    if x is None:
        return None
    shape, out = b.shape(x), b.choice([3, 4, 8])
    shape, c = (*shape[:-1], out), shape[-1]
    y = b.node("MatMul", [x, b.weight(c, out, fan=c)], shape)
    if b.chance(60):
        bias = b.uniform(b.choice([(out,), (1, out), (1,), ()]), -0.5, 0.5)
        y = b.node("Add", [y, bias] if b.chance(70) else [bias, y], shape)
    return batchnorm(b, y) if len(shape) == 2 and b.chance(40) else y


def affine_chain(b: Builder) -> str | None:
    """Mul, Add, Sub, Div by constants, alone or after a layer."""
    layers: list[Callable[[Builder], str | None]] = [conv, matmul, Builder.pick]
    y = b.choice(layers)(b)
    if y is None or y not in b.values:
        return None
    shape = b.shape(y)
    c, rank = (shape[1] if len(shape) > 1 else 1), len(shape)
    for _ in range(b.integer(1, 3)):
        channel = (c, *[1] * (rank - 2)) if rank > 1 else (1,)
        sizes: list[Shape] = [channel, (), (1,), (1,) * rank]
        constant = b.uniform(b.choice(sizes), 0.6, 1.4)
        op = b.choice(["Mul", "Add", "Sub", "Div"])
        flip = op != "Div" and b.chance(30)
        y = b.node(op, [constant, y] if flip else [y, constant], shape)
    return y


def layernorm(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) in (2, 3) and s[-1] >= 2)
    if x is None:
        return None
    shape, size = b.shape(x), (b.shape(x)[-1],)
    if b.opset >= 17 and b.chance(50):
        inputs = [x, b.uniform(size, 0.5, 1.5), b.uniform(size, -0.5, 0.5)]
        return b.node("LayerNormalization", inputs, shape, axis=-1, epsilon=1e-2)
    mean = b.reduce("ReduceMean", x, [-1], 1)
    centred = b.node("Sub", [x, mean], shape)
    square = b.node("Mul", [centred, centred], shape)
    variance = b.reduce("ReduceMean", square, [-1], 1)
    small = b.shape(variance)
    root = b.node("Sqrt", [b.node("Add", [variance, b.scalar(0.01)], small)], small)
    y = b.node("Div", [centred, root], shape)
    return b.node("Mul", [y, b.uniform(size, 0.5, 1.5)], shape)


# ------------------------------------------------------------------ elementwise


def unary(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    op = b.choice(["Relu", "Sigmoid", "Tanh", "Neg", "Abs", "LeakyRelu", "Elu", "Softplus"])
    given = {"alpha": 0.1} if op == "LeakyRelu" and b.chance(50) else {}
    return b.node(op, [x], b.shape(x), **given)


def clip(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    low, high = b.choice([-0.75, None, 0.0]), b.choice([0.75, 6.0, None])
    return b.clip(x, low, high)


def prelu(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    c, rank = b.shape(x)[1], len(b.shape(x))
    return b.node("PRelu", [x, b.uniform((c, *[1] * (rank - 2)), 0, 0.5)], b.shape(x))


def swish(b: Builder) -> str | None:
    x = b.pick()
    return None if x is None else b.node("Mul", [x, b.node("Sigmoid", [x], b.shape(x))], b.shape(x))


def gelu(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    shape = b.shape(x)
    erf = b.node("Erf", [b.node("Div", [x, b.scalar(2**0.5)], shape)], shape)
    both = b.node("Mul", [x, b.node("Add", [erf, b.scalar(1.0)], shape)], shape)
    return b.node("Mul", [both, b.scalar(0.5)], shape)


def binary(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    shape = b.shape(x)
    y = b.pick(lambda s: s == shape) or x
    op = b.choice(["Add", "Sub", "Max", "Min", "Mul"])
    if op == "Mul":
        y = b.node("Tanh", [y], shape)
    return b.node(op, [x, y, x] if op in ("Max", "Min") and b.chance(30) else [x, y], shape)


def select(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    mask = b.node("Greater", [x, b.scalar(0.0)])
    return b.node("Where", [mask, x, b.scalar(0.1)], b.shape(x))


# ------------------------------------------------------------------ moving data


def concat(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    axis = b.integer(1, len(shape) - 1)

    def fits(other: Shape) -> bool:
        return len(other) == len(shape) and all(
            p == q for i, (p, q) in enumerate(zip(shape, other, strict=True)) if i != axis
        )

    parts = [x, *(b.pick(fits) or x for _ in range(b.integer(0, 2)))]
    total = sum(b.shape(p)[axis] for p in parts)
    joined = tuple(total if i == axis else d for i, d in enumerate(shape))
    return b.node("Concat", parts, joined, axis=axis if b.chance(70) else axis - len(shape))


def split(b: Builder) -> object:
    x = b.pick(lambda s: len(s) >= 2 and max(s[1:]) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    axis = b.choice([i for i in range(1, len(shape)) if shape[i] >= 2])
    first = b.integer(1, shape[axis] - 1)
    left, right = b.split(x, axis, [first, shape[axis] - first])
    if b.chance(50):
        order = [left, right] if b.chance(60) else [right, left]
        return b.node("Concat", order, shape, axis=axis)
    return left


def slices(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2 and max(s[1:]) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    axis = b.choice([i for i in range(1, len(shape)) if shape[i] >= 2])
    size = shape[axis]
    start = b.integer(0, size - 1)
    how = b.integer(0, 4)
    if how == 0:
        y = b.slice(x, 0, 2**63 - 1, axis)
    elif how == 1:
        y = b.slice(x, -1, -(2**63), axis, -1)
    elif how == 2:
        y = b.slice(x, start, 2**31 - 1, axis, b.choice([1, 2]))
    else:
        y = b.slice(x, start - size if b.chance(30) else start, b.integer(start + 1, size), axis)
    if y is not None and b.shape(y)[axis] >= 2 and b.chance(25):
        y = b.slice(y, 1, 2**31 - 1, axis)
    return y


def pad(b: Builder) -> object:
    x = b.pick(_is_image)
    if x is None:
        return None
    mode = b.choice(["constant", "constant", "reflect", "edge"])
    pads = [0, 0, b.integer(0, 2), b.integer(0, 2), 0, 0, b.integer(0, 2), b.integer(0, 2)]
    if mode == "constant" and b.chance(15):
        pads[2] = -1
    y = b.pad(x, pads, mode, b.choice([0.0, 0.0, 1.0]))
    how = b.integer(0, 2)
    if not _is_image(b.shape(y)) or how == 0:
        return y
    return conv(b, y) if how == 1 else pool(b, y)


def pool(b: Builder, x: str | None = None) -> str | None:
    x = x or b.pick(_is_image)
    if x is None:
        return None
    n, c, h, w = b.shape(x)
    k, stride, pads = b.choice([2, 3]), b.choice([1, 2]), [b.integer(0, 1) for _ in range(4)]
    size = [(d + pads[i] + pads[i + 2] - k) // stride + 1 for i, d in enumerate((h, w))]
    op = b.choice(["MaxPool", "AveragePool"])
    given = {"count_include_pad": b.integer(0, 1)} if op == "AveragePool" else {}
    common = {"kernel_shape": [k, k], "strides": [stride, stride], "pads": pads}
    return b.node(op, [x], (n, c, *size), **common, **given)


def squeeze_excite(b: Builder) -> str | None:
    x = b.pick(_is_image)
    if x is None:
        return None
    n, c, *_ = b.shape(x)
    y = b.node("GlobalAveragePool", [x], (n, c, 1, 1))
    if b.chance(30):
        return b.squeeze(y, [2, 3], (n, c))
    if b.chance(30):
        return b.node("Flatten", [y], (n, c))
    y = b.node("Relu", [b.node("Conv", [y, b.weight(2, c, 1, 1)], (n, 2, 1, 1))], (n, 2, 1, 1))
    y = b.node("Conv", [y, b.weight(c, 2, 1, 1)], (n, c, 1, 1))
    return b.node("Mul", [x, b.node("Sigmoid", [y], (n, c, 1, 1))], b.shape(x))


def transpose(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    rest = list(range(1, len(shape)))
    order = [rest.pop(b.integer(0, len(rest) - 1)) for _ in range(len(shape) - 1)]
    perm = [0, *order]
    y = b.node("Transpose", [x], tuple(shape[i] for i in perm), perm=perm)
    if b.chance(50):
        if b.chance(50):
            y = b.node("Relu", [y], b.shape(y))
        y = b.node("Transpose", [y], shape, perm=[perm.index(i) for i in range(len(perm))])
    return y


def reshape(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    shape = b.shape(x)
    flat = (shape[0], int(np.prod(shape[1:], dtype=int)))
    how = b.integer(0, 4)
    if how == 0:
        return b.node("Flatten", [x], flat, axis=1)
    if how == 1:
        y = b.unsqueeze(x, 1, (shape[0], 1, *shape[1:]))
        return b.squeeze(y, [1], shape) if b.chance(50) else y
    if how == 2:  # the target shape computed from the input's
        size = b.node("Gather", [b.node("Shape", [x]), b.constant(np.int64(0), "s")], axis=0)
        target = b.node("Concat", [b.unsqueeze(size, 0, None), b.ints(-1)], axis=0)
        return b.node("Reshape", [x, target], flat)
    y = b.node("Reshape", [x, b.ints(0, -1)], flat)
    return b.node("Reshape", [y, b.ints(-1, *shape[1:])], shape) if b.chance(50) else y


def gather(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    shape = list(b.shape(x))
    axis = b.integer(1, len(shape) - 1)
    lowest = -shape[axis] if b.opset >= 11 else 0
    if b.chance(30):
        index = b.constant(np.int64(lowest if b.chance(30) else 0), "s")
        return b.node("Gather", [x, index], tuple(shape[:axis] + shape[axis + 1 :]), axis=axis)
    items = [b.integer(lowest, shape[axis] - 1) for _ in range(b.integer(1, 3))]
    shape[axis] = len(items)
    return b.node("Gather", [x, b.ints(*items)], tuple(shape), axis=axis)


def expand(b: Builder) -> str | None:
    x = b.pick(lambda s: 1 in s[1:])
    if x is None:
        return None
    shape = b.shape(x)
    axis = shape.index(1, 1)
    times = [b.integer(1, 3) if i == axis else 1 for i in range(len(shape))]
    wide = tuple(d * t for d, t in zip(shape, times, strict=True))
    return b.node(b.choice(["Expand", "Tile"]), [x, b.ints(*times)], wide)


def reduce(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    op = b.choice(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
    return b.reduce(op, x, [b.integer(1, len(b.shape(x)) - 1)], b.integer(0, 1))


def softmax(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    return b.node(b.choice(["Softmax", "LogSoftmax"]), [x], b.shape(x), axis=len(b.shape(x)) - 1)


def resize(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) == 4 and s[2] * s[3] <= 80)
    if x is None or b.opset < 11:
        return None
    n, c, h, w = b.shape(x)
    roi = "" if b.opset >= 13 else b.constant(np.zeros(0, np.float32), "roi")
    scales = b.constant(np.array([1, 1, 2, 2], np.float32), "scales")
    mode = b.choice(["nearest", "linear"])
    return b.node("Resize", [x, roi, scales], (n, c, 2 * h, 2 * w), mode=mode)


# ------------------------------------------------------------------ types, baits, control flow


def cast(b: Builder) -> str | None:
    x = b.pick()
    if x is None:
        return None
    how = b.integer(0, 2)
    if how == 0:
        return b.node("Cast", [x], b.shape(x), to=b.element)
    through = TensorProto.DOUBLE if how == 1 else TensorProto.INT32
    y = x if how == 1 else b.node("Mul", [x, b.scalar(7.0)], b.shape(x))
    return b.node("Cast", [b.node("Cast", [y], to=through)], b.shape(x), to=b.element)


def quantize(b: Builder) -> str | None:
    x = b.pick()
    if x is None or b.opset < 13 or b.dtype != np.float32:
        return None
    scale = b.scalar(0.05)
    zero = b.constant(np.array(b.choice([3, 0]), b.choice([np.int8, np.uint8])), "zero")
    q = b.node("QuantizeLinear", [x, scale, zero])
    return b.node("DequantizeLinear", [q, scale, zero], b.shape(x))


def quantized_weight(b: Builder) -> str | None:
    x = b.pick(lambda s: len(s) >= 2 and s[-1] <= 64)
    if x is None or b.opset < 13 or b.dtype != np.float32:
        return None
    shape, out = b.shape(x), 4
    numbers = np.arange(shape[-1] * out).reshape(shape[-1], out) * 37 % 255 - 127
    q = b.constant(numbers.astype(np.int8), "q")
    scale = b.constant(np.array([0.01, 0.02, 0.03, 0.04], np.float32), "scale")
    weight = b.node("DequantizeLinear", [q, scale], axis=1)
    return b.node("MatMul", [x, weight], (*shape[:-1], out))


def noop(b: Builder) -> str | None:
    """Something that has no effect."""
    x = b.pick()
    if x is None:
        return None
    shape, rank = b.shape(x), len(b.shape(x))
    found: list[Callable[[], str | None]] = [
        lambda: b.node("Pow", [x, b.scalar(1.0)], shape),
        lambda: b.node("Transpose", [x], shape, perm=list(range(rank))),
        lambda: b.node("Concat", [x], shape, axis=rank - 1),
        lambda: b.slice(x, 0, 2**31 - 1, rank - 1),
        lambda: b.pad(x, [0] * (2 * rank), "constant", 0.0),
        lambda: b.node("Reshape", [x, b.ints(*[0] * rank)], shape),
    ]
    return b.choice(found)()


def identity(b: Builder) -> str | None:
    x = b.pick()
    return None if x is None else b.node("Identity", [x], b.shape(x))


def dropout(b: Builder) -> str | None:
    """Without its mask, with an unread mask, or with one that is read."""
    x = b.pick()
    if x is None:
        return None
    shape, how = b.shape(x), b.integer(0, 3)
    if how < 2:
        return b.node("Dropout", [x], shape, **({"ratio": 0.3} if how and b.opset < 12 else {}))
    y, mask = b.node_n("Dropout", [x], [shape, None])
    if how == 2 or b.opset < 10:
        return y
    return b.node("Mul", [y, b.node("Cast", [mask], shape, to=b.element)], shape)


def neutral(b: Builder) -> str | None:
    """An operation with a neutral element, or with one that nearly is."""
    x = b.pick()
    if x is None:
        return None
    shape, rank = b.shape(x), len(b.shape(x))
    op, value = b.choice([("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0), ("Add", -0.0)])
    if rank < 4 and not b.dynamic and b.chance(20):  # adds a dimension
        wide = (2, *shape)
        return b.node(op, [x, b.constant(np.full((2, *[1] * rank), value, b.dtype))], wide)
    constant = b.constant(np.full((1,) * b.integer(0, rank), value, b.dtype))
    return b.node(op, [constant, x] if op != "Div" and b.chance(20) else [x, constant], shape)


def duplicate(b: Builder) -> str | None:
    """The same node again, and the sum of both."""
    ops = ("Relu", "Conv", "MatMul", "Sigmoid", "Transpose", "BatchNormalization", "Softmax")
    found = [n for n in b.nodes if n.op_type in ops and n.output[0] in b.values]
    if not found:
        return None
    node = b.choice(found)
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    shape = b.shape(node.output[0])
    again = b.node(node.op_type, list(node.input), shape, **given)
    return b.node("Add", [again, node.output[0]], shape)


def constant_chain(b: Builder) -> str | None:
    """A subgraph that depends on no input."""
    x = b.pick(lambda s: len(s) >= 2)
    if x is None:
        return None
    size = b.shape(x)[-1]
    y = b.node("Mul", [b.uniform((size,), -0.5, 0.5), b.scalar(2.0)])
    y = b.node("Transpose", [b.node("Reshape", [y, b.ints(1, -1)])], perm=[1, 0])
    y = b.node("Reshape", [y, b.ints(-1)])
    if b.chance(40):
        quarter = numpy_helper.from_array(np.array([0.25], b.dtype))
        y = b.node("Add", [y, b.node("ConstantOfShape", [b.ints(size)], value=quarter)])
    return b.node("Add", [x, y], b.shape(x))


def branch(b: Builder) -> str | None:
    """An If with a constant or computed condition; its branches capture outer values."""
    x = b.pick()
    if x is None or any(n.op_type == "Cast" and x in n.output for n in b.nodes):
        return None  # ONNX Runtime 1.31 loses a chain of Casts that only a branch reads
    shape = b.shape(x)
    if b.chance(50):
        condition = b.constant(np.array(b.chance(50)), "cond")
    else:
        top = b.node("ReduceMax", [x], keepdims=0)
        condition = b.node("Greater", [top, b.scalar(0.05)])
    y, z, inner, name = b.fresh("p"), b.fresh("q"), b.fresh("h"), b.fresh("m")
    outer = b.uniform((1,), -0.5, 0.5)
    info = [helper.make_tensor_value_info(v, b.element, None) for v in (y, z)]
    half = numpy_helper.from_array(np.array([0.5], b.dtype), name)
    then = [helper.make_node("Relu", [x], [inner]), helper.make_node("Mul", [inner, name], [y])]
    other = [helper.make_node("Add", [x, outer], [z])]
    b.used.update((outer, x))
    return b.node(
        "If",
        [condition],
        shape,
        then_branch=helper.make_graph(then, "then", [], info[:1], [half]),
        else_branch=helper.make_graph(other, "else", [], info[1:]),
    )


def function(b: Builder) -> str | None:
    """A call of a model-local function."""
    x = b.pick()
    if x is None or b.opset < 15 or b.dtype != np.float32:
        return None
    if not b.functions:
        nodes = [helper.make_node("Relu", ["p"], ["q"]), helper.make_node("Sub", ["q", "p"], ["r"])]
        imports = [helper.make_opsetid("", b.opset)]
        b.functions.append(helper.make_function("local", "Rest", ["p"], ["r"], nodes, imports))
    return b.node("Rest", [x], b.shape(x), domain="local")


EMITTERS: tuple[tuple[Emitter, int], ...] = (
    (unary, 6), (conv, 6), (binary, 4), (noop, 4), (identity, 1), (dropout, 1), (neutral, 3),
    (batchnorm, 2), (affine_chain, 4), (matmul, 3), (gemm, 2), (concat, 3), (slices, 2),
    (split, 2), (reshape, 3), (transpose, 3), (pool, 2), (pad, 2), (clip, 2), (duplicate, 2),
    (constant_chain, 2), (cast, 2), (squeeze_excite, 1), (conv_transpose, 2), (layernorm, 2),
    (reduce, 1), (softmax, 1), (gather, 2), (expand, 1), (swish, 1), (gelu, 1), (prelu, 1),
    (select, 1), (resize, 1), (quantize, 1), (quantized_weight, 1), (branch, 2), (function, 1),
)  # fmt: skip
"""With their weights in the drawing."""
