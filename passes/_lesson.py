"""A model whose weights are inputs, run beside what its outputs should be."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.gradient.tape import Tape
from onnxslim.analysis.symbols import substitute
from onnxslim.graph import edit
from onnxslim.graph.reach import reads
from onnxslim.passes._mixing import mix
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Store, piece, read_feeds

if TYPE_CHECKING:
    from onnxslim.runtime.session import Session

Array = npt.NDArray[Any]
Named = dict[str, Any]
Example = tuple[Named, Named]
"""A batch of feeds, and what the outputs for it should be."""

_SMALL = 10_000_000
"""Elements of all values of a batch below which more threads only wait for each other."""

_CONSTANT = 1e-9
"""An output whose variance is at most this part of its mean square says nothing."""


def targets_of(model: ir.Model, reference: Reference) -> list[ir.Value]:
    """Values that are to be as in the reference: the outputs, or what a squashing one reads."""
    known = {str(v.name) for node in reference.model.graph for v in node.outputs}
    found = []
    for value in model.graph.outputs:
        maker = value.producer()
        if maker is None or not isinstance(value.type, ir.TensorType):
            continue
        if value.dtype is None or not value.dtype.is_floating_point():
            continue
        inner = maker.inputs[0] if maker.inputs else None
        squashes = edit.is_op(maker, "Softmax", "LogSoftmax", "Sigmoid")
        if squashes and inner is not None and inner.name in known and inner.producer() is not None:
            value = inner
        if value.name in known:
            found.append(value)
    return list(dict.fromkeys(found))


class ShapeError(Exception):
    """An output has another shape than in the reference: its size follows from the data."""


class Lesson:
    """Samples, what the outputs for them should be, and a model to bring there.

    Args:
        tape: Of the model.
        ctx: Of the compressed model.
        calibration: Feeds; they are kept, in memory up to a limit.
    """

    def __init__(self, tape: Tape, ctx: PassContext, calibration: Any) -> None:
        self.tape, self._ctx = tape, ctx
        self._session: Session | None = None
        self._dense: Session | None = None
        self.weights = {
            str(v.name): np.array(v.const_value.numpy())
            for v in tape.weights
            if v.const_value is not None
        }
        self._names = [str(v.name) for v in tape.targets]
        self._inputs = [str(v.name) for v in ctx.model.graph.inputs]
        self._store, self.batches, self.samples = Store(), 0, 0
        self._mixtures = 0
        for feed in read_feeds(calibration):
            for name in self._inputs:
                if name in feed:
                    self._store.add(name, feed[name])
            self.batches += 1
            shapes = [np.shape(v) for v in feed.values()]
            self.samples += max((s[0] for s in shapes if s), default=1)

    def __enter__(self) -> Lesson:
        return self

    def __exit__(self, *_: object) -> None:
        for session in (self._session, self._dense):
            if session is not None:
                session.close()
        self._store.close()

    def sizes(self) -> dict[str, int]:
        """Of the symbols in the shapes of the inputs, the largest in any batch."""
        found: dict[str, int] = {}
        for value in self._ctx.model.graph.inputs:
            if value.name not in self._store or value.shape is None:
                continue
            for batch in range(self.batches):
                shape = np.shape(self._store.get(str(value.name), batch))
                for dim, size in zip(value.shape, shape, strict=False):
                    if isinstance(dim, ir.SymbolicDim) and dim.value:
                        found[dim.value] = max(size, found.get(dim.value, 0))
        return found

    def elements(self) -> int | None:
        """Of all values of a batch that the way back needs; None where a shape is unknown.

        A size that follows from the data counts as the largest of the inputs' open ones.
        """
        known = self.sizes()
        other, total = max(known.values(), default=1), 0
        for value in self.tape.needed:
            if value.shape is None:
                return None
            sizes = (substitute(dim, known) for dim in value.shape.dims)
            total += math.prod(size if isinstance(size, int) else other for size in sizes)
        return total

    def bytes(self) -> int:
        """Of one example."""
        feeds, wanted = self.sample(0)
        return sum(np.asarray(a).nbytes for a in (*feeds.values(), *wanted.values()))

    def begin(self, reference: Reference) -> None:
        """Ask the reference for its answers, and make the model ready to run."""
        small = (self.elements() or _SMALL) < _SMALL
        threads = 1 if small else min(os.cpu_count() or 1, 4)
        first = self._feeds(0)
        dense = list(reference.model.graph)
        data = piece_of(reference.model, dense, {}, first, self._names)
        worker = self._ctx.worker
        self._dense = worker.session(data, optimization="basic", threads=threads, label="the model")
        for batch in range(self.batches):
            for name, answer in self._dense.run(self._feeds(batch), self._names).items():
                self._store.add(f"wanted {name}", answer)
        self._spread = {name: self._variance(name) for name in self._names}
        model = self._ctx.model
        nodes = [node for node in model.graph if node in self.tape.ancestors]
        given = {str(v.name): v for v in self.tape.weights}
        self._seen = [str(v.name) for v in self.tape.needed if v.producer() is not None]
        data = piece_of(model, nodes, given, {**first, **self.weights}, self._seen)
        self._session = worker.session(
            data, optimization="basic", threads=threads, label="the pruned model"
        )

    def sample(self, batch: int) -> Example:
        """A batch as it was given."""
        names = [f"wanted {name}" for name in self._names]
        wanted = [np.asarray(self._store.get(name, batch)) for name in names]
        return self._feeds(batch), dict(zip(self._names, wanted, strict=True))

    def mixture(self, number: int, rng: np.random.Generator) -> Example:
        """A batch between two; they are made in turn, and kept."""
        while self._mixtures <= number:
            for name, values in zip(("mixed", "answer"), self._mixture(rng), strict=True):
                for key, value in values.items():
                    self._store.add(f"{name} {key}", value)
            self._mixtures += 1
        names = [n for n in self._inputs if f"mixed {n}" in self._store]
        feeds = {n: self._store.get(f"mixed {n}", number) for n in names}
        return feeds, {n: self._store.get(f"answer {n}", number) for n in self._names}

    def _mixture(self, rng: np.random.Generator) -> Example:
        """A batch between two; one as it was given where they do not fit together.

        So, too, where the reference's answer is not finite.
        """
        assert self._dense is not None, "begin() comes first"
        one, other = (int(batch) for batch in rng.integers(0, self.batches, 2))
        feeds = mix(self._feeds(one), self._feeds(other), rng)
        if feeds is None:
            return self.sample(one)
        wanted = {n: np.asarray(v) for n, v in self._dense.run(feeds, self._names).items()}
        fine = all(np.isfinite(v).all() for v in wanted.values())
        return (feeds, wanted) if fine else self.sample(one)

    def _run(self, feeds: Named, outputs: list[str]) -> Named:
        assert self._session is not None, "begin() comes first"
        return dict(self._session.run({**feeds, **self.weights}, outputs))

    def _variance(self, name: str) -> float:
        """Of an output of the reference, about its mean, per number; infinite where it is constant.

        An output that hardly varies would count for all others together.
        """
        count, total, squares = 0, 0.0, 0.0
        for batch in range(self.batches):
            wanted = np.asarray(self._store.get(f"wanted {name}", batch), np.float64)
            count, total = count + wanted.size, total + float(wanted.sum())
            squares += float((wanted**2).sum())
        found = squares / count - (total / count) ** 2 if count else 0.0
        return found if found > _CONSTANT * squares / max(count, 1) else math.inf

    def _feeds(self, batch: int) -> Named:
        return {n: self._store.get(n, batch) for n in self._inputs if n in self._store}

    def _errors(self, values: Named, wanted: Named) -> Iterator[tuple[str, Array, float]]:
        for name, answer in wanted.items():
            if values[name].shape != answer.shape:
                raise ShapeError(name)
            yield name, values[name] - answer, self._spread[name] * max(answer.size, 1)

    def error(self, examples: Iterable[Example] | None = None) -> float:
        """Mean over examples; over the batches as given without."""
        total, count = 0.0, 0
        for feeds, wanted in examples or map(self.sample, range(self.batches)):
            found = self._run(feeds, self._names)
            total += sum(
                float(np.square(e, dtype=np.float64).sum()) / n
                for _, e, n in self._errors(found, wanted)
            )
            count += 1
        return total / count

    def gradients(self, example: Example) -> dict[str, Array]:
        """dL/dw of every weight, for one batch."""
        feeds, wanted = example
        values = self._run(feeds, self._seen)
        grads = {
            name: error.astype(np.float32) * np.float32(2 / n)
            for name, error, n in self._errors(values, wanted)
        }
        return self.tape.backward({**feeds, **self.weights, **values}, grads)


def piece_of(
    model: ir.Model, nodes: list[ir.Node], given: dict[str, ir.Value], first: Named,
    outputs: list[str],
) -> bytes:  # fmt: skip
    """Nodes as a model of its own whose inputs are the model's, and some weights."""
    inputs = {str(v.name): v for v in model.graph.inputs if v.name in first}
    read = {str(v.name): v for node in nodes for v in reads(node)}
    fixed = {n: v for n, v in read.items() if n not in given and n not in inputs}
    constants = {
        n: v for n, v in fixed.items() if v.producer() is None and v.const_value is not None
    }
    proto = piece(model, nodes, {**inputs, **given}, first, constants, outputs)
    return bytes(proto.SerializeToString())
