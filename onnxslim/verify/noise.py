"""The reference's own noise: how much an output moves when its input moves by one ulp.

From it come the limits within which a rewrite counts as the same function::

    limit = max(1e-6 * peak, 8 * noise)      at most cap * peak
    cap   = 1e-3                             (1e-2 for float16, bfloat16 and smaller)

Where ``8 * noise`` is beyond the cap, the output is called ill-conditioned: no limit on it
would tell a wrong rewrite from a right one.

A model without a float input (token ids, also when they come as floats) gets its noise where the
first float tensors are computed: the results of a Gather from a float table, a Cast to float or a
OneHot that depend on no other float tensor are multiplied by ``1 +- one ulp`` with seeded random
signs. That needs no change of any weight, so it costs the same for every size of model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxslim.runtime.specs import Array, Feed, kind_of

if TYPE_CHECKING:
    import onnx

FLOOR = 1e-6
FACTOR = 8.0
CAP = 1e-3
CAP_LOW_PRECISION = 1e-2
ROUNDING_LOW_PRECISION = 2.0**-11


@dataclass(frozen=True, slots=True)
class Limit:
    """How far an output may move, and whether that limit means anything."""

    value: float
    ill_conditioned: bool = False


def limit_of(peak: float, noise: float, *, low_precision: bool = False) -> Limit:
    """The limit of one output from its peak and its noise (both absolute).

    Where float16 is involved the noise is at least one rounding of the peak: on few elements moved
    inputs may, by chance, round to the same result.
    """
    cap = (CAP_LOW_PRECISION if low_precision else CAP) * peak
    if low_precision:
        noise = max(noise, ROUNDING_LOW_PRECISION * peak)
    wanted = FACTOR * noise
    if not wanted <= cap and wanted > 0:
        return Limit(cap, ill_conditioned=True)
    return Limit(max(FLOOR * peak, wanted))


def has_float(feed: Mapping[str, Array]) -> bool:
    """Whether there is anything that can be moved by one ulp."""
    return any(isinstance(x, np.ndarray) and _movable(x) for x in feed.values())


def perturb_one_ulp(feed: Mapping[str, Array], seed: int, dtype: np.dtype | None = None) -> Feed:
    """Moves every element of every float input to one of its two neighbours, at random.

    Args:
        feed: Arrays by input name; other types are passed on as they are.
        seed: Of the random signs.
        dtype: The precision the model computes in when it is lower than that of its inputs
            (float16 behind a float32 input): one ulp of that type is taken.
    """
    rng = np.random.default_rng([seed, 0x51A])
    moved: Feed = {}
    for name in sorted(feed):
        x = feed[name]
        moved[name] = _move(x, rng, dtype) if isinstance(x, np.ndarray) and _movable(x) else x
    return {name: moved[name] for name in feed}


def _movable(x: Array) -> bool:
    return kind_of(x.dtype) == "float" and x.size > 0


def _move(x: Array, rng: np.random.Generator, dtype: np.dtype | None) -> Array:
    up = rng.integers(0, 2, x.shape, dtype=np.uint8).astype(bool)
    coarse = dtype is not None and dtype.itemsize < x.dtype.itemsize
    if x.dtype.kind != "f" or coarse:
        step = _epsilon(dtype if coarse and dtype is not None else x.dtype)
        moved = x.astype(np.float64) * np.where(up, 1 + step, 1 - step)
        return moved.astype(x.dtype)
    info = np.finfo(x.dtype)
    target = np.where(up, np.inf, -np.inf).astype(x.dtype)
    with np.errstate(over="ignore", under="ignore"):
        moved = np.nextafter(x, target)
    # A zero stays one (its neighbour is a denormal, which no rounding produces), and so does
    # what is not finite or would become so.
    keep = (x == 0) | ~np.isfinite(x) | (np.abs(x) >= info.max)
    return np.where(keep, x, moved)


def _epsilon(dtype: np.dtype) -> float:
    """Relative distance of two neighbours, for NumPy's floats and those of ml_dtypes."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).eps)
    return {"bfloat16": 2.0**-7, "float8_e4m3fn": 2.0**-3}.get(dtype.name, 2.0**-2)


def noise_of(changes: Iterable[float]) -> float:
    """The largest of several changes; NaN counts as infinite."""
    return max((math.inf if math.isnan(c) else c for c in changes), default=0.0)


# ------------------------------------------------------------- models without a float input

_FLOAT_SOURCES = ("Gather", "GatherND", "GatherElements", "Cast", "OneHot", "Where", "Expand")
_DTYPES = {1: "float32", 10: "float16", 11: "float64"}
_FLOATS = frozenset({*_DTYPES, 16})
_INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 9, 12, 13})
"""Element types of integers (and bool), numbered as in ``TensorProto.DataType``."""


def insert_noise(model: onnx.ModelProto, seed: int) -> onnx.ModelProto | None:
    """A copy of ``model`` whose first float tensors are off by one ulp, or None if it has none.

    Args:
        model: With or without its weights; they are neither read nor changed.
        seed: Of the random signs, drawn in the graph by ``RandomUniformLike``.
    """
    import onnx

    sources = _first_floats(model)
    if not sources:
        return None
    noisy = onnx.ModelProto()
    noisy.CopyFrom(model)
    del noisy.graph.node[:]
    for node in model.graph.node:
        kept = noisy.graph.node.add()
        kept.CopyFrom(node)
        kind = sources.get(node.output[0]) if node.output else None
        if kind is not None:
            name = node.output[0]
            kept.output[0] = f"{name}__exact"
            noisy.graph.node.extend(_noise_nodes(name, kind, seed))
    return noisy


def rounds_inputs(model: onnx.ModelProto) -> bool:
    """True when every float input is only cast to integers: ids in a float, deaf to one ulp."""
    floats = {v.name for v in model.graph.input if v.type.tensor_type.elem_type in _FLOATS}
    floats -= {t.name for t in model.graph.initializer}
    readers = [node for node in model.graph.node if floats.intersection(node.input)]
    return bool(readers) and all(
        node.op_type == "Cast" and any(a.name == "to" and a.i in _INTEGERS for a in node.attribute)
        for node in readers
    )


def _first_floats(model: onnx.ModelProto) -> dict[str, int]:
    """Names of the first float tensors computed from integer inputs, with their types."""
    tables = {t.name: t.data_type for t in model.graph.initializer}
    fed = {v.name for v in model.graph.input} - set(tables)
    outputs = {v.name for v in model.graph.output}
    found: dict[str, int] = {}
    integer = set(fed)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            tables[node.output[0]] = 0 if value is None else value.data_type
            continue
        if not any(name in integer for name in node.input):
            continue
        kind = _float_kind(node, tables) if node.domain in ("", "ai.onnx") else 0
        if kind and node.output[0] not in outputs:
            found[node.output[0]] = kind
        elif not kind:
            integer.update(name for name in node.output if name)
    return found


def _float_kind(node: onnx.NodeProto, tables: Mapping[str, int]) -> int:
    if node.op_type not in _FLOAT_SOURCES:
        return 0
    if node.op_type == "Cast":
        kind = next((a.i for a in node.attribute if a.name == "to"), 0)
    else:
        index = {"OneHot": 2, "Where": 1}.get(node.op_type, 0)
        kind = tables.get(node.input[index], 0) if index < len(node.input) else 0
    return kind if kind in _DTYPES else 0


def _noise_nodes(name: str, kind: int, seed: int) -> list[onnx.NodeProto]:
    """``name = name__exact * (1 +- ulp)``, written for any opset from 7 on."""
    from onnx import TensorProto, helper

    step = float(np.finfo(_DTYPES[kind]).eps)
    work = TensorProto.DOUBLE if kind == TensorProto.DOUBLE else TensorProto.FLOAT
    draw = (seed * 7919 + sum(map(ord, name))) % 100003
    n = {k: f"{name}__{k}" for k in ("exact", "wide", "draw", "sign", "step", "plus", "one", "by")}
    scalar = {"step": step, "one": 1.0}
    nodes = [
        helper.make_node("Cast", [n["exact"]], [n["wide"]], to=work),
        helper.make_node(
            "RandomUniformLike", [n["wide"]], [n["draw"]], low=-1.0, high=1.0, seed=float(draw)
        ),
        helper.make_node("Sign", [n["draw"]], [n["sign"]]),
    ]
    for key, value in scalar.items():
        tensor = helper.make_tensor(n[key], work, [], [value])
        nodes.append(helper.make_node("Constant", [], [n[key]], value=tensor))
    return [
        *nodes,
        helper.make_node("Mul", [n["sign"], n["step"]], [n["plus"]]),
        helper.make_node("Add", [n["plus"], n["one"]], [n["by"]]),
        helper.make_node("Mul", [n["wide"], n["by"]], [f"{name}__moved"]),
        helper.make_node("Cast", [f"{name}__moved"], [name], to=kind),
    ]
