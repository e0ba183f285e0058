"""Small models for tests, written as ONNX text: only what matters is said, the rest is drawn."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Given: TypeAlias = "str | float | Sequence[Any] | Array | np.generic | onnx.TensorProto"

# What a name is when a body reads it, does not write it and the caller says nothing of it.
_INPUTS = {"x": "float[2,4,8,8]", "c": "bool"}
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "w": (4, 4, 3, 3), "b": (4,), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,),
}  # fmt: skip
_IR = {**dict.fromkeys(range(1, 9), 4), 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7}
_TYPE = re.compile(r"^(\w+)(?:\[(.*)\])?$")


def net(
    body: str,
    *,
    opset: Any = 17,
    ir_version: Any = None,
    outputs: Any = None,
    overridable: Any = (),
    functions: Any = "",
    dtype: Any = "float",
    domains: Any = None,
    **given: Any,
) -> onnx.ModelProto:
    """A model around nodes in ONNX text.

    ``net("h = Conv(x, w)  y = BatchNormalization(h, scale, shift, mean, var)")`` is complete: names
    that nothing writes become the input ``x`` (``float[2,4,8,8]``), ``c`` (a bool) and initializers
    ``w`` (4, 4, 3, 3), ``b``, ``scale``, ``shift``, ``mean``, ``var`` (4); values nobody reads
    become the outputs. Random weights depend on their name and shape only; ``var`` is positive.

    Args:
        body: Nodes, as ``onnx.parser`` reads them. (The options are of type Any so that
            ``**{"w": [1]}`` can be given.)
        opset: Version of the standard operators.
        ir_version: By default the one of the opset's time, at least 4.
        outputs: Names, or names to types (``int64[N,3]``), when not what shape inference finds.
        overridable: Initializers that are graph inputs too.
        functions: Text of model-local functions.
        dtype: Replaces ``float`` everywhere: ``float16``, ``double``, ``bfloat16``.
        domains: Versions of other operator sets (1 for those that the body uses).
        given: By name: a type text makes a graph input, a list of sizes in a tuple a random
            initializer, an array (or list, or number) an initializer of that content.
    """
    graph_text = f"g () => () {{ {body} }}\n{functions}"
    imports = _imports(body + functions, opset, domains or {})
    version = ir_version or _IR.get(opset, 8 if opset < 19 else 9 if opset < 21 else 10)
    model = onnx.parser.parse_model(
        f"<ir_version: {version}, opset_import: [{imports}]>\n{graph_text}"
    )
    graph = model.graph
    known = set(overridable)
    for name in _free_names(graph, given):
        item = given.get(name, _INPUTS.get(name, _SHAPES.get(name)))
        assert item is not None, f"what is {name!r}? say net(..., {name}=...)"
        if isinstance(item, str):
            graph.input.append(_typed(name, item, dtype))
            continue
        tensor = _tensor(name, item, dtype)
        graph.initializer.append(tensor)
        if name in known or version < 4:
            info = helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
            graph.input.append(info)
    _set_outputs(model, outputs, dtype)
    return model


def _imports(text: str, opset: int, domains: Mapping[str, int]) -> str:
    used = re.findall(r"=\s*((?:[\w]+\.)+)\w+\s*[<(]", text)
    found = {"": opset, **{d.rstrip("."): 1 for d in used}, **domains}
    return ", ".join(f'"{name}" : {version}' for name, version in found.items())


def _free_names(graph: onnx.GraphProto, given: Mapping[str, Given]) -> list[str]:
    """Names that are read and written by nothing, in reading order; inputs named only last."""
    written = {o for g in _graphs(graph) for n in g.node for o in n.output}
    written |= {v.name for g in _graphs(graph) if g is not graph for v in g.input}
    written |= {t.name for g in _graphs(graph) if g is not graph for t in g.initializer}
    read = [i for g in _graphs(graph) for n in g.node for i in n.input if i]
    return list(dict.fromkeys([n for n in read if n not in written] + list(given)))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)


def _typed(name: str, text: str, dtype: str) -> onnx.ValueInfoProto:
    match = _TYPE.match(text.replace(" ", ""))
    assert match is not None, f"{text!r} is no type such as float[N,3]"
    kind, dims = match.groups()
    sizes = [int(d) if d.lstrip("-").isdigit() else (d or None) for d in (dims or "").split(",")]
    shape: list[int | str | None] | None = sizes if dims else []
    if kind.endswith("?"):
        shape = None
    return helper.make_tensor_value_info(name, _element(kind, dtype), shape)


def _element(kind: str, dtype: str) -> int:
    return int(onnx.TensorProto.DataType.Value((dtype if kind == "float" else kind).upper()))


def _tensor(name: str, item: Any, dtype: str) -> onnx.TensorProto:
    if isinstance(item, onnx.TensorProto):
        item.name = name
        return item
    if isinstance(item, tuple):
        array = random_array(name, item)
    else:
        array = np.asarray(item)
        if not isinstance(item, (np.ndarray, np.generic)) and array.dtype == np.float64:
            array = array.astype(np.float32)
    if dtype != "float" and array.dtype == np.float32:
        array = array.astype(helper.tensor_dtype_to_np_dtype(_element("float", dtype)))
    return numpy_helper.from_array(array, name)


def random_array(name: str, shape: Sequence[int]) -> Array:
    """Weights that depend on name and shape only; positive for a variance."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), *shape])
    if name.startswith("var"):
        return rng.uniform(0.3, 2.0, shape).astype(np.float32)
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


def _set_outputs(
    model: onnx.ModelProto, outputs: Mapping[str, str] | Iterable[str] | None, dtype: str
) -> None:
    graph = model.graph
    read = {i for g in _graphs(graph) for n in g.node for i in n.input}
    read |= {v.name for g in _graphs(graph) if g is not graph for v in g.output}
    unread = [o for n in graph.node for o in n.output if o and o not in read]
    names = list(unread if outputs is None else outputs)
    types = outputs if isinstance(outputs, Mapping) else {}
    inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    known = {**inferred, **{v.name: v for v in graph.input}}
    for name in names:
        assert name in types or name in known, (
            f"the type of output {name!r} is not inferred: say outputs={{'{name}': 'float[...]'}}"
        )
        info = _typed(name, types[name], dtype) if name in types else known[name]
        graph.output.append(info)


def classifier(width: int) -> onnx.ModelProto:
    """A network in which every stage of the product has something to do, for 3 x 8 x 8 inputs."""
    body = """i = Identity(x)  h = Conv<pads = [1, 1, 1, 1]>(i, w)  r = Relu(h)
        g = Conv<pads = [1, 1, 1, 1]>(r, v)  s = Relu(g)  p = GlobalAveragePool(s)
        f = Flatten(p)  y = Gemm(f, k)"""
    given = {"w": (width, 3, 3, 3), "v": (width, width, 3, 3), "k": (width, 10)}
    return net(body, x="float[N,3,8,8]", **given)
