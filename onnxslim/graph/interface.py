"""Asked-for edits of a model's interface: fixed shapes, renamed dimensions, cut inputs, outputs.

Nothing here happens unless the user asks for it. Every edit is checked against the model and
described in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.errors import UsageError
from onnxslim.graph import edit
from onnxslim.graph.signature import accept_ports, fix_shape, rename_dims, signature


@dataclass(frozen=True)
class InterfaceEdits:
    """What is asked for.

    Attributes:
        fix_shapes: ``NAME=1,3,224,224`` each: static shapes written into graph inputs.
        inputs: Names of the only inputs that the model shall have; inner tensors become inputs.
        outputs: Names of the only outputs that it shall have; inner tensors become outputs.
        rename_dims: ``OLD=NEW`` each: symbols of dimensions.
        opset: Version of the standard operator set to convert to.
    """

    fix_shapes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    rename_dims: tuple[str, ...] = ()
    opset: int | None = None

    def __bool__(self) -> bool:
        return bool(self.shape_edits or self.opset)

    @property
    def shape_edits(self) -> bool:
        """True when anything but the opset is to be edited."""
        return bool(self.fix_shapes or self.inputs or self.outputs or self.rename_dims)


def apply_edits(model: ir.Model, edits: InterfaceEdits) -> list[str]:
    """Edit a model in place, everything but the opset; types of cut tensors must be inferred.

    Returns:
        One line per edit.

    Raises:
        UsageError: For a name that does not exist or a shape that contradicts the model.
    """
    lines = []
    if edits.inputs or edits.outputs:
        lines += _cut(model, edits.inputs, edits.outputs)
    for text in edits.rename_dims:
        lines.append(_rename(model, text))
    for text in edits.fix_shapes:
        lines.append(_fix(model, text))
    return lines


def redeclare_outputs(model: ir.Model) -> None:
    """Let the declarations of outputs say what inference found after their inputs were fixed."""
    names = [v.name for v in model.graph.outputs if v.name and edit.static_shape(v) is not None]
    accept_ports(model, redeclare=names)


def _fix(model: ir.Model, text: str) -> str:
    name, _, dims = text.rpartition("=")
    names = signature(model).input_names
    if name not in names:
        raise UsageError(f"--fix-shape {text!r}: there is no input {name!r}; {_listed(names)}")
    try:
        sizes = [int(part) for part in dims.split(",")] if dims else []
    except ValueError as error:
        raise UsageError(f"--fix-shape {text!r}: expected numbers, NAME=1,3,224,224") from error
    if any(size < 0 for size in sizes):
        raise UsageError(f"--fix-shape {text!r}: a size is negative")
    try:
        fix_shape(model, name, sizes)
    except ValueError as error:
        raise UsageError(f"--fix-shape {text!r}: {error}") from error
    return f"shape of input {name} fixed to {sizes}"


def _rename(model: ir.Model, text: str) -> str:
    old, sign, new = text.partition("=")
    known = sorted(signature(model).dims)
    if not sign or not new or old not in known:
        raise UsageError(f"--rename-dims {text!r}: expected OLD=NEW; {_listed(known)}")
    if new in known:
        raise UsageError(f"--rename-dims {text!r}: a dimension {new!r} exists already")
    rename_dims(model, {old: new})
    return f"dimension {old} renamed to {new}"


def _cut(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    graph = model.graph
    values = _named_values(graph)
    for option, names in (("--inputs", inputs), ("--outputs", outputs)):
        for name in names:
            if name not in values:
                near = _listed(sorted(values)[:20])
                raise UsageError(f"{option}: there is no tensor {name!r}; {near}")
    lines = []
    used = _reached(graph.outputs)
    if outputs:
        new = [values[name] for name in outputs]
        lines.append(f"outputs cut to {', '.join(outputs)}")
        graph.outputs[:] = [_as_output(graph, value) for value in new]
    if inputs:
        _cut_inputs(model, [values[name] for name in inputs])
        lines.append(f"inputs cut to {', '.join(inputs)}")
    else:
        lines += _drop_inputs(model, used)
    accept_ports(model, redeclare=[*inputs, *outputs])
    return lines


def _named_values(graph: ir.Graph) -> dict[str, ir.Value]:
    found = {v.name: v for v in graph.inputs if v.name}
    for node in graph:
        found.update({v.name: v for v in node.outputs if v.name})
    return found


def _as_output(graph: ir.Graph, value: ir.Value) -> ir.Value:
    if value.type is None:
        raise UsageError(f"--outputs: the type of tensor {value.name!r} is not known")
    return value


def _cut_inputs(model: ir.Model, chosen: Sequence[ir.Value]) -> None:
    """Make inner values inputs, and refuse inputs that are left out but still needed."""
    graph = model.graph
    replaced: list[ir.Value] = []
    for value in chosen:
        producer = value.producer()
        if producer is None:
            replaced.append(value)
            continue
        if value.type is None:
            raise UsageError(f"--inputs: the type of tensor {value.name!r} is not known")
        fresh = ir.Value(name=value.name, type=value.type, shape=value.shape)
        name, value.name = value.name, f"{value.name}_cut"
        value.replace_all_uses_with(fresh, replace_graph_outputs=True)
        fresh.name = name
        replaced.append(fresh)
    needed = _reached(graph.outputs)
    left_out = [
        v.name for v in graph.inputs if v in needed and v not in replaced and not v.is_initializer()
    ]
    if left_out:
        raise UsageError(
            f"--inputs: the outputs also need {', '.join(map(str, left_out))}; "
            "name them too, or cut nearer to the outputs"
        )
    overridable = [v for v in graph.inputs if v.is_initializer() and v not in replaced]
    graph.inputs[:] = [*replaced, *overridable]
    _remove_dead(graph, needed)


def _drop_inputs(model: ir.Model, used: set[ir.Value]) -> list[str]:
    """Drop inputs that mattered before the outputs were cut and do not any more."""
    graph = model.graph
    needed = _reached(graph.outputs)
    gone = [v for v in graph.inputs if v in used and v not in needed and not v.is_initializer()]
    if not gone:
        return []
    _remove_dead(graph, needed)
    graph.inputs[:] = [v for v in graph.inputs if v not in gone]
    return [f"input {v.name} dropped: no output depends on it any more" for v in gone]


def _reached(outputs: Iterable[ir.Value]) -> set[ir.Value]:
    """Every value that some output depends on, through subgraphs too."""
    found: set[ir.Value] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value in found:
            continue
        found.add(value)
        node = value.producer()
        if node is None:
            continue
        stack.extend(v for v in node.inputs if v is not None)
        for graph in edit.subgraphs(node):
            for inner in graph.all_nodes():
                stack.extend(v for v in inner.inputs if v is not None)
            stack.extend(graph.outputs)
    return found


def _remove_dead(graph: ir.Graph, needed: set[ir.Value]) -> None:
    for node in reversed(list(graph)):
        if not any(v in needed for v in node.outputs):
            graph.remove(node, safe=True)


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return f"there are {text}" if text else "there are none"
