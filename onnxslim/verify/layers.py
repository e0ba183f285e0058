"""Where two models part: inner tensors of the same name, in the order they are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from onnxslim.verify.compare import json_number
from onnxslim.verify.noise import FACTOR
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Runner, Source
from onnxslim.verify.taps import Tap, Taps


@dataclass(frozen=True)
class Layer:
    """One tensor of both models.

    Args:
        tap: Its comparison.
        op: The operator that computes it in the reference.
        ok: Whether it is within its limit.
    """

    tap: Tap
    op: str
    ok: bool

    @property
    def status(self) -> str:
        """In a word."""
        stats = self.tap.stats
        if not self.ok:
            return stats.problem or "exceeds"
        if stats.vacuous:
            return "vacuous"
        return "ill-conditioned" if self.tap.limit.ill_conditioned else "ok"

    def to_json(self) -> dict[str, Any]:
        """An entry of ``layers``."""
        shown = None if self.tap.limit.ill_conditioned else json_number(self.tap.limit.value)
        return {
            "name": self.tap.name,
            "op": self.op,
            **self.tap.stats.to_json(),
            "limit": shown,
            "status": self.status,
        }


def compare_layers(
    reference: Reference,
    candidate: Source,
    names: Iterable[str],
    near: Source,
    runner: Runner | None = None,
) -> list[Layer]:
    """Compares every tensor that both compute and that depends on the inputs.

    Args:
        reference: Prepared.
        candidate: The other model.
        names: What it computes.
        near: The same as given: where its external weights are.
        runner: Where it runs, when that is elsewhere.
    """
    have = frozenset(names)
    facts = reference.facts
    usable = (reference.live - reference.random) & have
    wanted = [name for name in facts.names() if name in usable]
    ops = {name: node.op for node in facts.nodes for name in node.outputs}
    found = []
    taps = Taps(reference, candidate, wanted, near, runner)
    try:
        for name in wanted:
            tap = taps.get(name)
            if tap is not None:
                found.append(Layer(tap, ops[name], _holds(tap)))
    finally:
        taps.close()
    return found


def _holds(tap: Tap) -> bool:
    """Within the limit; beyond the cap, within what the noise would allow."""
    stats = tap.stats
    if stats.problem:
        return False
    if not stats.floats:
        return stats.exact
    limit = FACTOR * tap.noise if tap.limit.ill_conditioned else tap.limit.value
    return stats.max_abs <= limit


def first_diverging(layers: Sequence[Layer]) -> Layer | None:
    """The first tensor beyond its limit."""
    return next((layer for layer in layers if not layer.ok), None)
