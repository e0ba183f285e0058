"""The engine of ``onnxslim validate``: two models, the same inputs, gates, scores, layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxslim.errors import DataError, OnnxSlimError, UnsupportedModelError, UsageError, WorkerError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.items import Batch
from onnxslim.runtime.specs import Feed, InputSpec, specs_of
from onnxslim.verify.compare import Stats
from onnxslim.verify.gates import Closeness, Gate, check_gates, judge_gates, noise_gates
from onnxslim.verify.judge import Judge
from onnxslim.verify.layers import Layer, compare_layers
from onnxslim.verify.metrics import get_metric
from onnxslim.verify.preparation import Preparation
from onnxslim.verify.reference import Reference
from onnxslim.verify.report import ValidationReport
from onnxslim.verify.scores import Agreement, Score, Scorer
from onnxslim.verify.sessions import Outputs, Runner, SessionLike, Source, WorkerLike, open_part
from onnxslim.verify.verification import OutputResult
from onnxslim.verify.walk import GraphFacts

if TYPE_CHECKING:
    import onnx_ir as ir

NOISE_BATCHES = 2
"""Batches of the data on which noise is measured and layers are compared."""


@dataclass(frozen=True)
class Pair:
    """A model as a file (or bytes) and in memory."""

    source: Source
    model: ir.Model


def parse_providers(text: str) -> tuple[str, str]:
    """``cpu`` or ``A,B``: where the reference and where the candidate runs.

    Raises:
        UsageError: More than two.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(parts):
        raise UsageError(f"--provider {text!r}: expected one provider, or two as A,B")
    return parts[0], parts[-1]


def shared_specs(reference: ir.Model, candidate: ir.Model) -> list[InputSpec]:
    """The reference's inputs, with the sizes that only the candidate fixes."""
    theirs = {spec.name: spec for spec in specs_of(candidate)}
    found = []
    for spec in specs_of(reference):
        other = theirs.get(spec.name)
        mine, shape = spec.shape, None if other is None else other.shape
        if mine is not None and shape is not None and len(mine) == len(shape):
            pairs = zip(mine, shape, strict=True)
            merged = tuple(
                b if not isinstance(a, int) and isinstance(b, int) else a for a, b in pairs
            )
            spec = replace(spec, shape=merged)
        found.append(spec)
    return found


def validate(
    reference: Pair,
    candidate: Pair,
    *,
    worker: WorkerLike,
    data: Iterable[Batch] | None = None,
    labelled: bool = False,
    gates: Mapping[str, float] | None = None,
    metric: str = "top1",
    layers: bool = False,
    description: Description | None = None,
    seed: int = 0,
    provider: str = "cpu",
    custom_ops: Sequence[str] = (),
    samples: int | None = None,
) -> ValidationReport:
    """Runs both models on the same inputs and judges the difference.

    Args:
        reference: The model that is right.
        candidate: The model that is judged.
        worker: Runs models.
        data: Batches, re-iterable (a ``DataSource``); None draws random inputs.
        labelled: The batches have labels.
        gates: ``rtol``, ``atol``, ``min_cosine``, ``min_sqnr``, ``min_agreement``, ``max_drop``;
            none means the limits of a verification.
        metric: How labels become a score.
        layers: Compare inner tensors too.
        description: What the user said of the inputs.
        seed: Of all random draws.
        provider: One, or ``A,B``.
        custom_ops: Libraries with operators of the user.
        samples: How many random feeds at least.

    Raises:
        UnsupportedModelError: The runtime refuses the reference, or no input fits it.
        DataError: The data does not fit.
        UsageError: Gates or providers make no sense.
    """
    asked = check_gates(gates or {}, labelled=labelled)
    scorer = Scorer(get_metric(metric), seed) if labelled else None
    places = parse_providers(provider)
    runners = [Runner(worker, place, tuple(custom_ops)) for place in places]
    preparation = Preparation(
        runners[0],
        reference.source,
        reference.model,
        specs=shared_specs(reference.model, candidate.model),
        feeds=None if data is None else _first_feeds(data),
        description=description,
        seed=seed,
        samples=samples or 3,
    )
    try:
        prepared = preparation.result()
        if prepared.level == "none":
            raise _nothing(prepared, data is not None)
        run = _Run(prepared, candidate, runners[1], asked, scorer)
        report = run.report(data, layers)
    finally:
        preparation.close()
    same = places[0] == places[1]
    return replace(report, provider=places[0] if same else ",".join(places))


def _first_feeds(data: Iterable[Batch]) -> Iterator[Feed]:
    return (batch.feeds for batch in itertools.islice(data, NOISE_BATCHES))


def _nothing(prepared: Reference, given: bool) -> OnnxSlimError:
    if given:
        return DataError(f"the reference does not run on the data: {prepared.error}")
    return UnsupportedModelError(
        f"no input was found that the reference accepts ({prepared.error}): describe its inputs "
        "with --input-shape, --dim or --input-value, or give --data"
    )


class _Run:
    """One validation behind the prepared reference."""

    def __init__(
        self,
        prepared: Reference,
        candidate: Pair,
        runner: Runner,
        gates: Mapping[str, float],
        scorer: Scorer | None,
    ) -> None:
        self._prepared, self._candidate, self._runner = prepared, candidate, runner
        self._gates, self._scorer = gates, scorer
        self._agreement, self._closeness = Agreement(), Closeness(gates)
        self._stats: dict[str, Stats] = {}
        self._count = 0

    def report(self, data: Iterable[Batch] | None, layers: bool) -> ValidationReport:
        """Runs everything; the provider is filled in by the caller."""
        try:
            session, source, problem = self._open()
        except WorkerError as error:
            return self._failed(f"the candidate does not load: {' '.join(str(error).split())}")
        if session is None:
            return self._failed(f"the candidate: {problem}")
        judge = Judge(
            self._prepared,
            session,
            source,
            self._candidate.source,
            self._candidate.model,
            self._runner,
        )
        try:
            self._compare(session, judge.shared(), data)
            outputs = self._outputs(judge)
            found = self._layers(source) if layers else None
        except _CandidateError as error:
            return self._failed(str(error))
        finally:
            judge.close()
        return self._conclude(outputs, found)

    def _open(self) -> tuple[SessionLike | None, Source, str]:
        source = self._candidate.source
        if self._prepared.level != "partial":
            return self._runner.session(source, like=source), source, ""
        part = open_part(self._runner, source, "", self._prepared.missing_types)
        return part.session, part.source, part.error

    def _compare(
        self, session: SessionLike, names: list[str], data: Iterable[Batch] | None
    ) -> None:
        self._stats = {name: Stats() for name in names}
        for batch, answer in self._batches(data):
            try:
                found = session.run(batch.feeds, names)
            except WorkerError as error:
                text = " ".join(str(error).split())
                raise _CandidateError(f"the candidate does not run: {text}") from error
            real = {name: _real(answer[name], batch) for name in names}
            theirs = {name: _real(found[name], batch) for name in names}
            self._take(batch, real, theirs)

    def _batches(self, data: Iterable[Batch] | None) -> Iterator[tuple[Batch, Outputs]]:
        prepared = self._prepared
        if data is None:
            for feed, answer in zip(prepared.feeds, prepared.answers, strict=True):
                yield Batch(feed, 1, frozenset()), answer
            return
        assert prepared.session is not None
        for batch in data:
            try:
                yield batch, prepared.session.run(batch.feeds)
            except WorkerError as error:
                text = " ".join(str(error).split())
                raise DataError(f"the reference does not run on the data: {text}") from error

    def _take(self, batch: Batch, real: Outputs, theirs: Outputs) -> None:
        self._count += batch.count
        for name, stats in self._stats.items():
            stats.add(real[name], theirs[name])
            self._closeness.add(real[name], theirs[name])
        arrays = [name for name in real if hasattr(real[name], "dtype")]
        a, b = {n: real[n] for n in arrays}, {n: theirs[n] for n in arrays}
        self._agreement.add(a, b)
        if self._scorer is not None and batch.labels is not None:
            self._scorer.add(a, b, batch.labels[: batch.count])

    def _outputs(self, judge: Judge) -> dict[str, OutputResult]:
        """Judged within noise when no gate was given, else only measured."""
        if not self._gates:
            return judge.judge(self._stats)
        found = {}
        for name in self._prepared.names():
            stats = self._stats.get(name, Stats())
            missing = name not in self._stats
            status = "missing" if missing else stats.problem_status if stats.problem else "ok"
            ok = status == "ok"
            found[name] = OutputResult(name, stats, None, status, ok, (), stats.detail)
        return found

    def _layers(self, source: Source) -> list[Layer]:
        names = GraphFacts.of(self._candidate.model).names()
        near = self._candidate.source
        return compare_layers(self._prepared, source, names, near, self._runner)

    def _conclude(
        self, outputs: dict[str, OutputResult], layers: list[Layer] | None
    ) -> ValidationReport:
        percent = self._agreement.percent
        score: Score | None = None if self._scorer is None else self._scorer.score(percent)
        gates: list[Gate] = noise_gates(outputs)
        if self._gates:
            gates = judge_gates(self._gates, self._stats, self._closeness, percent, score)
        broken = any(not result.ok for result in outputs.values())
        return ValidationReport(
            ok=all(gate.ok for gate in gates) and not broken,
            provider="",
            samples=self._count,
            gates=tuple(gates),
            outputs=outputs,
            score=score,
            agreement=None if math.isnan(percent) else percent,
            layers=None if layers is None else tuple(layers),
            warnings=self._warnings(outputs),
        )

    def _warnings(self, outputs: Mapping[str, OutputResult]) -> tuple[str, ...]:
        prepared, found = self._prepared, []
        if prepared.unvaried:
            dims = ", ".join(prepared.unvaried)
            found.append(f"compared with one size only of the dynamic dimensions {dims}")
        if prepared.unknown:
            lacks, count = ", ".join(prepared.unknown), len(prepared.not_compared)
            found.append(f"ONNX Runtime lacks {lacks}: {count} nodes were not compared")
        vacuous = [name for name, result in outputs.items() if result.stats.vacuous]
        if vacuous:
            found.append(f"constant on these inputs: {', '.join(vacuous)}")
        return tuple(found)

    def _failed(self, failure: str) -> ValidationReport:
        gates = tuple(Gate(name, limit, None, False) for name, limit in self._gates.items())
        return ValidationReport(False, "", self._count, gates, failure=failure)


class _CandidateError(OnnxSlimError):
    """The candidate does not run where the reference does: the answer is no."""


def _real(value: object, batch: Batch) -> object:
    """An output without what the padding of a batch gave."""
    fed = {batch.feeds[name].shape[0] for name in batch.rows if batch.feeds[name].ndim}
    size = next(iter(fed)) if len(fed) == 1 else None
    shape = getattr(value, "shape", ())
    if size is None or batch.count == size or not shape or shape[0] != size:
        return value
    return value[: batch.count]  # type: ignore[index]
