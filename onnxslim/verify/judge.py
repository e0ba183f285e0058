"""Judging the outputs of one candidate against a prepared reference.

An output that is equal within the floor of its limit and tells something needs no look inside.
For the rest the reference's noise is measured, and values before the output are compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.verify.compare import Stats, Value
from onnxslim.verify.noise import FACTOR, FLOOR, Limit
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Outputs, Runner, SessionLike, Source
from onnxslim.verify.submodel import read
from onnxslim.verify.taps import Taps, names_behind
from onnxslim.verify.ties import explained_by_ties
from onnxslim.verify.verification import OutputResult, Status
from onnxslim.verify.walk import GraphFacts, Verdict

MANY = 8
"""Draws of the noise before an output is said to exceed it: one is chance on few elements."""


class Judge:
    """One comparison.

    Args:
        reference: Prepared.
        session: Of the candidate (of what is left of it when operators are unknown).
        source: What that session runs.
        near: The candidate as given.
        model: The candidate in memory, if at hand.
        runner: Of the candidate, when it is not the reference's.
    """

    def __init__(
        self,
        reference: Reference,
        session: SessionLike,
        source: Source,
        near: Source,
        model: ir.Model | None,
        runner: Runner | None = None,
    ) -> None:
        self._reference, self._session = reference, session
        self._source, self._near, self._model = source, near, model
        self._runner = runner
        self._taps: Taps | None = None
        self._graph: GraphFacts | None = None

    def run(self) -> dict[str, OutputResult]:
        """Runs the candidate on the reference's feeds; the result per output."""
        reference = self._reference
        names = self.shared()
        stats = {name: Stats() for name in names}
        found = self._first(names)
        for feed, answer in zip(reference.feeds, reference.answers, strict=True):
            found = found or self._session.run(feed, names)
            for name in names:
                stats[name].add(answer[name], found[name])
            found = {}
        return self.judge(stats)

    def _first(self, names: list[str]) -> Outputs:
        """Answers to the first feed along with values before: where no output of the reference
        says anything these are looked at anyway, and a run costs a whole model.
        """
        self._behind = [name for name in names if self._says_nothing(name)]
        return self._look().first(names) if self._behind == names != [] else {}

    def _says_nothing(self, name: str) -> bool:
        """Whether a float output of the reference is vacuous."""
        stats = Stats()
        for answer in self._reference.answers:
            stats.add(answer[name], answer[name])
        return stats.vacuous and name not in self._reference.random

    def shared(self) -> list[str]:
        """The outputs that both have."""
        have = {spec.name for spec in self._session.outputs}
        return [name for name in self._reference.names() if name in have]

    def judge(self, stats: Mapping[str, Stats]) -> dict[str, OutputResult]:
        """The result per output, from differences seen on any feeds."""
        self._behind = [name for name in stats if not self._plain(name, stats[name])]
        return {
            name: self._judge(name, stats[name]) if name in stats else self._absent(name)
            for name in self._reference.names()
        }

    def _absent(self, name: str) -> OutputResult:
        """A cut model's inner edge may be gone; an output of the model may not."""
        if name in self._reference.facts.outputs:
            detail = "the rewritten model does not have it"
            return OutputResult(name, Stats(), None, "missing", False, detail=detail)
        return OutputResult(name, Stats(), None, "not-compared", True)

    def _plain(self, name: str, stats: Stats) -> bool:
        """Whether no look inside is needed: equal within the floor, and telling."""
        if name in self._reference.random or stats.problem:
            return False
        if stats.floats:
            return not stats.vacuous and stats.max_abs <= FLOOR * stats.peak
        return stats.exact

    def _judge(self, name: str, stats: Stats) -> OutputResult:
        if self._plain(name, stats):
            limit = FLOOR * stats.peak if stats.floats else 0.0
            return OutputResult(name, stats, limit, "ok", True)
        if name in self._reference.random:
            return self._random(name, stats)
        if stats.problem == "dtype" or (stats.problem and name not in self._reference.discrete):
            return OutputResult(name, stats, None, stats.problem_status, False, (), stats.detail)
        if not stats.floats or stats.problem:
            return self._jump(name, stats, Limit(0.0))
        if stats.vacuous and stats.max_abs <= FLOOR * stats.peak:
            return self._before(name, stats, Limit(FLOOR * stats.peak), 0.0)
        more = min(2, len(self._reference.feeds)) if name in self._reference.discrete else MANY
        for draws in (1, min(2, more), more):  # more are only run where fewer do not do
            noise = self._reference.noise(name, draws)
            own = self._reference.limit(name, stats.peak, noise, low=stats.low_precision)
            if own.ill_conditioned or stats.max_abs <= own.value:
                break
        if stats.vacuous or own.ill_conditioned:
            return self._before(name, stats, own, noise)
        if stats.max_abs <= own.value:
            return OutputResult(name, stats, own.value, "ok", True)
        return self._jump(name, stats, own)

    def _random(self, name: str, stats: Stats) -> OutputResult:
        """Shape and type only; but what was random must be so still, or equal."""
        if stats.problem:
            return OutputResult(name, stats, None, stats.problem_status, False, (), stats.detail)
        same = stats.max_abs <= FLOOR * stats.peak if stats.floats else stats.exact
        if same or name in self._facts().tainted(lambda node: node.random):
            return OutputResult(name, stats, None, "random", True)
        detail = "was random, is not any more"
        return OutputResult(name, stats, None, "exceeds", False, (), detail)

    def _jump(self, name: str, stats: Stats, limit: Limit) -> OutputResult:
        """Beyond the limit: a tie that rounding decided, or wrong."""
        if name in self._reference.discrete:
            answers = self._answers(name)
            if explained_by_ties(self._reference, self._look(), name, answers, limit.value):
                return OutputResult(name, stats, limit.value, "tie", True)
        status: Status = stats.problem_status if stats.problem else "exceeds"
        detail = words(stats, limit.value)
        return OutputResult(name, stats, limit.value, status, False, (), detail)

    def _before(self, name: str, stats: Stats, limit: Limit, noise: float) -> OutputResult:
        """Constant or ill-conditioned: judged on the last telling tensors before it."""
        taps = self._look()
        telling = tuple(self._reference.facts.frontier(name, lambda v: _verdict(taps, v)))
        peak = stats.peak
        for before in telling:
            tap = taps.get(before)
            assert tap is not None
            peak = max(peak, tap.stats.peak)
            if not tap.holds and not self._tap_tie(before, tap.limit.value):
                detail = f"tensor {before!r} before it {words(tap.stats, tap.limit.value)}"
                return OutputResult(name, stats, tap.limit.value, "exceeds", False, telling, detail)
        status: Status = "vacuous" if stats.vacuous else "ill-conditioned"
        own: float | None = FACTOR * noise if limit.ill_conditioned else limit.value
        if limit.ill_conditioned and telling:
            own = None
        elif stats.vacuous and not stats.peak:  # zeros have no scale of their own
            own = max(own or 0.0, FLOOR * min(peak, 1.0))
        if own is not None and not stats.max_abs <= own:
            detail = words(stats, own)
            return OutputResult(name, stats, own, "exceeds", False, telling, detail)
        return OutputResult(name, stats, own, status, True, telling)

    def _tap_tie(self, name: str, limit: float) -> bool:
        if name not in self._reference.discrete:
            return False
        taps = self._look()
        answers = [theirs[name] for _, theirs in taps.values([name])]
        return explained_by_ties(self._reference, taps, name, answers, limit)

    def _answers(self, name: str) -> list[Value]:
        feeds = self._reference.feeds
        return [self._session.run(feed, [name])[name] for feed in feeds]

    def _look(self) -> Taps:
        if self._taps is None:
            names = names_behind(self._reference, self._behind, self._names())
            self._taps = Taps(self._reference, self._source, names, self._near, self._runner)
        return self._taps

    def _names(self) -> tuple[str, ...]:
        return self._facts().names()

    def _facts(self) -> GraphFacts:
        """The candidate's graph."""
        if self._graph is None:
            import onnx_ir as ir

            model = self._model if self._source is self._near else None
            self._graph = GraphFacts.of(model or ir.from_proto(read(self._source)))
        return self._graph

    def close(self) -> None:
        """Frees the sessions."""
        self._session.close()
        if self._taps is not None:
            self._taps.close()


def _verdict(taps: Taps, name: str) -> Verdict:
    tap = taps.get(name)
    return "stop" if tap is not None and tap.telling else "pass"


def words(stats: Stats, limit: float) -> str:
    """What is wrong with a value."""
    if stats.problem:
        return stats.detail
    if not stats.floats:
        return f"differs in {stats.unequal} of {stats.size} values"
    return f"differs by {stats.max_abs:.3g}, allowed are {limit:.3g} (peak {stats.peak:.3g})"
