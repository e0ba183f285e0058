"""What a model is made of and what costs what, without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.cost import model_macs, node_macs, parameter_count
from onnxslim.analysis.dims import Dim, add
from onnxslim.analysis.layers import (
    Layer,
    cost_text,
    is_parameter,
    layers,
    peak_activation_bytes,
    shape_text,
)
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.analysis.symbols import substitute
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import UsageError
from onnxslim.graph import edit
from onnxslim.graph.globs import matcher, nothing_matches
from onnxslim.graph.signature import signature
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.report.inspection import Inspection, Port, by_operator
from onnxslim.report.summary import batch_bindings, summarize
from onnxslim.runtime.specs import output_names, specs_of
from onnxslim.runtime.worker import Worker

SORTS = ("order", "macs", "parameters", "memory", "sparsity", "name", "op")
"""What layers may be sorted by."""


def inspect(
    model: ModelLike,
    *,
    sort: str = "order",
    only: Sequence[str] = (),
    top: int | None = None,
    costly: bool = False,
    sparsity: bool = True,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
) -> Inspection:
    """List operators, parameters, MACs, memory and shapes, per layer and in total.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``; never changed, never run.
        sort: ``order`` of the graph, or largest first by ``macs``, ``parameters``, ``memory``,
            ``sparsity``; or ``name``, ``op``.
        only: GLOBs; a layer that matches one of them is listed.
        top: At most this many layers.
        costly: Only layers with parameters or multiply-accumulates.
        sparsity: Read the weights and count zeros.
        options: ``input_shapes`` and ``dims`` give sizes to dynamic dimensions.
        allow_external_dir: Another folder that external weights may be read from.

    Raises:
        UnsupportedModelError: When the model cannot be read.
        UsageError: For options that make no sense.
    """
    if sort not in SORTS:
        raise UsageError(f"--sort is {sort!r}: expected one of {', '.join(SORTS)}")
    loaded = open_model(model, allow_external_dir=allow_external_dir)
    file_size, path = signature(loaded).bytes, path_of(model)
    _give_sizes(loaded, options or RunOptions())
    with Worker() as worker:
        infer_shapes(loaded, worker=worker)
        summary = summarize(loaded, file_size)
        ports = [tuple(_port(v) for v in values) for values in _interface(loaded)]
        facts = _facts(loaded)
        parameters = parameter_count(loaded)
        if loaded.functions:
            get_pass("inline-functions")().run(loaded, PassContext(loaded, worker=worker))
            infer_shapes(loaded, worker=worker)
    bound = batch_bindings(loaded)
    if summary.macs is None:
        summary.macs = model_macs(loaded, bound)
    found = layers(loaded, bound, count_zeros=sparsity)
    chosen = _chosen(found, sort, only, top, costly)
    totals = _totals(loaded, found, bound)
    totals["unread_parameters"] = parameters - sum(x.parameters for x in found if x.depth == 0)
    return Inspection(
        path=None if path is None else str(path),
        model=summary,
        inputs=ports[0],
        outputs=ports[1],
        layers=tuple(chosen),
        operators=by_operator(found),
        totals=totals,
        facts=facts,
        bound=bound,
        hidden=len(found) - len(chosen),
        warnings=tuple(_warnings(found, totals, _open_inputs(ports[0], bound))),
    )


def _give_sizes(model: ir.Model, options: RunOptions) -> None:
    """Put the sizes that the user gave into the shapes of the inputs."""
    given = options.describe(specs_of(model), output_names(model))
    for value in model.graph.inputs:
        if value.name and value.name in given.shapes:
            value.shape = ir.Shape(given.shapes[value.name])
        elif value.shape is not None and given.dims:
            dims = (
                d if isinstance(d, int) else given.dims.get(d.value or "", d) for d in value.shape
            )
            value.shape = ir.Shape(dims)


def _interface(model: ir.Model) -> tuple[list[ir.Value], list[ir.Value]]:
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    return inputs, list(model.graph.outputs)


def _port(value: ir.Value) -> Port:
    kind = "unknown" if value.type is None else str(value.type).lower()
    if isinstance(value.type, ir.TensorType):
        kind = str(value.type.dtype).lower()
    return Port(value.name or "", kind, shape_text(value))


def _open_inputs(ports: Sequence[Port], bound: dict[str, int]) -> list[str]:
    """Inputs with a size that has no number."""
    return [
        repr(p.name)
        for p in ports
        if p.shape is None or any(isinstance(d, str) and d not in bound for d in p.shape)
    ]


def _facts(model: ir.Model) -> dict[str, Any]:
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    return {
        "ir_version": model.ir_version,
        "opsets": dict(sorted(model.graph.opset_imports.items())),
        "producer": producer,
        "functions": sorted(f"{domain}:{name}" for domain, name, _ in model.functions),
        "metadata": {str(k): str(v) for k, v in sorted(model.metadata_props.items())},
    }


def _chosen(
    found: list[Layer], sort: str, only: Sequence[str], top: int | None, costly: bool
) -> list[Layer]:
    chosen = [x for x in found if x.parameters or x.macs != 0] if costly else list(found)
    if only:
        kept: set[int] = set()
        for glob in only:
            match = matcher(glob)
            hits = [i for i, x in enumerate(found) if match(x.name, x.op, x.tensors)]
            if not hits:
                raise nothing_matches("--only", glob)
            kept.update(hits)
        chosen = [found[i] for i in sorted(kept)]
    keys = {
        "macs": lambda x: -x.macs if isinstance(x.macs, int) else -1e30,
        "parameters": lambda x: -x.parameters,
        "memory": lambda x: -x.activation_bytes if isinstance(x.activation_bytes, int) else -1e30,
        "sparsity": lambda x: -(x.zeros or 0) / max(x.parameters, 1),
        "name": lambda x: x.name,
        "op": lambda x: x.op,
    }
    if sort in keys:
        chosen.sort(key=keys[sort])
    return chosen[:top]


def _totals(model: ir.Model, found: list[Layer], bound: dict[str, int]) -> dict[str, Any]:
    top = [x for x in found if x.depth == 0]
    types: Counter[str] = Counter()
    for graph in edit.all_graphs(model):
        constants = [*graph.initializers.values()]
        constants += [n.outputs[0] for n in graph if edit.is_op(n, "Constant")]
        for value in constants:
            tensor = value.const_value or edit.constant_tensor(value)
            if tensor is not None and is_parameter(tensor):
                types[str(tensor.dtype).lower()] += tensor.size
    zeros = [x.zeros for x in top]
    counted = sum(x.parameters for x in top)
    known = None not in zeros and counted
    return {
        "macs": _total_macs(model, bound),
        "weight_bytes": sum(x.weight_bytes for x in top),
        "weight_types": dict(sorted(types.items())),
        "sparsity": round(sum(z or 0 for z in zeros) / counted, 6) if known else None,
        "peak_activation_bytes": peak_activation_bytes(model, bound),
    }


def _total_macs(model: ir.Model, bound: dict[str, int]) -> int | str | None:
    """The sum; a formula when a size stays symbolic, None when a part is unknown."""
    total: Dim = 0
    for node in model.graph:
        part = node_macs(node)
        if part is None:
            return None
        try:
            total = add(total, substitute(part, dict(bound)))
        except ValueError:
            return None
    return cost_text(total)


def _warnings(found: list[Layer], totals: dict[str, Any], free: Sequence[str]) -> list[str]:
    unknown = Counter(x.op for x in found if x.macs is None)
    shapeless = Counter(x.op for x in found if x.output_shape is None)
    said = []
    if shapeless:
        said.append(f"no shape could be inferred behind {_listed(shapeless)}")
    if unknown:
        said.append(f"MACs are unknown for {_listed(unknown)}")
    if free and not isinstance(totals["macs"], int):
        said.append(
            f"the MACs depend on sizes of {', '.join(free[:5])}: give them with --input-shape"
            " NAME=1,3,224,224 or --dim NAME=N"
        )
    return said


def _listed(counts: Counter[str]) -> str:
    parts = [f"{n} {op}" for op, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5} more types" if len(parts) > 5 else "")
