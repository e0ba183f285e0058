"""Goes through the layers of a compressed model, in the order in which repairing them makes sense.

Layers come by their depth: each is fitted on inputs that the layers before it, already repaired,
give. At an Add of two layers the deeper one comes last and makes up for what the other left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.fit import Chunk, Problem
from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.graph import edit
from onnxslim.passes._layers import OPS, Layer, read_layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._targets import Target, find_target
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Stages, reads

Array = npt.NDArray[Any]

_PIECE = 12_000_000  # elements of unfolded rows at a time
_HELD = 4  # every fourth sample judges


@dataclass(eq=False)
class Job:
    """One weight with the layers that use it, to be repaired together.

    Attributes:
        layers: The layers (several when they share the weight).
        targets: Where each is compared; filled in when its turn comes.
        level: Layers on the longest way from an input.
        names: Of each layer's input, of the value compared, and of its other operand or "".
    """

    layers: list[Layer]
    level: int
    targets: list[Target] = field(default_factory=list)
    names: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the first layer, for messages."""
        node = self.layers[0].node
        return node.name or str(node.outputs[0].name)


@dataclass(frozen=True)
class Sampling:
    """Which positions are looked at.

    Attributes:
        rows: At most so many positions of a layer.
        seed: Of their choice.
    """

    rows: int = 20_000
    seed: int = 0


def needs(ctx: PassContext, name: str) -> tuple[Reference, Any]:
    """The reference and the calibration data of a repairing pass.

    Raises:
        PreconditionError: There is no reference.
        CalibrationError: There is no data.
    """
    if not isinstance(ctx.reference, Reference):
        raise PreconditionError(
            f"{name} repairs a compressed model towards the one before, but there is none; "
            "run it behind a pass that compresses, as `onnxslim prune --data` does"
        )
    if ctx.calibration is None:
        raise CalibrationError(f"{name} needs sample inputs, but there are none; give --data")
    return ctx.reference, ctx.calibration


class Repair:
    """The jobs of a model, each with its problem when its turn comes.

    Args:
        ctx: Of the compressed model.
        reference: What it came from.
        calibration: Feeds.
        sampling: How many positions are looked at.
    """

    def __init__(
        self, ctx: PassContext, reference: Reference, calibration: Any, sampling: Sampling
    ) -> None:
        self.ctx, self.reference, self.sampling = ctx, reference, sampling
        self._calibration = calibration
        self._waiting: set[ir.Node] = set()
        self.jobs = self._jobs()

    def _jobs(self) -> list[Job]:
        known = {str(v.name) for node in self.reference.model.graph for v in node.outputs if v.name}
        levels = _levels(self.ctx.model)
        shared: dict[int, Job] = {}
        for node in self.ctx.model.graph:
            if not edit.is_op(node, *OPS):
                continue
            layer = read_layer(node)
            if isinstance(layer, str):
                if layer != "the weight is not constant":
                    self.ctx.skip(node, layer)
            elif str(node.outputs[0].name) not in known:
                self.ctx.skip(node, "the reference has no such layer")
            else:
                key = id(_origin(node.inputs[1]))
                job = shared.setdefault(key, Job([], 0))
                job.layers.append(layer)
                job.level = max(job.level, levels[node])
        jobs = [job for job in shared.values() if self._independent(job, levels)]
        return sorted(jobs, key=lambda job: job.level)

    def _independent(self, job: Job, levels: dict[ir.Node, int]) -> bool:
        """False when one use of a shared weight works on what another one gave."""
        if len({levels[layer.node] for layer in job.layers}) == 1:
            return True
        nodes = {layer.node for layer in job.layers}
        for layer in job.layers:
            if nodes & _above(layer.node):
                return self.ctx.skip(layer.node, "its weight is used again further on")
        return True

    def run(self) -> Iterator[tuple[Job, Problem]]:
        """Yields each job with its problem; what was written by then shapes the next ones."""
        self._waiting = {layer.node for job in self.jobs for layer in job.layers}
        wanted, points = self._plan()
        ctx, reference = self.ctx, self.reference
        feeds = self._calibration
        with (
            Stages(ctx.model, ctx.worker, feeds, wanted) as own,
            Stages(reference.model, ctx.worker, feeds, points) as dense,
        ):
            for index, job in enumerate(self.jobs):
                reference.progress(index, len(self.jobs), job.name)
                if index == 0 or job.level != self.jobs[index - 1].level:
                    same = [j for j in self.jobs[index:] if j.level == job.level]
                    own.fetch(x for j in same for x, _, _ in j.names)
                    dense.fetch(point for j in same for _, point, _ in j.names)
                own.fetch(other for _, _, other in job.names if other)
                yield job, self._problem(job, own, dense)
                for x, point, other in job.names:
                    own.release(x)
                    dense.release(point)
                    own.release(other)

    def _plan(self) -> tuple[list[str], list[str]]:
        """Targets of all jobs; names of what will be asked of both models."""
        wanted, points = [], []
        for job in self.jobs:
            for layer in job.layers:
                target = find_target(layer, self._is_final, self.ctx.opset)
                other = "" if target.other is None else str(target.other.name)
                job.targets.append(target)
                job.names.append((str(layer.x.name), str(target.point.name), other))
                wanted += [str(layer.x.name), other]
                points.append(str(target.point.name))
            self._waiting -= {layer.node for layer in job.layers}
        return [name for name in wanted if name], points

    def _is_final(self, value: ir.Value) -> bool:
        """True when no layer that waits lies above a value."""
        node = value.producer()
        if node is None:
            return True
        return not (_above(node) | {node}) & self._waiting

    def _problem(self, job: Job, own: Stages, dense: Stages) -> Problem:
        first, target = job.layers[0], job.targets[0]
        groups = first.groups

        def chunks() -> Iterator[Chunk]:
            for layer, names in zip(job.layers, job.names, strict=True):
                yield from self._chunks(layer, names, own, dense, len(job.layers))

        return Problem(
            chunks,
            first.matrix(first.weight),
            first.bias.reshape(groups, -1),
            target.scale.reshape(groups, -1),
            target.shift.reshape(groups, -1),
            target.low,
            target.high,
        )

    def _chunks(
        self, layer: Layer, names: tuple[str, str, str], own: Stages, dense: Stages, sharers: int
    ) -> Iterator[Chunk]:
        name, point, operand = names
        quota = max(self.sampling.rows // (own.batches * sharers), 1)
        rng = np.random.default_rng(self.sampling.seed)
        for batch in range(own.batches):
            x = own.get(name, batch)
            wanted = self.reference.kept.take(point, dense.get(point, batch))
            other = None
            if operand:
                other = np.broadcast_to(own.get(operand, batch), wanted.shape)
            count = layer.positions(wanted.shape)
            at = np.arange(count)
            if count > quota:
                at = np.sort(rng.choice(count, quota, replace=False))
            held = _held(at, count, wanted.shape[0], batch)
            for part, judges in _parts(at, held, layer.weight.size // max(layer.bias.size, 1)):
                yield Chunk(
                    layer.inputs_at(x, wanted.shape, part),
                    layer.outputs_at(wanted, part),
                    None if other is None else layer.outputs_at(other, part),
                    judges,
                )


def _parts(at: Array, held: Array, width: int) -> Iterator[tuple[Array, bool]]:
    """Positions to fit and positions that judge, a few at a time."""
    step = max(_PIECE // max(width, 1), 1)
    for judges in (False, True):
        chosen = at[held == judges]
        for start in range(0, len(chosen), step):
            yield chosen[start : start + step], judges


def _held(at: Array, count: int, samples: int, batch: int) -> Array:
    """Which positions judge: those of the last samples of a batch, or of every fourth batch."""
    if samples < _HELD:
        return np.full(at.shape, batch % _HELD == _HELD - 1)
    each = max(count // samples, 1)
    return np.asarray(at // each >= samples - samples // _HELD)


def _origin(value: ir.Value | None) -> ir.Value | None:
    """The initializer behind Identity nodes."""
    while value is not None and edit.is_op(value.producer(), "Identity"):
        producer = value.producer()
        assert producer is not None
        value = producer.inputs[0]
    return value


def _levels(model: ir.Model) -> dict[ir.Node, int]:
    """For every node of the main graph, the layers on the longest way to it."""
    found: dict[ir.Node, int] = {}
    for node in model.graph:
        makers = [v.producer() for v in reads(node)]
        level = 0
        for maker in makers:
            if maker is not None and maker in found:
                level = max(level, found[maker] + edit.is_op(maker, *OPS))
        found[node] = level
    return found


def _above(node: ir.Node) -> set[ir.Node]:
    """Every node that a node depends on."""
    found: set[ir.Node] = set()
    stack = [node]
    while stack:
        for value in reads(stack.pop()):
            maker = value.producer()
            if maker is not None and maker not in found:
                found.add(maker)
                stack.append(maker)
    return found


# ------------------------------------------------------------------------------- writing


def write(job: Job, weight: Array | None, bias: Array, ctx: PassContext) -> str | None:
    """Give the layers of a job new weights (G, O, D) and biases (G, O); returns why not.

    Args:
        job: The job.
        weight: None leaves it.
        bias: Total bias.
        ctx: Edits go through it.
    """
    first = job.layers[0]
    kind = first.weight.dtype
    new_bias = narrow(bias.reshape(-1), kind)
    new_weight = None if weight is None else narrow(first.stored(weight), kind)
    if new_bias is None or (weight is not None and new_weight is None):
        return f"the new weights do not fit {kind}"
    graph = first.node.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    source = first.node.inputs[1]
    stem = "weight" if source is None or source.name is None else source.name
    value = None if new_weight is None else ctx.constant(graph, stem, new_weight)
    for layer, target in zip(job.layers, job.targets, strict=True):
        if value is not None:
            ctx.set_input(layer.node, 1, value)
        if layer.node.op_type == "MatMul":
            _write_summand(layer, target, new_bias, ctx)
        else:
            _write_bias(layer, f"{stem}_bias", new_bias, ctx)
    return None


def _write_bias(layer: Layer, stem: str, bias: Array, ctx: PassContext) -> None:
    node, graph = layer.node, layer.node.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    old = edit.get_input(node, 2)
    if old is None and not bias.any():
        return
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    name = stem if old is None else old.name
    ctx.set_input(node, 2, ctx.constant(graph, name, bias))
    if node.op_type == "Gemm" and edit.attr(node, "beta", 1.0) != 1.0:
        ctx.set_attributes(node, {"beta": 1.0})


def _write_summand(layer: Layer, target: Target, bias: Array, ctx: PassContext) -> None:
    """A MatMul has no bias: into the Add behind it, else into a new one."""
    if not bias.any():
        return
    node, graph = layer.node, layer.node.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    if target.adds is not None:
        index = 0 if target.adds.inputs[1] is node.outputs[0] else 1
        summand = target.adds.inputs[index]
        assert summand is not None
        array = constant(summand)
        assert array is not None
        shape = array.shape if array.size == bias.size else bias.shape
        total = (array.astype(np.float64) + bias.reshape(shape)).astype(bias.dtype)
        ctx.set_input(target.adds, index, ctx.constant(graph, summand.name, total))
        return
    product = ir.node("MatMul", list(node.inputs), dict(node.attributes))
    add = ir.node("Add", [product.outputs[0], ctx.constant(graph, f"{node.name}_bias", bias)])
    ctx.replace(node, [product, add])
