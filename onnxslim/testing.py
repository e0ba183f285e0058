"""Test helpers for passes: ours and those of plug-ins.

:func:`assert_pass` runs one pass on one small model and checks everything that a pass promises:
the nodes it leaves, validity, the interface, the numbers in ONNX Runtime (its own optimizer off),
an honest count, and that a second run finds nothing.

Nodes are written one a line by :func:`node_lines`, in a form made for reading and comparing::

    y = Conv(x, w_s1, w_s2) strides=(2, 2)
    a, b = Split(y, _) axis=1
    z = com.microsoft:Gelu(a)
    c = If(k) else_branch={e = Neg(b)} then_branch={t = Relu(b)}

``_`` stands for an omitted input or output (trailing ones are left out). Attributes follow in
alphabetical order as the node has them, defaults not filled in: numbers as written, text in
quotes, lists as tuples, tensors as ``int64[2](3, 4)`` (type, shape, and the elements when there
are at most eight), subgraphs in braces. Fresh names end in ``_s1``, ``_s2`` ... after the name
that they derive from (``onnxslim.pipeline.names``).
"""

from __future__ import annotations

import atexit
import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import WorkerError
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.base import Numerics, Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.verify.structure import verify_structure

if TYPE_CHECKING:
    from onnxslim.runtime.worker import Session, Worker

__all__ = ["assert_close", "assert_equal", "assert_pass", "difference", "model_bytes"]
__all__ += ["node_lines", "shared_worker"]

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Callable[[int], Mapping[str, Array]]

_RELATIVE = {"float16": 8e-3, "bfloat16": 6e-2, "float32": 1e-5, "float64": 1e-12}
_SIZES = (2, 3, 1)
_SHOWN = 8


# -------------------------------------------------------------------------- node lines


def node_lines(graph: ir.Graph) -> list[str]:
    """The nodes of a graph, one line each; see the module's description for the form."""
    return [_node_line(node) for node in graph]


def _node_line(node: ir.Node) -> str:
    outputs = _names([v.name or None for v in node.outputs])
    inputs = _names([None if v is None else v.name for v in node.inputs])
    attributes = "".join(
        f" {name}={_attribute(node.attributes[name])}" for name in sorted(node.attributes)
    )
    return f"{outputs} = {edit.op_id(node)}({inputs}){attributes}"


def _names(names: Sequence[str | None]) -> str:
    kept = list(names)
    while kept and kept[-1] is None:
        kept.pop()
    return ", ".join("_" if name is None else name for name in kept)


def _attribute(attribute: ir.Attr) -> str:
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    value = attribute.value
    kind = attribute.type
    if kind == ir.AttributeType.GRAPH:
        return _braces(value)
    if kind == ir.AttributeType.GRAPHS:
        return "(" + ", ".join(_braces(graph) for graph in value) + ")"
    if isinstance(value, (list, tuple)):
        return _tuple([_scalar(item) for item in value])
    return _scalar(value)


def _braces(graph: ir.Graph) -> str:
    return "{" + "; ".join(node_lines(graph)) + "}"


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _scalar(value: Any) -> str:
    if isinstance(value, ir.TensorProtocol):
        return _tensor(value)
    if isinstance(value, float):
        return str(float(str(np.float32(value))))
    return repr(value) if isinstance(value, (str, bytes)) else str(value)


def _tensor(tensor: ir.TensorProtocol) -> str:
    shape = "" if not len(tensor.shape) else str(list(tensor.shape)).replace(" ", "")
    text = f"{tensor.dtype.name.lower()}{shape}"
    if tensor.size > _SHOWN:
        return text
    items = [str(item) for item in tensor.numpy().reshape(-1)]
    return f"{text}({', '.join(items)})"


# -------------------------------------------------------------------------- one pass


def assert_pass(
    pass_: Pass,
    model: str | onnx.ModelProto | ir.Model,
    expected: Sequence[str] | None,
    *,
    seeds: int = 3,
    opset: int | None = None,
    rtol: float | None = None,
    feeds: Feeds | None = None,
    run: bool = True,
) -> PassContext:
    """Run a pass on a model and check its result and all of its promises.

    Args:
        pass_: The pass, options included.
        model: ONNX text of a whole model, or a model; never changed.
        expected: Lines of the main graph's nodes afterwards (:func:`node_lines`), or None when
            the pass must leave the model alone: no rewrite, not one byte changed.
        seeds: How many random feeds to compare on; dynamic dimensions take the sizes 2, 3, 1.
        opset: Import this version of the standard operators instead of the one written.
        rtol: Limit for float outputs relative to the output's peak, instead of the one that
            follows from the promise (bit-identical, or rounding of the output's type).
        feeds: Gives values for some inputs by seed (indices, lengths); the rest stays random.
        run: False leaves ONNX Runtime out, for operators that it does not know.

    Returns:
        The context of the run, for its ``skipped``, ``warnings`` and provenance.

    Raises:
        AssertionError: Saying which promise is broken.
    """
    proto = _as_proto(model, opset)
    given = proto.SerializeToString(deterministic=True)
    shared_worker().check(given, full=True)
    result, ctx, rewrites, before = _apply(pass_, proto)
    after = model_bytes(result)
    _assert_count(pass_, rewrites, before, after)
    if expected is None:
        assert not rewrites, f"{pass_.name} was to leave the model alone; now it is:\n" + "\n".join(
            node_lines(result.graph)
        )
    else:
        _assert_lines(pass_, result, ctx, expected)
    if rewrites:
        problems = verify_structure(result)
        assert not problems, f"{pass_.name} broke the model: {problems[0]}"
        _assert_interface(pass_, onnx.ModelProto.FromString(before), to_proto(result))
        shared_worker().check(after, full=True)
        _assert_settled(pass_, after)
        if run:
            assert_equal(
                before, after, numerics=pass_.numerics, seeds=seeds, rtol=rtol, feeds=feeds
            )
    assert proto.SerializeToString(deterministic=True) == given, (
        f"{pass_.name} changed its argument"
    )
    return ctx


def _as_proto(model: str | onnx.ModelProto | ir.Model, opset: int | None) -> onnx.ModelProto:
    proto = model
    if isinstance(proto, str):
        proto = onnx.parser.parse_model(proto)
    elif isinstance(proto, ir.Model):
        proto = to_proto(proto)
    if opset is not None:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        proto = copy
        for item in proto.opset_import:
            if item.domain in ("", "ai.onnx"):
                item.version = opset
    return proto


def _apply(pass_: Pass, proto: onnx.ModelProto) -> tuple[ir.Model, PassContext, int, bytes]:
    """Load, infer and run: the model, its context, the rewrites, and the bytes before."""
    model = from_proto(proto)
    infer_shapes(model, worker=shared_worker())
    before = model_bytes(model)
    ctx = PassContext(model, worker=shared_worker())
    rewrites = pass_.run(model, ctx)
    return model, ctx, rewrites, before


def model_bytes(model: ir.Model) -> bytes:
    """The model as it would be written to a file, weights included."""
    data: bytes = to_proto(model).SerializeToString(deterministic=True)
    return data


def _assert_count(pass_: Pass, rewrites: int, before: bytes, after: bytes) -> None:
    changed = before != after
    assert changed == (rewrites > 0), (
        f"{pass_.name} returned {rewrites}, but the model is {'changed' if changed else 'the same'}"
    )


def _assert_lines(pass_: Pass, model: ir.Model, ctx: PassContext, expected: Sequence[str]) -> None:
    lines = node_lines(model.graph)
    difference = "\n".join(difflib.ndiff(list(expected), lines))
    reasons = "".join(f"\nskipped {name}: {reason}" for name, reason in ctx.skipped)
    assert lines == list(expected), f"{pass_.name} left other nodes:\n{difference}{reasons}"


def _assert_interface(pass_: Pass, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Inputs, outputs, metadata and functions' callers stay; opset and IR version may only rise."""
    for kind in ("input", "output"):
        old, new = getattr(before.graph, kind), getattr(after.graph, kind)
        overridable = {t.name for t in before.graph.initializer} if before.ir_version < 4 else set()
        old = [value for value in old if kind == "output" or value.name not in overridable]
        new = [value for value in new if kind == "output" or value.name not in overridable]
        assert old == new, f"{pass_.name} changed the graph {kind}s from {old} to {new}"
    for field in ("metadata_props", "doc_string", "producer_name", "domain", "model_version"):
        assert getattr(before, field) == getattr(after, field), f"{pass_.name} changed {field}"
    assert after.ir_version >= before.ir_version, f"{pass_.name} lowered the IR version"
    versions = {item.domain: item.version for item in after.opset_import}
    for item in before.opset_import:
        kept = versions.get(item.domain, item.version)
        assert kept >= item.version, f"{pass_.name} lowered the opset of {item.domain!r}"


def _assert_settled(pass_: Pass, after: bytes) -> None:
    """A second run, on the result as it would be read from its file, finds nothing."""
    again, ctx, rewrites, _ = _apply(pass_, onnx.ModelProto.FromString(after))
    assert not rewrites and model_bytes(again) == after, (
        f"{pass_.name} run a second time made {rewrites} more rewrites; now the model is:\n"
        + "\n".join(node_lines(again.graph))
    )


# -------------------------------------------------------------------------- numbers


@functools.cache
def shared_worker() -> Worker:
    """The child process for native code that all tests of this process share."""
    from onnxslim.runtime.worker import Worker

    worker = Worker()
    atexit.register(worker.close)
    return worker


def assert_equal(
    before: bytes,
    after: bytes,
    *,
    numerics: Numerics = Numerics.ROUNDING,
    seeds: int = 3,
    rtol: float | None = None,
    feeds: Feeds | None = None,
) -> None:
    """Run two models on the same random feeds and compare every output.

    Inputs with a default (overridable initializers) are fed too, except on the first seed.

    Args:
        before: The reference.
        after: The candidate.
        numerics: What it promises: bit-identical outputs (a NaN equals every NaN), the same up to
            rounding, or (LOSSY) only the same types and shapes unless ``rtol`` is given.
        seeds: Number of feeds.
        rtol: Limit for float outputs relative to the output's peak.
        feeds: Values for some inputs, by seed.

    Raises:
        AssertionError: Naming the output that differs, or when the reference itself never runs.
    """
    worker = shared_worker()
    with (
        worker.session(before, optimization="disable") as reference,
        worker.session(after, optimization="disable") as candidate,
    ):
        compared, failure = 0, None
        for seed in range(seeds):
            feed = _feed(reference, seed, feeds)
            try:
                wanted = reference.run(feed)
            except WorkerError as error:  # these sizes do not fit the model: not the pass's fault
                failure = error
                continue
            assert_close(
                wanted, candidate.run(feed), numerics=numerics, rtol=rtol, label=f" on seed {seed}"
            )
            compared += 1
    assert compared, f"the reference runs on none of {seeds} feeds: {failure}"


def assert_close(
    wanted: Mapping[str, Any],
    found: Mapping[str, Any],
    *,
    numerics: Numerics = Numerics.ROUNDING,
    rtol: float | None = None,
    label: str = "",
) -> None:
    """Compare the outputs of two runs, by name; arguments as for :func:`assert_equal`."""
    assert list(wanted) == list(found), f"outputs {list(wanted)} became {list(found)}"
    for name, value in wanted.items():
        problem = difference(value, found[name], numerics=numerics, rtol=rtol)
        assert problem is None, f"output {name!r}{label}: {problem}"


def _feed(session: Session, seed: int, feeds: Feeds | None) -> dict[str, Array]:
    given = dict(feeds(seed)) if feeds is not None else {}
    rng = np.random.default_rng(seed)
    size = _SIZES[seed % len(_SIZES)]
    specs = [*session.inputs, *(session.overridable if seed else ())]
    for spec in specs:
        array = _random(rng, spec.dtype, [d if isinstance(d, int) else size for d in spec.shape])
        given.setdefault(spec.name, array)
    return given


def _random(rng: np.random.Generator, dtype: np.dtype[Any] | str, shape: Sequence[int]) -> Array:
    if isinstance(dtype, str):
        return rng.choice(np.array(["a", "b", "\u00fc"], dtype=object), shape)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 4, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def difference(
    wanted: Any, found: Any, *, numerics: Numerics = Numerics.ROUNDING, rtol: float | None = None
) -> str | None:
    """What differs between two outputs beyond a promise, in words; None when nothing does."""
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(wanted) != len(found):
            return f"a sequence of {len(wanted)} became one of {len(found)}"
        pairs = zip(wanted, found, strict=True)
        return next(
            (d for w, f in pairs if (d := difference(w, f, numerics=numerics, rtol=rtol))), None
        )
    if wanted is None or found is None:
        return None if wanted is found else f"{type(wanted).__name__} became {type(found).__name__}"
    old, new = _array(wanted), _array(found)
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if numerics is Numerics.LOSSY and rtol is None:
        return None
    if old.dtype.name not in _RELATIVE:
        unequal = int(np.sum(old != new))
        return f"{unequal} of {old.size} elements differ" if unequal else None
    if numerics is Numerics.EXACT and rtol is None:
        return _bits(old, new)
    return _close(old, new, _RELATIVE[old.dtype.name] if rtol is None else rtol)


def _array(value: Any) -> Array:
    """An array, also of one that NumPy has no type for (``RawTensor``)."""
    return np.asarray(value.array() if hasattr(value, "array") else value)


def _bits(old: Array, new: Array) -> str | None:
    kind = np.dtype(f"u{old.dtype.itemsize}")
    same = (old.reshape(-1).view(kind) == new.reshape(-1).view(kind)) | (
        np.isnan(old.reshape(-1)) & np.isnan(new.reshape(-1))
    )
    return (
        None if same.all() else f"{int((~same).sum())} of {old.size} elements are not bit-identical"
    )


def _close(old: Array, new: Array, rtol: float) -> str | None:
    old, new = old.astype(np.float64), new.astype(np.float64)
    finite = np.isfinite(old)
    if not np.array_equal(old[~finite], new[~finite], equal_nan=True):
        return "infinities or NaNs differ"
    if not np.isfinite(new[finite]).all():
        return "infinities or NaNs appear"
    if not finite.any():
        return None
    error = float(np.abs(old[finite] - new[finite]).max())
    limit = rtol * float(np.abs(old[finite]).max())
    return None if error <= limit else f"off by {error:.3g}, limit {limit:.3g}"
