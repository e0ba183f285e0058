"""Goes through the layers of a compressed model, in the order in which repairing them makes sense.

Layers come by their depth: each is fitted on inputs that the layers before it, already repaired,
give. At an Add of two layers the deeper one comes last and makes up for what the other left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.fit import Chunk, Problem
from onnxslim.graph import edit
from onnxslim.graph.reach import ancestors, reads
from onnxslim.passes._jobs import Job, levels_of, origin
from onnxslim.passes._layers import NOT_CONSTANT, OPS, Layer, read_layer
from onnxslim.passes._linear import MAX_COPY
from onnxslim.passes._prior import Source, find_source, prior
from onnxslim.passes._product import Product, read_product
from onnxslim.passes._recurrent import GATES, Gates, read_gates
from onnxslim.passes._samples import Sampling, held_out, parts
from onnxslim.passes._targets import Target, find_target
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Stages

Array = npt.NDArray[Any]


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
        graph = reference.model.graph
        self._dense = {str(v.name): node for node in graph for v in node.outputs if v.name}
        self.jobs = self._jobs()

    def _jobs(self) -> list[Job]:
        levels = levels_of(self.ctx.model)
        shared: dict[int, Job] = {}
        for node in self.ctx.model.graph:
            if not edit.is_op(node, *OPS, *GATES):
                continue
            before = self._dense.get(str(node.outputs[0].name))
            for layer in self._layers(node, before):
                weight = origin(node.inputs[layer.weight_at])
                key = id(layer) if isinstance(layer, Gates) else id(weight)
                job = shared.setdefault(key, Job([], 0))
                job.layers.append(layer)
                job.level = max(job.level, levels[node])
        jobs = [job for job in shared.values() if self._independent(job, levels)]
        return sorted(jobs, key=lambda job: job.level)

    def _layers(self, node: ir.Node, before: ir.Node | None) -> Sequence[Layer]:
        """What of a node can be fitted; says why not."""
        if before is None or before.op_type != node.op_type:
            self.ctx.skip(node, "the reference has no such layer")
            return ()
        found: Sequence[Layer] | str
        if node.op_type in GATES:
            found = read_gates(node, before, self.reference)
        else:
            layer = read_layer(node)
            if isinstance(layer, str) and node.op_type == "MatMul":
                layer = read_product(node)
            found = layer if isinstance(layer, str) else [layer]
        if not isinstance(found, str):
            return found
        if found != NOT_CONSTANT:  # a product of two activations is no layer
            self.ctx.skip(node, found)
        return ()

    def _independent(self, job: Job, levels: dict[ir.Node, int]) -> bool:
        """False when the uses of a shared weight cannot be fitted together."""
        first = job.layers[0]
        if isinstance(first, Gates):
            return True
        given = first.node.inputs[first.weight_at]
        value = origin(given)
        if value is not None and first.weight.nbytes > MAX_COPY:
            if len(value.uses()) > len(job.layers) and value is given:
                return self.ctx.skip(first.node, "its large weight is read by something else, too")
        if any(not np.array_equal(layer.bias, first.bias) for layer in job.layers):
            return self.ctx.skip(first.node, "its weight is shared by layers with other biases")
        matrix = first.matrix(first.weight)
        if any(not np.array_equal(layer.matrix(layer.weight), matrix) for layer in job.layers[1:]):
            return self.ctx.skip(
                first.node, "its weight is shared by layers that read it otherwise"
            )
        if len({levels[layer.node] for layer in job.layers}) == 1:
            return True
        nodes = {layer.node for layer in job.layers}
        for layer in job.layers:
            if nodes & ancestors(reads(layer.node)):
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
                reference.progress(index, len(self.jobs), "layer")
                if index == 0 or job.level != self.jobs[index - 1].level:
                    same = [j for j in self.jobs[index:] if j.level == job.level]
                    names = [str(j.source.value.name) for j in same if j.source is not None]
                    own.fetch([*names, *(x for j in same for x, _, _ in j.names)])
                    dense.fetch([*names, *(point for j in same for _, point, _ in j.names)])
                own.fetch(other for _, _, other in job.names if other)
                yield job, self._problem(job, own, dense)
                for x, point, other in job.names:
                    own.release(x)
                    dense.release(point)
                    own.release(other)
                if job.source is not None:
                    own.release(str(job.source.value.name))
                    dense.release(str(job.source.value.name))

    def _plan(self) -> tuple[list[str], list[str]]:
        """Targets of all jobs; names of what will be asked of both models."""
        wanted, points = [], []
        for job in self.jobs:
            for layer in job.layers:
                target = self._target(layer, alone=len(job.layers) == 1)
                other = "" if target.other is None else str(target.other.name)
                job.targets.append(target)
                job.names.append((str(layer.x.name), str(target.point.name), other))
                wanted += [str(layer.x.name), other]
                points.append(str(target.point.name))
            self._waiting -= {layer.node for layer in job.layers}
            if self.sampling.priors and (source := self._source(job)) is not None:
                job.source = source
                wanted.append(str(source.value.name))
                points.append(str(source.value.name))
        return [name for name in wanted if name], points

    def _target(self, layer: Layer, alone: bool) -> Target:
        if isinstance(layer, Gates):
            return Target(layer.point, np.ones(layer.bias.size), np.zeros(layer.bias.size))
        limit = None if alone else 0  # what lies behind may differ from use to use
        return find_target(layer, self._is_final, self._dense, self.ctx.opset, limit)

    def _source(self, job: Job) -> Source | None:
        """Where the channels are that the inputs of a layer consist of."""
        before = self._dense.get(str(job.layers[0].y.name))
        if len(job.layers) > 1 or before is None or isinstance(job.layers[0], Gates | Product):
            return None
        whole = read_layer(before)
        return None if isinstance(whole, str) else find_source(job.layers[0], whole, self.reference)

    def _is_final(self, value: ir.Value) -> bool:
        """True when no layer that waits lies above a value."""
        node = value.producer()
        if node is None:
            return True
        return not (ancestors(reads(node)) | {node}) & self._waiting

    def _problem(self, job: Job, own: Stages, dense: Stages) -> Problem:
        first, target = job.layers[0], job.targets[0]
        groups = first.groups

        def chunks() -> Iterator[Chunk]:
            for layer, names in zip(job.layers, job.names, strict=True):
                yield from self._chunks(layer, names, own, dense, len(job.layers))

        rows, seed = self.sampling.rows, self.sampling.seed
        found = None
        if job.source is not None:
            found = prior(job.source, first, own, dense, rows, seed)
        return Problem(
            chunks,
            first.matrix(first.weight),
            first.bias.reshape(groups, -1),
            target.scale.reshape(groups, -1),
            target.shift.reshape(groups, -1),
            target.low,
            target.high,
            () if found is None else (found,),
        )

    def _chunks(
        self, layer: Layer, names: tuple[str, str, str], own: Stages, dense: Stages, sharers: int
    ) -> Iterator[Chunk]:
        name, point, operand = names
        quota = max(self.sampling.rows // (own.batches * sharers), 1)
        rng = np.random.default_rng(self.sampling.seed)
        for batch in range(own.batches):
            x, wanted = layer.sample(
                own.get(name, batch),
                dense.get(point, batch),
                lambda array: self.reference.kept.take(point, array),
            )
            other = None
            if operand:
                other = np.broadcast_to(own.get(operand, batch), wanted.shape)
            count = layer.positions(wanted.shape)
            at = np.arange(count)
            if count > quota:
                at = np.sort(rng.choice(count, quota, replace=False))
            held = held_out(at, count, wanted.shape[0], batch)
            for part, judges in parts(at, held, layer.weight.size // max(layer.bias.size, 1)):
                yield Chunk(
                    layer.inputs_at(x, wanted.shape, part),
                    layer.outputs_at(wanted, part),
                    None if other is None else layer.outputs_at(other, part),
                    judges,
                )
