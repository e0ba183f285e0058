"""Inference is compared with what ONNX Runtime computes and with onnx's own inference."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings

from onnxslim.analysis.shapes import infer_shapes, known_values
from onnxslim.analysis.symbols import evaluate, symbols
from onnxslim.graph.load import load
from onnxslim.graph.proto import from_proto
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.specs import specs_of
from tests.strategies import Sample, models

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = dict[str, int]


def values_of(model: ir.Model) -> list[ir.Value]:
    """Outputs of the main graph's nodes."""
    return [v for node in model.graph for v in node.outputs if v.name]


def bind(model: ir.Model, feed: Mapping[str, Any]) -> Sizes:
    """Sizes of the inputs' symbols in a feed."""
    sizes: Sizes = {}
    for value in model.graph.inputs:
        if value.shape is not None and value.name and value.name in feed:
            for dim, size in zip(value.shape, np.shape(feed[value.name]), strict=True):
                if isinstance(dim, ir.SymbolicDim) and dim.value:
                    sizes[dim.value] = size
    return sizes


def contradictions(value: ir.Value, real: Array, sizes: Sizes) -> Iterator[str]:
    """What was said of a value and is not so."""
    said = f"{value.name}: {value.dtype} {value.shape}"
    if real.dtype != object and value.dtype is not None:
        if value.dtype != ir.DataType.from_numpy(real.dtype):
            yield f"{said}, really {real.dtype}"
    if value.shape is None:
        return
    if len(value.shape) != real.ndim:
        yield f"{said}, really {real.shape}"
        return
    pairs = [*zip(value.shape, real.shape, strict=True)]
    known = known_values(value)
    if known is not None and real.dtype != object:
        pairs += [
            (e, int(x)) for e, x in zip(known, real.reshape(-1), strict=True) if e is not None
        ]
    for dim, size in pairs:
        if set(symbols(dim)) <= set(sizes) and evaluate(dim, sizes) != size:
            yield f"{said} {known}, really {real.shape} {real.reshape(-1)[:8]} ({sizes})"
            return


def exposed(proto: onnx.ModelProto, model: ir.Model) -> ort.InferenceSession:
    """A session with every tensor that is not optimized away as an output."""
    everything = onnx.ModelProto()
    everything.CopyFrom(proto)
    present = {o.name for o in everything.graph.output}
    for value in values_of(model):
        if value.name not in present and isinstance(value.type, ir.TensorType):
            info = everything.graph.output.add(name=value.name)
            info.type.tensor_type.elem_type = int(value.type.dtype)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        everything.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def compare(
    session: ort.InferenceSession, model: ir.Model, feeds: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Contradictions between the facts of ``model`` and what really comes out."""
    found: list[str] = []
    values = {v.name: v for v in values_of(model)}
    names = [o.name for o in session.get_outputs()]
    for feed in feeds:
        sizes = bind(model, feed)
        for name, real in zip(names, session.run(names, dict(feed)), strict=True):
            if isinstance(real, np.ndarray) and name in values:
                found += contradictions(values[name], real, sizes)
    return found


def onnx_contradictions(proto: onnx.ModelProto, model: ir.Model) -> list[str]:
    """Static sizes, ranks and types that onnx infers and that differ from ours."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(proto)
    del stripped.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(stripped, data_prop=True)
    ours = {v.name: v for v in values_of(model)}
    found = []
    for info in inferred.graph.value_info:
        kind, value = info.type.tensor_type, ours.get(info.name)
        if not info.type.HasField("tensor_type") or value is None:
            continue
        if value.dtype is not None and int(value.dtype) != kind.elem_type:
            found.append(f"{info.name}: {value.dtype}, onnx says {kind.elem_type}")
        if value.shape is None or not kind.HasField("shape"):
            continue
        theirs = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        same = len(theirs) == len(value.shape) and all(
            b is None or not isinstance(a, int) or a == b
            for a, b in zip(value.shape, theirs, strict=False)
        )
        if not same:
            found.append(f"{info.name}: {value.shape}, onnx says {theirs}")
    return found


@settings(max_examples=60)
@given(models())
def test_generated_models(sample: Sample) -> None:
    model = from_proto(sample.model)
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    assert problems == []
    assert compare(exposed(sample.model, model), model, sample.feeds) == []
    assert onnx_contradictions(sample.model, model) == []


# -------------------------------------------------------------------- onnx's own examples


def _node_cases() -> Sequence[Any]:
    from onnx.reference.ops import op_pool_common

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(op_pool_common, "pool", _pooled_shape)  # else half a minute of Python loops
        from onnx.backend.test.case.node import collect_testcases

        return list(collect_testcases(None))


def _pooled_shape(
    padded: Any, x_shape: Any, kernel: Any, strides: Any, out_shape: Any, *args: Any, **more: Any
) -> Any:
    """Of the results of pooling, only the shape is looked at here."""
    return np.zeros((*x_shape[:2], *out_shape), padded.dtype)


def _symbolic(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, every size of its inputs a symbol."""
    copy, count = onnx.ModelProto(), 0
    copy.CopyFrom(proto)
    for item in copy.graph.input:
        for dim in item.type.tensor_type.shape.dim:
            dim.dim_param = f"s{count}"
            count += 1
    return copy


def _constant(proto: onnx.ModelProto, given: Sequence[Any]) -> tuple[onnx.ModelProto, list[Any]]:
    """The same model, every input but the first a constant where it can be; what is left."""
    copy, left = onnx.ModelProto(), []
    copy.CopyFrom(proto)
    del copy.graph.input[:]
    for index, (item, content) in enumerate(zip(proto.graph.input, given, strict=True)):
        plain = isinstance(content, (np.ndarray, np.generic)) and content.dtype in (
            np.int64,
            np.int32,
            np.float32,
            np.bool_,
        )
        if plain and (index or len(proto.graph.input) == 1):
            tensor = onnx.numpy_helper.from_array(np.asarray(content), item.name)
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.input.append(item)
            left.append(content)
    return copy, left


def _unranked(proto: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Models of which nothing says the shape of one input, or of any."""
    count = len(proto.graph.input)
    for indices in [*((i,) for i in range(count)), range(count)][: count + (count > 1)]:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        for index in indices:
            copy.graph.input[index].type.tensor_type.ClearField("shape")
        for value in copy.graph.output:
            value.type.tensor_type.ClearField("shape")
        yield copy


def _facts_against(proto: onnx.ModelProto, given: Sequence[Any], real: Sequence[Any]) -> list[str]:
    model = ir.from_proto(proto)
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    pairs = zip(model.graph.inputs, given, strict=True)
    sizes = bind(model, {v.name: x for v, x in pairs if v.name and isinstance(x, np.ndarray)})
    for value, result in zip(model.graph.outputs, real, strict=True):
        if isinstance(result, (np.ndarray, np.generic)):
            problems += contradictions(value, np.asarray(result), sizes)
    return problems


@pytest.mark.slow
def test_the_examples_of_every_operator() -> None:
    cases, found = _node_cases(), []
    for case in cases:
        if case.model is None or "_expanded" in case.name or "_cast_" in case.name:
            continue
        for given_, real in (case.data_sets or [])[:1]:
            proto = _symbolic(case.model)
            found += [f"{case.name}: {x}" for x in _facts_against(proto, given_, real)]
            fixed, left = _constant(proto, given_)
            found += [f"{case.name}: {x}" for x in _facts_against(fixed, left, real)]
            for bare in _unranked(case.model):
                found += [f"{case.name}: {x}" for x in _facts_against(bare, given_, real)]
    assert found == []
    assert len(cases) > 1000


# -------------------------------------------------------------------- real models


def _corpus() -> list[Path]:
    folder = os.environ.get("ONNXSLIM_CORPUS", "")
    found = sorted(Path(folder).glob("*.onnx")) if folder else []
    if not found:
        pytest.skip("ONNXSLIM_CORPUS names no folder of models")
    return found


def known_share(model: ir.Model) -> float:
    """Part of all node outputs whose every size is a number or rests on the inputs' symbols."""
    declared = {s for v in model.graph.inputs for d in v.shape or () for s in symbols(d)}
    total = known = 0
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if value.name:
                total += 1
                sizes = value.shape
                known += sizes is not None and all(set(symbols(d)) <= declared for d in sizes)
    return known / max(total, 1)


UNDECIDABLE = {"silero_vad.onnx", "silero_vad_16k_op15.onnx", "silero_vad_half.onnx"}
"""Some of their ``If`` nodes are read only by a branch of another one that is never taken."""


@pytest.mark.corpus
@pytest.mark.slow
def test_real_models() -> None:
    found = []
    for path in _corpus():
        model, reference = load(path), load(path)
        problems: list[str] = []
        infer_shapes(model, problems=problems)
        proto = onnx.load(path)
        session = exposed(proto, model)

        def run(feed: Mapping[str, Any], session: ort.InferenceSession = session) -> bool:
            try:
                session.run(None, dict(feed))
            except (RuntimeError, ValueError, *_ORT_ERRORS):
                return False
            return True

        plan = plan_feeds(specs_of(reference), reference, run, n=2, max_tries=20, seconds=15)
        problems += compare(session, model, plan.feeds)
        problems += onnx_contradictions(proto, model)
        if path.name not in UNDECIDABLE and known_share(model) < 1:
            problems.append(f"only {known_share(model):.1%} of the shapes are known")
        found += [f"{path.name}: {p}" for p in problems]
    assert found == []


_ORT_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)
