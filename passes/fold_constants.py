"""Compute now what depends on constants only.

Results that numpy gives bit for bit as ONNX Runtime would are computed here, the rest in one
request to the runtime's child process. Values that shape inference knows (``Shape`` of fixed
dimensions and the arithmetic on it) count as constants although their inputs do not.

Source: ONNX operators of opset 7 to 25.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.values import VALUES
from onnxslim.graph import edit
from onnxslim.passes._evaluate import evaluate
from onnxslim.passes._evaluate_worker import Batch
from onnxslim.passes._facts import drop_unread, refresh, tensor_bytes
from onnxslim.passes._fold_region import Region
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace nodes that depend on constants only by their result.

    Never folded: random operators, DequantizeLinear and casts that widen 8-bit weights, results
    above ``limit``, results that make the file larger by more than ``small`` (a weight that
    another node still needs in its old form would be stored twice), integer divisions by zero,
    indices out of range, graph outputs, and what the runtime fails to compute.

    Args:
        limit: Largest result of one node in bytes.
        small: A result may make the file larger by this many bytes (by an eighth of it when all
            of its elements are the same).
        seconds: CPU time for one request to the runtime.
    """

    limit: int = 8 << 20
    small: int = 1024
    seconds: float = 2.0

    name: ClassVar[str] = "fold-constants"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Constant nodes to initializers, known shapes to constants, then the rest."""
        rewrites = sum(_lift(node, ctx) for node in ctx.nodes("Constant"))
        rewrites += sum(_write_known(node, ctx) for node in ctx.nodes())
        return rewrites + self._fold(ctx)

    def _fold(self, ctx: PassContext) -> int:
        region = Region(ctx.nodes(), self.limit, ctx.skip)
        if not region.order:
            return 0
        while True:
            chosen = region.choose(self.small)
            run = _Run(region, chosen, ctx)
            run.with_numpy()
            if not run.failed:
                run.with_runtime(self.seconds)
            if not run.failed:
                return sum(_write(node, run, ctx) for node in chosen)
            for node, reason in run.failed.items():
                ctx.skip(node, reason)
            region.remove(run.failed)


class _Run:
    """One attempt to compute what was chosen; ``failed`` says which nodes cannot be folded."""

    def __init__(self, region: Region, chosen: Sequence[ir.Node], ctx: PassContext) -> None:
        self.arrays: dict[ir.Value, np.ndarray] = {}
        self.failed: dict[ir.Node, str] = {}
        self._region = region
        self._chosen = chosen
        self._ctx = ctx
        self._pending: list[ir.Node] = []

    def with_numpy(self) -> None:
        """What numpy computes as the runtime does; the rest becomes pending."""
        pending: set[ir.Node] = set()
        needed = self._region.needed(self._chosen)
        readers = Counter(p for node in needed for p in node.predecessors())
        for node in needed:
            producers = list(node.predecessors())
            if any(p in self.failed for p in producers):
                continue
            result = None
            if not any(p in pending for p in producers):
                result = evaluate(node, [self._array(v) for v in node.inputs], self._ctx.opset)
            if result is None:
                self._wait(node, pending)
            elif isinstance(result, str):
                self.failed[node] = result
            else:
                self.arrays.update(zip(node.outputs, result, strict=False))
            if node not in pending:
                self._forget(producers, readers)

    def _forget(self, producers: Sequence[ir.Node], readers: Counter[ir.Node]) -> None:
        """Drop intermediate results that nothing needs any more."""
        for node in producers:
            readers[node] -= 1
            if not readers[node] and node in self._region.order:
                for value in set(node.outputs) - set(self._region.frontier(node)):
                    self.arrays.pop(value, None)

    def _wait(self, node: ir.Node, pending: set[ir.Node]) -> None:
        if edit.is_op(node, "Div", "Mod") and node.inputs[0] is not None:
            if node.inputs[0].dtype in _INTEGERS:
                self.failed[node] = "an integer division that may be by zero"
                return
        pending.add(node)
        self._pending.append(node)

    def _array(self, value: ir.Value | None) -> np.ndarray | None:
        if value is None:
            return None
        if value not in self.arrays:
            array = edit.constant_array(value)
            assert array is not None
            self.arrays[value] = array
        return self.arrays[value]

    def with_runtime(self, seconds: float) -> None:
        """Compute what is pending in one request."""
        pending = set(self._pending)
        for node in self._pending:
            for value in node.inputs:
                if value is not None and value.producer() not in pending:
                    self._array(value)
        wanted = [v for n in self._chosen if n in pending for v in self._region.frontier(n)]
        batch = Batch(self._ctx, self.arrays, seconds)
        found, self.failed = batch.run(self._pending, wanted)
        self.arrays.update(found)


_INTEGERS = frozenset(t for t in ir.DataType if t.name.startswith(("INT", "UINT")))


def _lift(node: ir.Node, ctx: PassContext) -> bool:
    """A Constant node becomes an initializer; strings and sparse tensors stay."""
    tensor = edit.constant_tensor(node.outputs[0])
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return False
    return _become_constant(node, node.outputs[0], tensor, ctx)


def _write_known(node: ir.Node, ctx: PassContext) -> bool:
    """Outputs whose contents shape inference knows become initializers."""
    written = False
    for value in node.outputs:
        known = value.meta.get(VALUES)
        shape = edit.static_shape(value)
        if known is None or shape is None or not value.uses():
            continue
        if node.op_type == "Constant" or not all(isinstance(v, int) for v in known):
            continue
        if value.dtype is None:
            continue
        array = np.asarray(known, dtype=value.dtype.numpy()).reshape(shape)
        written |= _become_constant(node, value, array, ctx)
    return written


def _write(node: ir.Node, run: _Run, ctx: PassContext) -> bool:
    """The results of a chosen node become initializers."""
    written = False
    for value in list(node.outputs):
        array = run.arrays.get(value)
        if array is None or not value.uses():
            continue
        if not _agrees(array, value):
            ctx.skip(node, "the runtime gave another type or shape than inferred")
        else:
            readers = [use.node for use in value.uses()]
            written |= _become_constant(node, value, array, ctx)
            refresh(reader for reader in readers if _has_unknowns(reader))
    return written


def _agrees(array: np.ndarray, value: ir.Value) -> bool:
    """True when a result is what inference says; a float8 may come back as plain bytes."""
    shape = edit.static_shape(value)
    same_type = value.dtype is not None and array.dtype == value.dtype.numpy()
    return same_type and (shape is None or shape == array.shape)


def _has_unknowns(node: ir.Node) -> bool:
    """True when inference may learn something from the content of a new constant."""
    return any(
        tensor_bytes(v) is None or (v.dtype in _INTEGERS and VALUES not in v.meta)
        for v in node.outputs
    )


def _become_constant(
    node: ir.Node, value: ir.Value, array: np.ndarray | ir.TensorProtocol, ctx: PassContext
) -> bool:
    """Let an initializer of the same name take the place of ``value``."""
    graph = node.graph
    if value.is_graph_output() or not isinstance(graph, ir.Graph):
        return False
    above = list(node.predecessors())
    constant = ctx.constant(graph, value.name, array)
    name = value.name
    ctx.bypass(node, constant, node.outputs.index(value))
    value.name = None if node.graph is None else ctx.names.value(name or "value")
    constant.name = name
    if node.graph is None:
        drop_unread(above, ctx)
    return True
