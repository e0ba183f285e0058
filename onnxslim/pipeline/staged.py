"""Run a model in stages over calibration samples, while its weights are still being changed.

A pass that repairs layers one after another needs the input of every layer as the layers before
it leave it *now*. Running the model from its inputs for each layer is quadratic in the depth. Here
every node runs once: :meth:`Stages.fetch` runs exactly the nodes between what is known and what is
asked for, and keeps what later nodes still read (in memory up to a budget, else on disk).

Each run is a small model of its own in the worker child, with ONNX Runtime's optimizer off, so
that no tensor that is asked for can be fused away or computed otherwise.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CalibrationError, UnsupportedModelError
from onnxslim.graph import edit
from onnxslim.graph.reach import ancestors, reads

if TYPE_CHECKING:
    import onnx

    from onnxslim.runtime.worker import Worker

MEMORY = 384 << 20
"""Bytes of activations kept in memory; more goes to temporary files."""

Feeds = Sequence[dict[str, Any]]


def read_feeds(calibration: Any) -> Iterator[dict[str, Any]]:
    """The feeds of ``ctx.calibration``: a DataSource, or an iterable of dictionaries."""
    for item in calibration:
        yield dict(item.feeds if hasattr(item, "feeds") else item)


class Store:
    """Activations by value name and batch, spilled to disk beyond a budget."""

    def __init__(self, budget: int = MEMORY) -> None:
        self._budget, self._used, self._files = budget, 0, 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: dict[str, list[Any]] = {}
        self._sizes: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def names(self) -> list[str]:
        """What is held."""
        return list(self._held)

    def add(self, name: str, value: Any) -> None:
        """Append the value of the next batch."""
        size = value.nbytes if isinstance(value, np.ndarray) and value.dtype != object else 0
        if size and self._used + size > self._budget:
            value = self._spill(value)
        else:
            self._used += size
            self._sizes[name] = self._sizes.get(name, 0) + size
        self._held.setdefault(name, []).append(value)

    def _spill(self, array: np.ndarray[Any, Any]) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="onnxslim-stages-")
        self._files += 1
        path = Path(self._folder.name) / f"{self._files}.npy"
        np.save(path, array)
        return path

    def get(self, name: str, batch: int) -> Any:
        """The value of one batch."""
        value = self._held[name][batch]
        return np.load(value, mmap_mode="r") if isinstance(value, Path) else value

    def drop(self, name: str) -> None:
        """Forget a value."""
        for value in self._held.pop(name, ()):
            if isinstance(value, Path):
                value.unlink(missing_ok=True)
        self._used -= self._sizes.pop(name, 0)

    def close(self) -> None:
        """Forget everything."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()


class Stages:
    """One model, run over the same samples bit by bit.

    Args:
        model: Read anew for each run: weights may have changed meanwhile, of nodes not yet run.
        worker: Runs the pieces.
        feeds: The samples, in batches.
        wanted: Names of all values that will be asked for; a value is kept until
            :meth:`release` was called for it as often as it is listed.
        memory: Bytes of activations kept in memory.
    """

    def __init__(
        self,
        model: ir.Model,
        worker: Worker,
        feeds: Iterable[Any],
        wanted: Iterable[str],
        memory: int = MEMORY,
    ) -> None:
        self.model, self.worker, self.batches = model, worker, 0
        self._store = Store(memory)
        self._wanted: dict[str, int] = {}
        for name in wanted:
            self._wanted[name] = self._wanted.get(name, 0) + 1
        self._threads = min(os.cpu_count() or 1, 4)
        self._static: dict[ir.Node, bool] = {}
        inputs = [str(v.name) for v in model.graph.inputs]
        for feed in read_feeds(feeds):
            for name in inputs:
                if name in feed:
                    self._store.add(name, feed[name])
            self.batches += 1
        if not self.batches:
            raise CalibrationError("the calibration data holds no samples; give at least one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything kept."""
        self._store.close()

    def get(self, name: str, batch: int) -> Any:
        """A fetched value for one batch, or an initializer; not to be written to."""
        if name not in self._store:
            value = self.model.graph.initializers.get(name)
            if value is not None and value.const_value is not None:
                return value.const_value.numpy()
        return self._store.get(name, batch)

    def adjust(
        self, name: str, factor: np.ndarray[Any, Any], shift: np.ndarray[Any, Any], axis: int
    ) -> None:
        """Turn a fetched value into ``factor * value + shift`` per index of an axis, as the node
        that gives it does by now.
        """
        arrays = [np.asarray(self._store.get(name, batch)) for batch in range(self.batches)]
        self._store.drop(name)
        for array in arrays:
            shape = [1] * array.ndim
            shape[axis] = -1
            new = array * factor.reshape(shape) + shift.reshape(shape)
            self._store.add(name, new.astype(array.dtype))

    def release(self, name: str) -> None:
        """Say that a value is not asked for once more."""
        self._wanted[name] = self._wanted.get(name, 0) - 1
        if self._wanted[name] <= 0:
            self._wanted.pop(name)

    def fetch(self, names: Iterable[str]) -> None:
        """Make values available to :meth:`get`; runs what is missing for them."""
        constants = self.model.graph.initializers
        missing = [n for n in dict.fromkeys(names) if n not in self._store and n not in constants]
        if not missing:
            return
        values = _values(self.model)
        absent = [n for n in missing if n not in values]
        if absent:
            raise UnsupportedModelError(f"the model has no value {absent[0]!r} to be observed")
        nodes = self._ancestors([values[n] for n in missing])
        later = self._ancestors([values[n] for n in self._wanted if n in values])
        read_later = {str(v.name) for node in later if node not in nodes for v in reads(node)}
        made = [str(v.name) for node in nodes for v in node.outputs if v.name]
        needed = read_later | set(self._wanted) | set(missing)
        kept = [n for n in made if n in missing or (n in needed and not self._fixed(values[n]))]
        self._run(nodes, values, kept)
        for name in self._store.names():
            if name not in read_later and name not in self._wanted and name not in missing:
                self._store.drop(name)

    def _ancestors(self, values: Sequence[ir.Value]) -> dict[ir.Node, None]:
        """Nodes needed for these values from what is kept, in graph order; constants left out."""
        found = ancestors(values, lambda v: v.name in self._store)
        return {node: None for node in self.model.graph if node in found}

    def _fixed(self, value: ir.Value) -> bool:
        """True for what is the same in every batch: computed anew wherever it is read."""
        node = value.producer()
        if node is None:
            return value.const_value is not None
        if node not in self._static:
            self._static[node] = False  # no cycles: only until it is known
            alike = all(self._fixed(v) for v in reads(node))
            self._static[node] = alike and edit.is_deterministic(node)
        return self._static[node]

    def _run(
        self, nodes: dict[ir.Node, None], values: dict[str, ir.Value], kept: list[str]
    ) -> None:
        produced = {v.name for node in nodes for v in node.outputs}
        given: dict[str, ir.Value] = {}
        constants: dict[str, ir.Value] = {}
        for node in nodes:
            for value in reads(node):
                name = str(value.name)
                if name in self._store:
                    given[name] = value
                elif name not in produced and value.const_value is not None:
                    constants[name] = value
        first = {name: self._store.get(name, 0) for name in given}
        proto = piece(self.model, list(nodes), given, first, constants, kept)
        data = proto.SerializeToString()
        del proto
        label = "a piece of the model"
        with self.worker.session(
            data, optimization="disable", threads=self._threads, label=label
        ) as session:
            for batch in range(self.batches):
                feeds = {name: self._store.get(name, batch) for name in given}
                for name, value in session.run(feeds, kept).items():
                    self._store.add(name, value)


def _values(model: ir.Model) -> dict[str, ir.Value]:
    found = {str(v.name): v for v in model.graph.inputs}
    found |= {str(v.name): v for node in model.graph for v in node.outputs if v.name}
    return found


def piece(
    model: ir.Model,
    nodes: list[ir.Node],
    given: dict[str, ir.Value],
    first: dict[str, Any],
    constants: dict[str, ir.Value],
    outputs: list[str],
) -> onnx.ModelProto:
    """The nodes as a model: given values in, these outputs out, weights inline."""
    import onnx

    proto = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    proto.graph.name = "piece"
    for domain, version in model.opset_imports.items():
        proto.opset_import.append(onnx.OperatorSetIdProto(domain=domain, version=version))
    for function in model.functions.values():
        proto.functions.append(ir.serde.serialize_function(function))
    proto.graph.node.extend(ir.serde.serialize_node(node) for node in nodes)
    for name, value in given.items():
        proto.graph.input.append(_declared(name, value, first[name]))
    for name, value in constants.items():
        tensor = value.const_value
        assert tensor is not None
        proto.graph.initializer.append(_tensor(name, tensor))
    # without a type the runtime infers it
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return proto


def _declared(name: str, value: ir.Value, sample: Any) -> onnx.ValueInfoProto:
    from onnx import ValueInfoProto, helper

    if not isinstance(sample, np.ndarray):
        info = ValueInfoProto(name=name)
        if value.type is not None:
            info.type.CopyFrom(ir.serde.serialize_type(value.type))
        return info
    kind = ir.DataType.STRING if sample.dtype == object else ir.DataType.from_numpy(sample.dtype)
    return helper.make_tensor_value_info(name, int(kind), [None] * sample.ndim)


def _tensor(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    import onnx

    if tensor.dtype == ir.DataType.STRING:
        proto: onnx.TensorProto = ir.serde.serialize_tensor(tensor)
        proto.name = name
        return proto
    dims = [int(d) for d in tensor.shape.numpy()]
    return onnx.TensorProto(
        name=name, data_type=int(tensor.dtype), dims=dims, raw_data=tensor.tobytes()
    )
